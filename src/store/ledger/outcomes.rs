//! Outcome records and the incarnations that they belong to.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::Judged;
use super::tracked::Tracked;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Standing};
use crate::store::Kind;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(in crate::store) struct Outcomes {
    pub(super) rows: Tracked<TxnId, Outcome>,
    pub(super) incarnations: Tracked<Incarnation, Enrolled>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct Outcome {
    decision: Decision,
    stores: Vec<ResourceId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct Enrolled {
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
        if let Some(row) = self.incarnations.get(&incarnation) {
            return !row.closed;
        }
        let row = Enrolled {
            host: host.to_owned(),
            started_at: now,
            closed: false,
        };
        self.incarnations.insert(incarnation, row);
        true
    }

    pub(super) fn refuse_gone(&self, txn: TxnId) -> Judged<()> {
        let incarnation = txn.incarnation;
        if self.incarnations.contains_key(&incarnation) {
            Ok(())
        } else {
            Err(Kind::IncarnationGone(incarnation))
        }
    }

    /// Records that `txn` committed.
    pub(super) fn commit(&mut self, txn: TxnId, prepared: &[ResourceId]) {
        self.insert_if_absent(txn, Decision::Committed, prepared);
    }

    fn insert_if_absent(
        &mut self,
        txn: TxnId,
        decision: Decision,
        stores: &[ResourceId],
    ) -> Decision {
        if let Some(row) = self.rows.get(&txn) {
            return row.decision;
        }
        let stores = stores.to_vec();
        self.rows.insert(txn, Outcome { decision, stores });
        decision
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
        let mut decide = || self.insert_if_absent(txn, want, stores);
        Answer {
            decision: (standing != Standing::Gone).then(&mut decide),
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
        if let Some(row) = self.incarnations.get(&incarnation) {
            let closed = Enrolled {
                closed: true,
                ..row.clone()
            };
            self.incarnations.insert(incarnation, closed);
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
        let rows = self.rows.range(sequences(0)..=sequences(u64::MAX));
        let aborted: Vec<_> = rows.map(|(txn, _)| *txn).collect();
        for txn in &aborted {
            self.rows.remove(txn);
        }
        let was_there = self.incarnations.contains_key(&incarnation);
        self.incarnations.remove(&incarnation);
        was_there
    }
}
