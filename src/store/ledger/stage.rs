//! Two-phase commit of a batch.

use std::collections::{HashMap, VecDeque};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::change::Scribe;
use super::content::Content;
use super::entry::Keeper;
use super::hash::IdHash;
use super::tracked::Tracked;
use super::{Judged, Ledger};
use crate::codec::{self, CodecError};
use crate::id::{ResourceId, TxnId};
use crate::store::{Applied, Batch, InDoubt, Kind, Published};
use crate::time::Timestamp;

/// How many ended transactions are remembered, to tell a repeated call from an unknown one.
const ENDED_MAX: usize = 4_096;

/// A staged batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct Staged {
    pub(in crate::store) register: ResourceId,
    pub(in crate::store) batch: Batch,
    pub(in crate::store) since: Timestamp,
}

impl Staged {
    fn in_doubt(&self, txn: TxnId) -> Result<InDoubt, CodecError> {
        Ok(InDoubt {
            txn,
            register: self.register,
            staged_at: self.since,
            change_count: self.batch.changes.len(),
            size: codec::encode(&self.batch)?.len(),
        })
    }
}

/// A batch that this store decides.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Commit<'a> {
    pub(in crate::store) txn: TxnId,
    pub(in crate::store) batch: &'a Batch,
    /// The stores that prepared for it.
    pub(in crate::store) prepared: &'a [ResourceId],
}

/// What became of a staged batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::store) enum End {
    Published,
    Discarded,
}

/// The transactions that ended lately.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) ends: Tracked<TxnId, End, HashMap<TxnId, End, IdHash>>,
    pub(super) order: VecDeque<TxnId>,
}

impl Ended {
    /// Notes how a transaction ended, unless that is known.
    pub(super) fn insert(&mut self, txn: TxnId, end: End) {
        if self.ends.contains_key(&txn) {
            return;
        }
        self.ends.insert(txn, end);
        self.order.push_back(txn);
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }

    /// Takes back what was noted since so much had been.
    #[cfg(feature = "file")]
    pub(super) fn rollback(&mut self, noted: usize) {
        while let Some((txn, undone)) = self.ends.take_back(noted) {
            match undone {
                Some(_) => drop(self.order.pop_back()),
                None => self.order.push_front(txn),
            }
        }
    }
}

impl<B: Clone> Ledger<B> {
    fn scribe<'a>(&'a mut self, keeper: &'a mut dyn Keeper<B>, now: Timestamp) -> Scribe<'a, B> {
        Scribe {
            content: &mut self.content,
            keeper,
            now,
            is_judged: false,
        }
    }

    fn refuse_ended(&self, txn: TxnId) -> Judged<()> {
        if self.ended.ends.contains_key(&txn) || self.outcomes.rows.contains_key(&txn) {
            return Err(Kind::Decided(txn));
        }
        Ok(())
    }

    /// Judges a batch at the time that it is staged at, and keeps what it was judged by from others.
    pub(in crate::store) fn stage(
        &mut self,
        txn: TxnId,
        staged: Staged,
        keeper: &mut dyn Keeper<B>,
    ) -> Judged<()> {
        if let Some(known) = self.staged.get(&txn) {
            let is_same = known.batch == staged.batch && known.register == staged.register;
            return if is_same {
                Ok(())
            } else {
                Err(Kind::StagedOtherwise(txn))
            };
        }
        self.refuse_ended(txn)?;
        self.scribe(keeper, staged.since).judge(&staged.batch)?;
        self.content.lock(&staged.batch);
        self.staged.insert(txn, staged);
        Ok(())
    }

    pub(in crate::store) fn publish(
        &mut self,
        txn: TxnId,
        now: Timestamp,
        keeper: &mut dyn Keeper<B>,
    ) -> Judged<Published> {
        let Some(staged) = self.staged.get(&txn) else {
            return Ok(match self.ended.ends.get(&txn) {
                Some(End::Published) => Published::Already,
                _ => Published::Unknown,
            });
        };
        self.content.unlock(&staged.batch);
        let mut scribe = Scribe {
            content: &mut self.content,
            keeper,
            now,
            is_judged: true,
        };
        let applied = scribe.execute(&staged.batch);
        let applied = applied.inspect_err(|_| self.content.lock(&staged.batch))?;
        // Only now: the changes were judged by their tasks as these were.
        self.content.let_go_on(&staged.batch, now)?;
        self.staged.remove(&txn);
        self.ended.insert(txn, End::Published);
        self.content.drop_expired(now);
        Ok(Published::Now(applied))
    }

    pub(in crate::store) fn discard(&mut self, txn: TxnId, now: Timestamp) -> Judged<()> {
        if let Some(staged) = self.staged.get(&txn) {
            self.content.unlock(&staged.batch);
            self.content.let_go_on(&staged.batch, now)?;
            self.staged.remove(&txn);
            self.ended.insert(txn, End::Discarded);
        }
        Ok(())
    }

    /// Makes the changes of a batch, and records that its transaction committed.
    pub(in crate::store) fn apply(
        &mut self,
        commit: Commit<'_>,
        now: Timestamp,
        keeper: &mut dyn Keeper<B>,
    ) -> Judged<Applied> {
        let Commit {
            txn,
            batch,
            prepared,
        } = commit;
        if self.staged.contains_key(&txn) {
            return Err(Kind::StagedOtherwise(txn));
        }
        self.refuse_ended(txn)?;
        self.outcomes.refuse_gone(txn)?;
        let applied = self.scribe(keeper, now).execute(batch)?;
        self.outcomes.commit(txn, prepared);
        self.ended.insert(txn, End::Published);
        self.content.drop_expired(now);
        Ok(applied)
    }

    pub(in crate::store) fn is_staged(&self, txn: &TxnId) -> bool {
        self.staged.contains_key(txn)
    }

    /// Lists staged transactions in the order of their ids; a batch that cannot be measured is an error.
    pub(in crate::store) fn in_doubt(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<InDoubt>, (TxnId, CodecError)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.staged.range((after, Bound::Unbounded)).take(limit);
        let page = page.map(|(txn, staged)| staged.in_doubt(*txn).map_err(|error| (*txn, error)));
        page.collect()
    }
}

impl<B: Clone> Content<B> {
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
        for task in batch.pinned() {
            if let Some((sequence, _)) = self.find(task) {
                self.go_on(sequence, now)?;
            }
        }
        Ok(())
    }

    fn pin(&mut self, batch: &Batch, is_pinned: bool) {
        for task in batch.pinned() {
            if let Some((sequence, _)) = self.find(task) {
                self.edit(sequence, |entry| entry.pinned = is_pinned);
            }
        }
    }
}
