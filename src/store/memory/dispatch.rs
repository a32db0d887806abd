//! Claims, and the proof of life of those who hold them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::content::Holding;
use super::index::Sequence;
use super::{Judged, MemoryStore, Shared, State, refused};
use crate::id::{ConsumerId, Incarnation, TaskId, Token};
use crate::store::{
    Arrival, Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence, Result, lifecycle,
};
use crate::task;
use crate::time::Timestamp;

/// How many tasks whose time came one claim promotes, so that none holds the lock for long.
const PROMOTIONS_MAX: usize = 1_000;

impl State {
    fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Judged<Vec<Claim>> {
        let incarnation = request.consumer.incarnation;
        if !self.present.contains_key(&incarnation) {
            let text = format!("incarnation {incarnation} claims without being attended");
            return Err(Kind::Invalid(text));
        }
        let consumer = Arc::new(request.consumer.clone());
        let mut claims = Vec::new();
        for want in &request.wants {
            self.promote(&want.queue, now)?;
            for _ in 0..want.count {
                let Some(sequence) = self.first(&want.queue) else {
                    break;
                };
                claims.push(self.give(sequence, &consumer, now)?);
            }
        }
        Ok(claims)
    }

    /// Lets go on the tasks of a queue whose time came.
    fn promote(&mut self, queue: &str, now: Timestamp) -> Judged<()> {
        for _ in 0..PROMOTIONS_MAX {
            let line = self.content.index.lines.get(queue);
            let Some(sequence) = line.and_then(|line| line.first_due(now)) else {
                break;
            };
            self.visit_count += 1;
            self.content.let_due_go_on(sequence, now)?;
        }
        Ok(())
    }

    /// Returns the task that is next in a queue, be it Ready or held by the dead.
    pub(super) fn first(&self, queue: &str) -> Option<Sequence> {
        let line = self.content.index.lines.get(queue)?;
        line.first(|holder| !self.present.contains_key(holder))
    }

    fn give(
        &mut self,
        sequence: Sequence,
        consumer: &Arc<ConsumerId>,
        now: Timestamp,
    ) -> Judged<Claim> {
        self.visit_count += 1;
        let token = Token::next(consumer.incarnation);
        self.content.update(sequence, |entry| {
            let is_reclaimed = entry.record.state == task::State::Claimed;
            if is_reclaimed {
                lifecycle::reclaim(&mut entry.record)?;
            }
            lifecycle::claim(&mut entry.record)?;
            entry.claim = Some(Holding {
                consumer: Arc::clone(consumer),
                token,
                claimed_at: now,
            });
            Ok(Claim {
                record: (*entry.record).clone(),
                token,
                arrival: match entry.record.options.expires_at {
                    Some(at) if at <= now => Arrival::Expired,
                    _ if is_reclaimed => Arrival::Reclaimed,
                    _ => Arrival::Fresh,
                },
            })
        })
    }

    fn is_lost(&self, claim: &ClaimKey) -> bool {
        let found = self.content.find(claim.task);
        let holding = found.and_then(|(_, entry)| entry.claim.as_ref());
        holding.is_none_or(|holding| holding.token != claim.token)
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
        let lost = claims.iter().filter(|claim| state.is_lost(claim));
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
        let lines = state.content.index.lines.values();
        let holders = lines.flat_map(|line| line.held.keys());
        let departed = holders.filter(|holder| !state.present.contains_key(*holder));
        Ok(departed.copied().collect())
    }
}
