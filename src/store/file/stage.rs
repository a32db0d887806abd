//! Two-phase commit of batches.

use super::FileStore;
use super::body::Trial;
use super::error::{Fault, Result};
use super::writer::{Durability, Write};
use crate::id::{ResourceId, TxnId};
use crate::store::ledger::{Commit, Staged};
use crate::store::{self, Applied, Batch, InDoubt, Kind, Published, Stage};
use crate::time::Timestamp;

const STAGE: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["file.stage.before_commit", "file.stage.after_commit"],
};
const APPLY: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["file.apply.before_commit", "file.apply.after_commit"],
};
const PUBLISH: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["file.publish.before_commit", "file.publish.after_commit"],
};
const DISCARD: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["file.discard.before_commit", "file.discard.after_commit"],
};
const FORGETTABLE: Write = Write {
    durability: Durability::Flushed,
    failpoints: [
        "file.forgettable.before_commit",
        "file.forgettable.after_commit",
    ],
};

impl Stage for FileStore {
    fn stage(
        &self,
        txn: TxnId,
        register: ResourceId,
        batch: &Batch,
        now: Timestamp,
    ) -> store::Result<()> {
        let staged = Staged {
            register,
            batch: batch.clone(),
            since: now,
        };
        let staged = self.write(STAGE, move |desk| {
            Ok(desk.ledger.stage(txn, staged, &mut Trial)?)
        });
        staged.map_err(|fault| fault.during("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> store::Result<Published> {
        let published = self.write(PUBLISH, move |desk| {
            Ok(desk.ledger.publish(txn, now, &mut desk.shelf)?)
        });
        self.bell.ring();
        published.map_err(|fault| fault.during("publish a staged batch"))
    }

    fn discard(&self, txn: TxnId) -> store::Result<()> {
        let now = self.clock_now();
        let discarded = self.write(DISCARD, move |desk| Ok(desk.ledger.discard(txn, now)?));
        self.bell.ring();
        discarded.map_err(|fault| fault.during("discard a staged batch"))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> store::Result<Applied> {
        let applied = self.apply_now(txn, batch, prepared, now);
        self.bell.ring();
        applied.map_err(|fault| fault.during("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> store::Result<Vec<TxnId>> {
        let txns = txns.to_vec();
        let released = self.write(FORGETTABLE, move |desk| {
            let released = txns.into_iter().filter(|txn| !desk.ledger.is_staged(txn));
            Ok(released.collect())
        });
        released.map_err(|fault| fault.during("flush what was published"))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> store::Result<Vec<InDoubt>> {
        let listed = self.read(|state| {
            let found = state.book.ledger.in_doubt(after, limit);
            found.map_err(|(txn, error)| {
                let damaged = Kind::Corrupt(format!("the batch of transaction {txn}"));
                Fault::from(error).with_kind(damaged)
            })
        });
        listed.map_err(|fault| fault.during("list what is in doubt"))
    }
}

impl FileStore {
    /// Nobody but its owner ever asks for an outcome that no other store has a part in, and once this
    /// returns the owner knows it: the record goes with the next commit of this process.
    fn apply_now(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        let (batch, stores) = (batch.clone(), prepared.to_vec());
        let known = std::mem::take(&mut *self.known.lock());
        let forget = known.clone();
        let applied = self.write(APPLY, move |desk| {
            let commit = Commit {
                txn,
                batch: &batch,
                prepared: &stores,
            };
            desk.ledger.outcomes.forget(&forget);
            Ok(desk.ledger.apply(commit, now, &mut desk.shelf)?)
        });
        let mut to_forget = self.known.lock();
        match &applied {
            Ok(_) if prepared.is_empty() => to_forget.push(txn),
            Ok(_) => {}
            Err(_) => to_forget.extend(known),
        }
        applied
    }
}
