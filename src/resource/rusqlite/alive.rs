//! Proof of life of the processes that use a register: a kernel file lock per incarnation, beside the
//! database. Whoever collects garbage closes only incarnations that are proved dead by it.

use std::path::Path;

use parking_lot::Mutex;

use crate::id::Incarnation;
use crate::store;
use crate::store::sqlite::presence::{Guard, Presences, Role};

/// The locks that this handle of a database holds, until it is dropped.
#[derive(Default)]
pub(super) struct Alive(Mutex<Locks>);

#[derive(Default)]
struct Locks {
    presences: Option<Presences>,
    held: Vec<Guard>,
}

impl Alive {
    /// Holds the lock of an incarnation of this process from now on.
    pub(super) fn prove(&self, path: &Path, incarnation: Incarnation) -> store::Result<()> {
        let mut locks = self.0.lock();
        let guard = locks
            .presences(path)?
            .attend(Role::Manager, incarnation)
            .map_err(|fault| fault.during("prove that an incarnation is alive"))?;
        locks.held.push(guard);
        Ok(())
    }

    /// Whether nobody holds the lock of an incarnation.
    pub(super) fn is_departed(&self, path: &Path, incarnation: Incarnation) -> store::Result<bool> {
        self.0
            .lock()
            .presences(path)?
            .is_departed(Role::Manager, incarnation)
            .map_err(|fault| fault.during("look whether an incarnation is alive"))
    }
}

impl Locks {
    fn presences(&mut self, path: &Path) -> store::Result<&Presences> {
        let presences = match self.presences.take() {
            Some(presences) => presences,
            None => {
                Presences::new(path).map_err(|fault| fault.during("make its folder of locks"))?
            }
        };
        Ok(self.presences.insert(presences))
    }
}
