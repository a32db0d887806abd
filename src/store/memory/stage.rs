//! Two-phase commit of a batch.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::content::Content;
use super::{Judged, MemoryStore, State, refused};
use crate::codec;
use crate::id::{ResourceId, TaskId, TxnId};
use crate::store::{Amendment, Applied, Batch, Change, InDoubt, Kind, Published, Result, Stage};
use crate::time::{Clock, Timestamp};

/// How many ended transactions are remembered, to tell a repeated call from an unknown one.
const ENDED_MAX: usize = 4_096;

/// A staged batch.
pub(super) struct Staged {
    pub(super) register: ResourceId,
    pub(super) batch: Batch,
    pub(super) since: Timestamp,
}

/// What became of a staged batch.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Published,
    Discarded,
}

/// The transactions that ended lately.
#[derive(Default)]
pub(super) struct Ended {
    ends: BTreeMap<TxnId, End>,
    order: VecDeque<TxnId>,
}

impl Ended {
    fn insert(&mut self, txn: TxnId, end: End) {
        self.ends.insert(txn, end);
        self.order.push_back(txn);
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }
}

impl State {
    fn refuse_ended(&self, txn: TxnId) -> Judged<()> {
        if self.ended.ends.contains_key(&txn) || self.outcomes.rows.contains_key(&txn) {
            return Err(Kind::Decided(txn));
        }
        Ok(())
    }

    fn stage(&mut self, txn: TxnId, staged: Staged) -> Judged<()> {
        if let Some(known) = self.staged.get(&txn) {
            let is_same = known.batch == staged.batch && known.register == staged.register;
            return if is_same {
                Ok(())
            } else {
                Err(Kind::StagedOtherwise(txn))
            };
        }
        self.refuse_ended(txn)?;
        let changes = staged.batch.changes.iter().cloned();
        let judgement = self.content.attempt(changes, staged.since);
        self.content.rollback();
        judgement?;
        self.content.lock(&staged.batch);
        self.staged.insert(txn, staged);
        Ok(())
    }

    fn publish(&mut self, txn: TxnId, now: Timestamp) -> Judged<Published> {
        let Some(staged) = self.staged.get(&txn) else {
            return Ok(match self.ended.ends.get(&txn) {
                Some(End::Published) => Published::Already,
                _ => Published::Unknown,
            });
        };
        self.content.unlock(&staged.batch);
        let changes = staged.batch.changes.iter().cloned();
        self.content.is_judged = true;
        let applied = self.content.execute(changes, now);
        self.content.is_judged = false;
        let applied = applied.inspect_err(|_| self.content.lock(&staged.batch))?;
        // Only now: the changes were judged by their tasks as these were.
        self.content.let_go_on(&staged.batch, now)?;
        self.staged.remove(&txn);
        self.ended.insert(txn, End::Published);
        self.content.drop_expired(now);
        Ok(Published::Now(applied))
    }

    fn discard(&mut self, txn: TxnId, now: Timestamp) -> Judged<()> {
        if let Some(staged) = self.staged.get(&txn) {
            self.content.unlock(&staged.batch);
            self.content.let_go_on(&staged.batch, now)?;
            self.staged.remove(&txn);
            self.ended.insert(txn, End::Discarded);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Judged<Applied> {
        if self.staged.contains_key(&txn) {
            return Err(Kind::StagedOtherwise(txn));
        }
        self.refuse_ended(txn)?;
        self.outcomes.refuse_gone(txn)?;
        let applied = self.content.execute(batch.changes.iter().cloned(), now)?;
        self.outcomes.commit(txn, prepared);
        self.ended.insert(txn, End::Published);
        self.content.drop_expired(now);
        Ok(applied)
    }
}

impl Content {
    /// Reserves and pins what `batch` was judged by.
    fn lock(&mut self, batch: &Batch) {
        self.reserved.add(batch);
        self.pin(batch, true);
    }

    /// Frees what [`lock`](Self::lock) reserved.
    fn unlock(&mut self, batch: &Batch) {
        self.reserved.remove(batch);
        self.pin(batch, false);
    }

    /// Lets go on what a batch kept from it while it was staged.
    fn let_go_on(&mut self, batch: &Batch, now: Timestamp) -> Judged<()> {
        for task in pinned(batch) {
            if let Some((sequence, _)) = self.find(task) {
                self.go_on(sequence, now)?;
            }
        }
        Ok(())
    }

    fn pin(&mut self, batch: &Batch, is_pinned: bool) {
        for task in pinned(batch) {
            if let Some((sequence, _)) = self.find(task) {
                self.edit(sequence, |entry| entry.pinned = is_pinned);
            }
        }
    }
}

/// The visible tasks that nothing else may move while `batch` is staged.
fn pinned(batch: &Batch) -> impl Iterator<Item = TaskId> {
    batch.changes.iter().filter_map(|change| match change {
        Change::Settle(settlement) => Some(settlement.task),
        Change::Amend {
            amendment: Amendment::Progress(_),
            ..
        } => None,
        Change::Amend { task, .. } => Some(*task),
        _ => None,
    })
}

impl Stage for MemoryStore {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        let staged = Staged {
            register,
            batch: batch.clone(),
            since: now,
        };
        let mut state = self.shared.state.lock();
        state.stage(txn, staged).map_err(refused("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        let mut state = self.shared.state.lock();
        let published = state.publish(txn, now);
        self.shared.changed.notify_all();
        published.map_err(refused("publish a batch"))
    }

    fn discard(&self, txn: TxnId) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.shared.state.lock();
        let discarded = state.discard(txn, now);
        self.shared.changed.notify_all();
        discarded.map_err(refused("discard a batch"))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        let mut state = self.shared.state.lock();
        let applied = state.apply(txn, batch, prepared, now);
        self.shared.changed.notify_all();
        applied.map_err(refused("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>> {
        let state = self.shared.state.lock();
        let released = |txn: &&TxnId| !state.staged.contains_key(txn);
        Ok(txns.iter().filter(released).copied().collect())
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
        let state = self.shared.state.lock();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = state.staged.range((after, Bound::Unbounded)).take(limit);
        page.map(|(txn, staged)| {
            let size = codec::encode(&staged.batch).map_err(|error| {
                refused("measure a batch")(Kind::Corrupt(txn.to_string())).with_source(error)
            })?;
            Ok(InDoubt {
                txn: *txn,
                register: staged.register,
                staged_at: staged.since,
                change_count: staged.batch.changes.len(),
                size: size.len(),
            })
        })
        .collect()
    }
}
