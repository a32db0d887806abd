//! The incarnation that the consumer claims under, and the proof that it lives.
//!
//! When the answer to a claim is lost, the store may hold claims of which nobody here knows. They come
//! back when their holder is proved dead, and not before. So the consumer goes on under another
//! incarnation, and lets the one before depart as soon as nobody has a claim in hand that was made under it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::id::Incarnation;
use crate::store::{Claim, Presence, Result, Store};

/// Keeps an incarnation from departing while somebody claims under it or has what was claimed. When the consumer
/// has stopped, it departs all the same.
#[derive(Clone)]
pub(super) struct Tenure(Arc<Incarnation>);

impl Tenure {
    pub(super) fn incarnation(&self) -> Incarnation {
        *self.0
    }

    /// Whether nobody has another clone, and nobody will: it is of an incarnation under which nobody claims any more.
    fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A claim in somebody's hands, from the moment it was made until it has ended.
pub(super) struct Held {
    claim: Arc<Claim>,
    _tenure: Tenure,
}

impl Held {
    pub(super) fn new(claim: Claim, tenure: &Tenure) -> Self {
        Self {
            claim: Arc::new(claim),
            _tenure: tenure.clone(),
        }
    }

    /// The claim for who only looks at it, as a handler does that may never return.
    pub(super) fn shared(&self) -> Arc<Claim> {
        Arc::clone(&self.claim)
    }
}

impl Deref for Held {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        &self.claim
    }
}

pub(super) struct Attendance(Mutex<State>);

#[derive(Default)]
struct State {
    /// `None` once the consumer has stopped.
    present: Option<Attended>,
    retired: Vec<Attended>,
}

struct Attended {
    presence: Presence,
    tenure: Tenure,
}

impl Attended {
    fn new(presence: Presence) -> Self {
        Self {
            tenure: Tenure(Arc::new(presence.incarnation())),
            presence,
        }
    }
}

impl Attendance {
    pub(super) fn new(presence: Presence) -> Self {
        Self(Mutex::new(State {
            present: Some(Attended::new(presence)),
            retired: Vec::new(),
        }))
    }

    /// Returns what to claim under; `None` once the consumer has stopped.
    pub(super) fn present(&self) -> Option<Tenure> {
        let state = self.0.lock();
        state
            .present
            .as_ref()
            .map(|attended| attended.tenure.clone())
    }

    /// Goes on under another incarnation than `lost`, unless that is done already.
    ///
    /// # Errors
    /// The store did not take another one; the consumer goes on as it is.
    pub(super) fn renew(
        &self,
        lost: Incarnation,
        store: &dyn Store,
        lease: Duration,
    ) -> Result<()> {
        let fresh = Attended::new(store.attend(Incarnation::random(), lease)?);
        let mut state = self.0.lock();
        match &mut state.present {
            Some(present) if present.presence.incarnation() == lost => {
                let retired = std::mem::replace(present, fresh);
                state.retired.push(retired);
            }
            _ => drop((state, fresh)),
        }
        Ok(())
    }

    /// Lets those depart under which nobody claims any more, and of whose claims nobody has one.
    pub(super) fn dismiss(&self) {
        let departed: Vec<_> = {
            let mut state = self.0.lock();
            let idle = |attended: &mut Attended| attended.tenure.is_last();
            state.retired.extract_if(.., idle).collect()
        };
        for Attended { presence, .. } in departed {
            tracing::info!(incarnation = %presence.incarnation(), "departs, with claims that were lost");
        }
    }

    /// Ends every proof of life.
    pub(super) fn leave(&self) {
        let left = std::mem::take(&mut *self.0.lock());
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{TaskId, Token};
    use crate::store::memory::MemoryStore;
    use crate::store::{Arrival, Dispatch};
    use crate::task::{Format, Payload, Record};
    use crate::time::Timestamp;

    fn claim(incarnation: Incarnation) -> Claim {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let id = TaskId::new(Timestamp::EPOCH);
        Claim {
            record: Record::new(id, "default", "noop", payload, Timestamp::EPOCH),
            token: Token::next(incarnation),
            arrival: Arrival::Fresh,
        }
    }

    #[test]
    fn an_incarnation_stays_until_nobody_has_a_claim_of_it_in_hand() {
        let (store, lease) = (MemoryStore::new(), Duration::from_secs(60));
        let attendance = Attendance::new(store.attend(Incarnation::random(), lease).unwrap());
        let retired = || attendance.0.lock().retired.len();
        let tenure = attendance.present().unwrap();
        attendance
            .renew(tenure.incarnation(), &store, lease)
            .unwrap();
        attendance.dismiss();
        assert_eq!(retired(), 1, "somebody is about to claim under it");
        let held = Held::new(claim(tenure.incarnation()), &tenure);
        drop(tenure);
        attendance.dismiss();
        assert_eq!(retired(), 1, "its claim is in somebody's hands");
        // A handler that never returns has no part in that.
        let _shared = held.shared();
        drop(held);
        attendance.dismiss();
        assert_eq!(retired(), 0);
    }

    #[test]
    fn who_stops_lets_every_incarnation_depart() {
        let (store, lease) = (MemoryStore::new(), Duration::from_secs(60));
        let attendance = Attendance::new(store.attend(Incarnation::random(), lease).unwrap());
        let _tenure = attendance.present().unwrap();
        attendance.leave();
        assert!(attendance.present().is_none());
    }
}
