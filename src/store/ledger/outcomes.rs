//! Outcome records and the incarnations that they belong to.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Judged;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Standing};
use crate::store::Kind;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(in crate::store) struct Outcomes {
    pub(super) rows: BTreeMap<TxnId, Outcome>,
    incarnations: BTreeMap<Incarnation, Enrolled>,
    /// A commit that nobody but its owner will ask for, and its owner knows of it: its row goes next.
    spent: Option<TxnId>,
}

#[derive(Debug)]
pub(super) struct Outcome {
    decision: Decision,
    stores: Vec<ResourceId>,
}

#[derive(Debug)]
struct Enrolled {
    host: String,
    started_at: Timestamp,
    closed: bool,
}

impl Outcomes {
    /// Enrols an incarnation; returns whether it is open.
    pub(in crate::store) fn enroll(
        &mut self,
        incarnation: Incarnation,
        host: &str,
        now: Timestamp,
    ) -> bool {
        let row = self.incarnations.entry(incarnation);
        let row = row.or_insert_with(|| Enrolled {
            host: host.to_owned(),
            started_at: now,
            closed: false,
        });
        !row.closed
    }

    pub(super) fn refuse_gone(&self, txn: TxnId) -> Judged<()> {
        let incarnation = txn.incarnation;
        if self.incarnations.contains_key(&incarnation) {
            Ok(())
        } else {
            Err(Kind::IncarnationGone(incarnation))
        }
    }

    /// Records that `txn` committed, and forgets the last commit that concerned no other store.
    pub(super) fn commit(&mut self, txn: TxnId, prepared: &[ResourceId]) {
        if let Some(spent) = self.spent.take() {
            self.rows.remove(&spent);
        }
        self.spent = prepared.is_empty().then_some(txn);
        self.insert_if_absent(txn, Decision::Committed, prepared);
    }

    fn insert_if_absent(
        &mut self,
        txn: TxnId,
        decision: Decision,
        stores: &[ResourceId],
    ) -> Decision {
        let row = self.rows.entry(txn).or_insert_with(|| Outcome {
            decision,
            stores: stores.to_vec(),
        });
        row.decision
    }

    pub(in crate::store) fn decide(
        &mut self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Answer {
        let standing = match self.incarnations.get(&txn.incarnation) {
            None => Standing::Gone,
            Some(Enrolled { closed: true, .. }) => Standing::Closed,
            Some(_) => Standing::Open,
        };
        let decide = || self.insert_if_absent(txn, want, stores);
        Answer {
            decision: (standing != Standing::Gone).then(decide),
            standing,
        }
    }

    /// Lists outcome records in the order of their transactions, at most `limit`, after `after`.
    pub(in crate::store) fn page(&self, after: Option<TxnId>, limit: usize) -> Vec<OutcomeRow> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((after, Bound::Unbounded)).take(limit);
        let rows = rows.map(|(txn, row)| OutcomeRow {
            txn: *txn,
            decision: row.decision,
            stores: row.stores.clone(),
        });
        rows.collect()
    }

    pub(in crate::store) fn incarnations(&self) -> Vec<IncarnationRow> {
        let rows = self.incarnations.iter();
        let rows = rows.map(|(incarnation, row)| IncarnationRow {
            incarnation: *incarnation,
            host: row.host.clone(),
            started_at: row.started_at,
            closed: row.closed,
        });
        rows.collect()
    }

    pub(in crate::store) fn close(&mut self, incarnation: Incarnation) {
        if let Some(row) = self.incarnations.get_mut(&incarnation) {
            row.closed = true;
        }
    }

    /// Forgets the commits among `txns`; returns how many there were.
    pub(in crate::store) fn forget(&mut self, txns: &[TxnId]) -> usize {
        let before = self.rows.len();
        for txn in txns {
            let row = self.rows.get(txn);
            if row.is_some_and(|row| row.decision == Decision::Committed) {
                self.rows.remove(txn);
            }
        }
        before - self.rows.len()
    }

    /// Forgets an incarnation that has no commit left; returns whether it was there to be forgotten.
    pub(in crate::store) fn drop_incarnation(&mut self, incarnation: Incarnation) -> bool {
        let sequences = |sequence| TxnId {
            incarnation,
            sequence,
        };
        let mut rows = self.rows.range(sequences(0)..=sequences(u64::MAX));
        if rows.any(|(_, row)| row.decision == Decision::Committed) {
            return false;
        }
        self.rows.retain(|txn, _| txn.incarnation != incarnation);
        self.incarnations.remove(&incarnation).is_some()
    }
}
