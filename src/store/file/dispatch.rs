//! Claims, leases, wake-ups and liveness.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::FileStore;
use super::body::Body;
use super::desk::Desk;
use super::error::Result;
use super::writer::{Durability, Write};
use crate::id::{Incarnation, TaskId, Token};
use crate::store::ledger::{Claimant, Ledger, Sequence};
use crate::store::notify::Bell;
use crate::store::presence::{Guard, Role};
use crate::store::{self, Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence};
use crate::time::Timestamp;

/// Those who are proved dead.
pub(super) type Departed = BTreeSet<Incarnation>;

pub(super) const CLAIM: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["file.claim.before_commit", "file.claim.after_commit"],
};

impl Dispatch for FileStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> store::Result<Vec<Claim>> {
        let claimed = self.claim_if_any(request, now);
        claimed.map_err(|fault| fault.during("claim tasks"))
    }

    /// A claim has no expiry of its own here: it lasts as long as its holder's kernel lock.
    fn extend(
        &self,
        claims: &[ClaimKey],
        _lease: Duration,
        _now: Timestamp,
    ) -> store::Result<Vec<TaskId>> {
        let lost = self.read(|state| {
            let lost = claims
                .iter()
                .filter(|claim| state.book.ledger.is_lost(claim));
            Ok(lost.map(|claim| claim.task).collect())
        });
        lost.map_err(|fault| fault.during("look after claims"))
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> store::Result<Option<Interest>> {
        let waited = self.wait_for(interests, timeout);
        waited.map_err(|fault| fault.during("wait for work"))
    }

    fn interrupt(&self) {
        self.bell.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, _lease: Duration) -> store::Result<Presence> {
        let attend = || -> Result<Guard> {
            self.here()?;
            let guard = self.presences.attend(Role::Consumer, incarnation)?;
            let taken =
                || Kind::Invalid(format!("incarnation {incarnation} is attended elsewhere"));
            Ok(guard.ok_or_else(taken)?)
        };
        let guard = attend().map_err(|fault| fault.during("attend an incarnation"))?;
        let attendance = Attendance {
            guard: Some(guard),
            bell: Arc::clone(&self.bell),
        };
        Ok(Presence::new(incarnation, attendance))
    }

    fn departed(&self, _now: Timestamp) -> store::Result<BTreeSet<Incarnation>> {
        let departed = self.departed_holders();
        departed.map_err(|fault| fault.during("look who has departed"))
    }
}

/// Ends the proof of life when it is dropped, and tells the others, who may take back what it held.
struct Attendance {
    guard: Option<Guard>,
    bell: Arc<Bell>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.guard = None;
        self.bell.ring();
    }
}

impl FileStore {
    /// Looks before it writes, so that an idle claim takes no lock that a producer waits for.
    fn claim_if_any(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        let consumer = &request.consumer;
        let incarnation = consumer.incarnation;
        if !self.presences.is_attended(Role::Consumer, incarnation) {
            let whose = format!("consumer {consumer} is not attended, so it must not claim");
            return Err(Kind::Invalid(whose).into());
        }
        let wanted = |ledger: &Ledger<Body>, departed: &Departed| {
            let mut wants = request.wants.iter().filter(|want| want.count > 0);
            let is_departed = |holder: &Incarnation| departed.contains(holder);
            wants.any(|want| ledger.is_ready(&want.queue, is_departed, now))
        };
        let (any, departed) = self.look_for(wanted)?;
        if !any {
            return Ok(Vec::new());
        }
        let claiming = Claiming {
            request: request.clone(),
            departed,
            visits: Arc::clone(&self.visits),
        };
        self.write(CLAIM, move |desk| claiming.claim(desk, now))
    }

    /// Looks for something that there may be, given who has departed; looks again only if anybody has. Says who.
    pub(super) fn look_for<T: PartialEq + Default>(
        &self,
        look: impl Fn(&Ledger<Body>, &Departed) -> T,
    ) -> Result<(T, Departed)> {
        let (found, holders) = self.read(|state| {
            let ledger = &state.book.ledger;
            Ok((look(ledger, &Departed::new()), ledger.holders()))
        })?;
        let departed = self.departed_of(holders)?;
        if departed.is_empty() || found != T::default() {
            return Ok((found, departed));
        }
        let found = self.read(|state| Ok(look(&state.book.ledger, &departed)))?;
        Ok((found, departed))
    }

    /// Those who hold claims and are proved dead: their kernel locks are free.
    fn departed_holders(&self) -> Result<Departed> {
        self.departed_of(self.read(|state| Ok(state.book.ledger.holders()))?)
    }

    fn departed_of(&self, holders: BTreeSet<Incarnation>) -> Result<Departed> {
        let mut departed = Departed::new();
        for holder in holders {
            if self.presences.is_departed(Role::Consumer, holder)? {
                departed.insert(holder);
            }
        }
        Ok(departed)
    }
}

/// A claim under way.
struct Claiming {
    request: ClaimRequest,
    departed: Departed,
    visits: Arc<AtomicU64>,
}

impl Claiming {
    fn claim(&self, desk: &mut Desk<'_>, now: Timestamp) -> Result<Vec<Claim>> {
        let claimant = Claimant {
            consumer: Arc::new(self.request.consumer.clone()),
            now,
        };
        let is_departed = |holder: &Incarnation| self.departed.contains(holder);
        let mut claims = Vec::new();
        for want in &self.request.wants {
            let promoted = desk.ledger.promote(&want.queue, now)?;
            self.visits.fetch_add(promoted as u64, Ordering::Relaxed);
            for _ in 0..want.count {
                let Some(sequence) = desk.ledger.first(&want.queue, is_departed) else {
                    break;
                };
                claims.extend(self.give(desk, sequence, &claimant)?);
            }
        }
        Ok(claims)
    }

    /// Claims a task. One that cannot be read does not keep those behind it from being run: it stays claimed, which is
    /// known of it, and `None` is returned.
    fn give(
        &self,
        desk: &mut Desk<'_>,
        sequence: Sequence,
        to: &Claimant,
    ) -> Result<Option<Claim>> {
        self.visits.fetch_add(1, Ordering::Relaxed);
        let token = Token::next(to.consumer.incarnation);
        let (entry, arrival) = desk.ledger.give(sequence, to, token)?;
        match super::body::record(entry, desk.journal) {
            Ok(record) => Ok(Some(Claim {
                record,
                token,
                arrival,
            })),
            Err(fault) if fault.is_unreadable() => {
                tracing::error!(?fault, "a task that cannot be read was claimed");
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::id::{ConsumerId, TxnId};
    use crate::register::Register;
    use crate::store::file::Options;
    use crate::store::{Batch, Change, Stage, Want};
    use crate::task::{Format, Payload, Record};

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn enqueue(store: &FileStore, txn: TxnId) -> store::Result<()> {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: vec![b'x'; 1_000].into(),
        };
        let record = Record::new(TaskId::new(NOW), "default", "kind", payload, NOW);
        let batch = Batch::new(vec![Change::Insert(Box::new(record))]);
        store.apply(txn, &batch, &[], NOW).map(drop)
    }

    /// Claims as `claim` does once it has seen that there is something.
    fn claim(store: &FileStore, incarnation: Incarnation) -> Result<usize> {
        let claiming = Claiming {
            request: ClaimRequest {
                consumer: ConsumerId {
                    incarnation,
                    name: "web-1".to_owned(),
                },
                wants: vec![Want {
                    queue: "default".to_owned(),
                    count: 9,
                }],
                lease: Duration::MAX,
            },
            departed: BTreeSet::new(),
            visits: Arc::default(),
        };
        let claims = store.write(CLAIM, move |desk| claiming.claim(desk, NOW));
        claims.map(|claims| claims.len())
    }

    #[test]
    fn a_claim_that_lines_up_behind_a_new_task_shares_its_append() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path().join("store"), Options::default()).unwrap();
        let incarnation = Incarnation::random();
        store.enroll(incarnation, NOW).unwrap();
        let _presence = store.attend(incarnation, Duration::MAX).unwrap();
        let txn = |sequence| TxnId {
            incarnation,
            sequence,
        };
        let blocker = File::open(folder.path().join("store/lock")).unwrap();
        blocker.lock().unwrap();
        let line_up = |count| {
            while store.writes_waiting() < count {
                std::thread::yield_now();
            }
        };
        let claimed = std::thread::scope(|threads| {
            // This one waits for the lock; the other two share what is appended next.
            threads.spawn(|| enqueue(&store, txn(1)).unwrap());
            line_up(1);
            threads.spawn(|| enqueue(&store, txn(2)).unwrap());
            line_up(2);
            let claimed = threads.spawn(|| claim(&store, incarnation).unwrap());
            line_up(3);
            blocker.unlock().unwrap();
            claimed.join().unwrap()
        });
        assert_eq!(claimed, 1);
        assert_eq!(claim(&store, incarnation).unwrap(), 1);
    }
}
