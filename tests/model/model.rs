//! What ought to be: two stores, the rows of the application's database, and what is undecided.
#![cfg(test)]

use std::collections::BTreeMap;

use votive::id::TxnId;
use votive::register::Decision;
use votive::store::Change;
use votive::time::Timestamp;

use crate::draft::{Draft, Fate};
use crate::shelf::Shelf;

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) shelves: [Shelf; 2],
    pub(crate) rows: Vec<u64>,
    /// Whether the database cannot be reached.
    pub(crate) is_away: bool,
    /// What became of the transactions whose answer got lost.
    lost: BTreeMap<TxnId, bool>,
    /// Those of them whose owner is still there to ask.
    owned: Vec<TxnId>,
}

impl Model {
    /// Commits what a transaction drafted, with what its hooks enqueued meanwhile.
    pub(crate) fn commit(
        &mut self,
        draft: &mut Draft,
        enqueued: Vec<Change>,
        txn: TxnId,
        now: Timestamp,
    ) -> Fate {
        if let Some(fate) = draft.run_first_hooks(enqueued) {
            return fate;
        }
        if draft.is_refused(self.is_away) || !self.stage(draft, txn, now) {
            return Fate::Refused;
        }
        let committed = draft.lost().unwrap_or(true);
        if committed {
            self.rows.extend(draft.rows());
        }
        if draft.lost().is_some() {
            self.lost.insert(txn, committed);
            self.owned.push(txn);
            self.is_away = true;
            return Fate::Undecided;
        }
        self.end(txn, true, now);
        Fate::Committed
    }

    /// Stages in both stores or in neither.
    fn stage(&mut self, draft: &Draft, txn: TxnId, now: Timestamp) -> bool {
        let shelves = self.shelves.iter_mut().enumerate();
        let accepted = shelves
            .map(|(store, shelf)| {
                let changes = draft.changes_of(store, &shelf.said);
                (shelf, changes)
            })
            .filter(|(_, changes)| !changes.is_empty())
            .all(|(shelf, changes)| shelf.stage(txn, changes, now));
        if !accepted {
            self.end(txn, false, now);
        }
        accepted
    }

    fn end(&mut self, txn: TxnId, committed: bool, now: Timestamp) {
        for shelf in &mut self.shelves {
            shelf.end(txn, committed, now);
        }
    }

    /// The owner asks what became of its transactions.
    pub(crate) fn settle_owned(&mut self, now: Timestamp) {
        if !self.is_away {
            for txn in std::mem::take(&mut self.owned) {
                self.end(txn, self.lost[&txn], now);
            }
        }
    }

    /// Somebody asks what became of all that is staged in a store.
    pub(crate) fn recover(&mut self, store: usize, now: Timestamp) {
        self.settle_owned(now);
        if !self.is_away {
            for txn in self.shelves[store].staged() {
                self.shelves[store].end(txn, self.lost[&txn], now);
            }
        }
    }

    /// An operator ends a staged transaction in a store; returns how. Only where the database cannot be
    /// asked does the operator's word count.
    pub(crate) fn operate(
        &mut self,
        store: usize,
        (txn, want): (TxnId, Decision),
        now: Timestamp,
    ) -> Decision {
        let told = if self.is_away {
            self.shelves[store].keep_word(now);
            want == Decision::Committed
        } else {
            self.lost[&txn]
        };
        self.shelves[store].end(txn, told, now);
        if told {
            Decision::Committed
        } else {
            Decision::Aborted
        }
    }

    /// Nobody owns anything any more; and nothing is left in stores that end with the process.
    pub(crate) fn crash(&mut self, outlives: bool) {
        self.owned.clear();
        if !outlives {
            self.shelves = Default::default();
        }
    }
}
