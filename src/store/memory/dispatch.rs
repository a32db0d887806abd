//! Claims, and the proof of life of those who hold them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{MemoryStore, Shared, State, body, refused};
use crate::id::{ConsumerId, Incarnation, TaskId, Token};
use crate::store::ledger::{Claimant, Judged, Sequence};
use crate::store::{Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence, Result};
use crate::time::Timestamp;

/// For how many claims there is room at once.
const ROOM_MAX: usize = 128;

impl State {
    fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Judged<Vec<Claim>> {
        let incarnation = request.consumer.incarnation;
        if !self.present.contains_key(&incarnation) {
            let text = format!("incarnation {incarnation} claims without being attended");
            return Err(Kind::Invalid(text));
        }
        let claimant = Claimant {
            consumer: self.share(&request.consumer),
            now,
        };
        let wanted = request.wants.iter().map(|want| want.count.min(ROOM_MAX));
        let mut claims = Vec::with_capacity(wanted.sum::<usize>().min(ROOM_MAX));
        for want in &request.wants {
            let promoted = self.ledger.promote(&want.queue, now)?;
            self.visit_count += promoted as u64;
            for _ in 0..want.count {
                let Some(sequence) = self.ledger.first(&want.queue, self.is_departed()) else {
                    break;
                };
                claims.push(self.give(sequence, &claimant)?);
            }
        }
        Ok(claims)
    }

    /// Returns the consumer as what all of its claims share; most often it is the one that came last.
    fn share(&mut self, consumer: &ConsumerId) -> Arc<ConsumerId> {
        match &self.claimed_last {
            Some(last) if **last == *consumer => Arc::clone(last),
            _ => Arc::clone(self.claimed_last.insert(Arc::new(consumer.clone()))),
        }
    }

    fn give(&mut self, sequence: Sequence, to: &Claimant) -> Judged<Claim> {
        self.visit_count += 1;
        let token = Token::next(to.consumer.incarnation);
        let (entry, arrival) = self.ledger.give(sequence, to, token)?;
        Ok(Claim {
            record: body::record(entry),
            token,
            arrival,
        })
    }

    /// Returns what tells whether a holder of claims is gone.
    pub(super) fn is_departed(&self) -> impl Fn(&Incarnation) -> bool {
        |holder| !self.present.contains_key(holder)
    }
}

/// Ends the proof of life when it is dropped.
struct Attendance {
    incarnation: Incarnation,
    shared: Arc<Shared>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(count) = state.present.get_mut(&self.incarnation) {
            *count -= 1;
            if *count == 0 {
                state.present.remove(&self.incarnation);
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Dispatch for MemoryStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        let mut state = self.shared.state.lock();
        state.claim(request, now).map_err(refused("claim tasks"))
    }

    fn extend(&self, claims: &[ClaimKey], _: Duration, _: Timestamp) -> Result<Vec<TaskId>> {
        let state = self.shared.state.lock();
        let lost = claims.iter().filter(|claim| state.ledger.is_lost(claim));
        Ok(lost.map(|claim| claim.task).collect())
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>> {
        Ok(self.wait_for_any(interests, timeout))
    }

    fn interrupt(&self) {
        self.shared.state.lock().interrupt_count += 1;
        self.shared.changed.notify_all();
    }

    fn attend(&self, incarnation: Incarnation, _: Duration) -> Result<Presence> {
        let mut state = self.shared.state.lock();
        *state.present.entry(incarnation).or_default() += 1;
        let attendance = Attendance {
            incarnation,
            shared: Arc::clone(&self.shared),
        };
        Ok(Presence::new(incarnation, attendance))
    }

    fn departed(&self, _: Timestamp) -> Result<BTreeSet<Incarnation>> {
        let state = self.shared.state.lock();
        let holders = state.ledger.holders().into_iter();
        Ok(holders.filter(state.is_departed()).collect())
    }
}
