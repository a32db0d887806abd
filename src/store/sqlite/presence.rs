//! Proof of life: one kernel file lock per incarnation, in a folder beside the database.

use std::path::{Path, PathBuf};

pub(crate) use crate::store::presence::{Guard, Role};

use super::error::Result;
use crate::id::Incarnation;
use crate::store::{Kind, presence};

/// The locks that this process holds on behalf of one database, and the folder with everybody's.
pub(crate) struct Presences(presence::Presences);

impl Presences {
    /// Keeps the locks of the database at `path`, and clears away those of the dead.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let mut folder = path.as_os_str().to_owned();
        folder.push("-votive");
        Ok(Self(presence::Presences::new(PathBuf::from(folder))?))
    }

    /// Takes the lock of an incarnation, or shares it if this store holds it already.
    pub(crate) fn attend(&self, role: Role, incarnation: Incarnation) -> Result<Guard> {
        let taken = || Kind::Invalid(format!("incarnation {incarnation} is attended elsewhere"));
        Ok(self.0.attend(role, incarnation)?.ok_or_else(taken)?)
    }

    /// Whether this store holds the lock of an incarnation.
    pub(super) fn is_attended(&self, role: Role, incarnation: Incarnation) -> bool {
        self.0.is_attended(role, incarnation)
    }

    /// Whether an incarnation is proved dead: nobody holds its lock, or there is none.
    pub(crate) fn is_departed(&self, role: Role, incarnation: Incarnation) -> Result<bool> {
        Ok(self.0.is_departed(role, incarnation)?)
    }
}
