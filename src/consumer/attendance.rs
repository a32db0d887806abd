//! The incarnation that the consumer claims under, and the proof that it lives.
//!
//! When the answer to a claim is lost, the store may hold claims of which nobody here knows. They come
//! back when their holder is proved dead, and not before. So the consumer goes on under another
//! incarnation, and lets the one before depart as soon as all that is known of its claims is settled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::id::Incarnation;
use crate::store::{ClaimKey, Presence, Result, Store};

pub(super) struct Attendance(Mutex<State>);

#[derive(Default)]
struct State {
    /// `None` once the consumer has stopped.
    present: Option<Arc<Presence>>,
    retired: Vec<Arc<Presence>>,
}

impl Attendance {
    pub(super) fn new(presence: Presence) -> Self {
        Self(Mutex::new(State {
            present: Some(Arc::new(presence)),
            retired: Vec::new(),
        }))
    }

    /// Returns the proof of life to claim under, to be held until the claims are kept; `None` once the
    /// consumer has stopped.
    pub(super) fn present(&self) -> Option<Arc<Presence>> {
        self.0.lock().present.clone()
    }

    /// Goes on under another incarnation than `lost`, unless that is done already.
    ///
    /// # Errors
    /// The store did not take another one; the consumer goes on as it is.
    pub(super) fn renew(&self, lost: &Presence, store: &dyn Store, lease: Duration) -> Result<()> {
        let fresh = Arc::new(store.attend(Incarnation::random(), lease)?);
        let mut state = self.0.lock();
        match &mut state.present {
            Some(present) if present.incarnation() == lost.incarnation() => {
                let retired = std::mem::replace(present, fresh);
                state.retired.push(retired);
            }
            _ => drop((state, fresh)),
        }
        Ok(())
    }

    /// Lets those depart under which nobody claims any more and none of the `known` claims is held.
    pub(super) fn dismiss(&self, known: impl FnOnce() -> Vec<ClaimKey>) {
        let idle: BTreeSet<Incarnation> = {
            let state = self.0.lock();
            let idle = state.retired.iter().filter(|it| Arc::strong_count(it) == 1);
            idle.map(|presence| presence.incarnation()).collect()
        };
        if idle.is_empty() {
            return;
        }
        // Only now: whoever claimed under them has put away what came of it.
        let known = known();
        let holds = |of: Incarnation| known.iter().any(|key| key.token.incarnation == of);
        let departs = |presence: &mut Arc<Presence>| {
            let incarnation = presence.incarnation();
            idle.contains(&incarnation) && !holds(incarnation)
        };
        let departed: Vec<_> = {
            let mut state = self.0.lock();
            state.retired.extract_if(.., departs).collect()
        };
        for presence in departed {
            tracing::info!(incarnation = %presence.incarnation(), "departs, with claims that were lost");
        }
    }

    /// Ends every proof of life.
    pub(super) fn leave(&self) {
        let left = std::mem::take(&mut *self.0.lock());
        drop(left);
    }
}
