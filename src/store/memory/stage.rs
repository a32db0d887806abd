//! Two-phase commit of a batch.

use super::{MemoryStore, State, refused};
use crate::id::{ResourceId, TxnId};
use crate::store::ledger::{Commit, Staged};
use crate::store::{Applied, Batch, InDoubt, Kind, Published, Result, Stage};
use crate::time::{Clock, Timestamp};

impl State {
    /// Forgets the last commit that concerned no other store: its owner knows of it by now, and nobody
    /// else ever asks for it.
    fn note_committed(&mut self, txn: TxnId, prepared: &[ResourceId]) {
        let known = self.known.take();
        self.ledger.outcomes.forget(known.as_slice());
        self.known = prepared.is_empty().then_some(txn);
    }
}

impl Stage for MemoryStore {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        let staged = Staged {
            register,
            batch: batch.clone(),
            since: now,
        };
        let state = &mut *self.shared.state.lock();
        let judged = state.ledger.stage(txn, staged, &mut state.whole);
        judged.map_err(refused("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        let state = &mut *self.shared.state.lock();
        let published = state.ledger.publish(txn, now, &mut state.whole);
        self.shared.changed.notify_all();
        published.map_err(refused("publish a batch"))
    }

    fn discard(&self, txn: TxnId) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.shared.state.lock();
        let discarded = state.ledger.discard(txn, now);
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
        let commit = Commit {
            txn,
            batch,
            prepared,
        };
        let state = &mut *self.shared.state.lock();
        let applied = state.ledger.apply(commit, now, &mut state.whole);
        if applied.is_ok() {
            state.note_committed(txn, prepared);
        }
        self.shared.changed.notify_all();
        applied.map_err(refused("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>> {
        let state = self.shared.state.lock();
        let released = |txn: &&TxnId| !state.ledger.is_staged(txn);
        Ok(txns.iter().filter(released).copied().collect())
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
        let state = self.shared.state.lock();
        let found = state.ledger.in_doubt(after, limit);
        found.map_err(|(txn, error)| {
            refused("measure a batch")(Kind::Corrupt(txn.to_string())).with_source(error)
        })
    }
}
