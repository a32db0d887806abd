//! Outcome records and the incarnations that they belong to.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Judged, MemoryStore};
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind,
    Standing,
};
use crate::store::Kind;
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) rows: BTreeMap<TxnId, Outcome>,
    incarnations: BTreeMap<Incarnation, Enrolled>,
    /// A commit that nobody but its owner will ask for, and its owner knows of it: its row goes next.
    spent: Option<TxnId>,
}

pub(super) struct Outcome {
    decision: Decision,
    stores: Vec<ResourceId>,
}

struct Enrolled {
    started_at: Timestamp,
    closed: bool,
}

impl Outcomes {
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

    fn decide(&mut self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answer {
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

    fn drop_incarnation(&mut self, incarnation: Incarnation) -> bool {
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

impl Register for MemoryStore {
    fn resource(&self) -> ResourceId {
        self.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError> {
        let mut state = self.shared.state.lock();
        let enrolled = state.outcomes.incarnations.entry(incarnation);
        let row = enrolled.or_insert(Enrolled {
            started_at: now,
            closed: false,
        });
        if row.closed {
            return Err(RegisterError {
                kind: RegisterErrorKind::Failed,
                resource: self.id,
                operation: "enrol an incarnation that was closed",
                source: None,
            });
        }
        Ok(())
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Answer, RegisterError> {
        let mut state = self.shared.state.lock();
        Ok(state.outcomes.decide(txn, want, stores))
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        let state = self.shared.state.lock();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = state.outcomes.rows.range((after, Bound::Unbounded));
        let rows = rows.take(limit).map(|(txn, row)| OutcomeRow {
            txn: *txn,
            decision: row.decision,
            stores: row.stores.clone(),
        });
        Ok(rows.collect())
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        let state = self.shared.state.lock();
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let rows = state.outcomes.incarnations.iter();
        let rows = rows.map(|(incarnation, row)| IncarnationRow {
            incarnation: *incarnation,
            host: host.clone(),
            started_at: row.started_at,
            closed: row.closed,
        });
        Ok(rows.collect())
    }

    /// Nothing outlives this process, so as long as anybody asks, no process that enrolled is dead.
    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        Ok(Vec::new())
    }

    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError> {
        let mut state = self.shared.state.lock();
        if let Some(row) = state.outcomes.incarnations.get_mut(&incarnation) {
            row.closed = true;
        }
        Ok(())
    }

    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError> {
        let mut state = self.shared.state.lock();
        let rows = &mut state.outcomes.rows;
        let before = rows.len();
        for txn in txns {
            if rows
                .get(txn)
                .is_some_and(|row| row.decision == Decision::Committed)
            {
                rows.remove(txn);
            }
        }
        Ok(before - rows.len())
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        let mut state = self.shared.state.lock();
        Ok(state.outcomes.drop_incarnation(incarnation))
    }
}
