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
    /// Whether the store may hold claims of the present one of which nobody here knows.
    has_lost: bool,
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
            ..State::default()
        }))
    }

    /// Notes that the answer to a claim under this incarnation was lost.
    pub(super) fn note_lost(&self, incarnation: Incarnation) {
        let mut state = self.0.lock();
        let present = state.present.as_ref();
        if present.is_some_and(|present| present.presence.incarnation() == incarnation) {
            state.has_lost = true;
        }
    }

    /// Returns what to claim under, another incarnation than one of which a claim was lost; `None` once the consumer
    /// has stopped.
    ///
    /// # Errors
    /// The store did not take another one. Nothing must be claimed before it does.
    pub(super) fn present(&self, store: &dyn Store, lease: Duration) -> Result<Option<Tenure>> {
        let tenure = {
            let state = self.0.lock();
            let present = state.present.as_ref();
            match present.map(|attended| attended.tenure.clone()) {
                Some(tenure) if state.has_lost => tenure,
                present => return Ok(present),
            }
        };
        let fresh = Attended::new(store.attend(Incarnation::random(), lease)?);
        Ok(self.renew(tenure.incarnation(), fresh))
    }

    /// Goes on under another incarnation than `lost`, unless somebody was faster; returns what to claim under.
    fn renew(&self, lost: Incarnation, fresh: Attended) -> Option<Tenure> {
        let mut state = self.0.lock();
        let present = state.present.as_mut()?;
        if present.presence.incarnation() != lost {
            let tenure = present.tenure.clone();
            drop((state, fresh));
            return Some(tenure);
        }
        let tenure = fresh.tenure.clone();
        let retired = std::mem::replace(present, fresh);
        state.has_lost = false;
        state.retired.push(retired);
        Some(tenure)
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
        let present = || attendance.present(&store, lease).unwrap().unwrap();
        let tenure = present();
        attendance.note_lost(tenure.incarnation());
        assert_ne!(present().incarnation(), tenure.incarnation());
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
        let _tenure = attendance.present(&store, lease).unwrap();
        attendance.leave();
        assert!(attendance.present(&store, lease).unwrap().is_none());
    }
}
