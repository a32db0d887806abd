//! Outcome records and the incarnations that they belong to.

use super::MemoryStore;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind,
};
use crate::time::Timestamp;

impl Register for MemoryStore {
    fn resource(&self) -> ResourceId {
        self.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError> {
        let mut state = self.shared.state.lock();
        let outcomes = &mut state.ledger.outcomes;
        if outcomes.enroll(incarnation, &self.host, now) {
            return Ok(());
        }
        Err(RegisterError {
            kind: RegisterErrorKind::Failed,
            resource: self.id,
            operation: "enrol an incarnation that was closed",
            source: None,
        })
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Answer, RegisterError> {
        let mut state = self.shared.state.lock();
        Ok(state.ledger.outcomes.decide(txn, want, stores))
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        let state = self.shared.state.lock();
        Ok(state.ledger.outcomes.page(after, limit))
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        let state = self.shared.state.lock();
        Ok(state.ledger.outcomes.incarnations())
    }

    /// Nothing outlives this process, so as long as anybody asks, no process that enrolled is dead.
    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        Ok(Vec::new())
    }

    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError> {
        let mut state = self.shared.state.lock();
        state.ledger.outcomes.close(incarnation);
        Ok(())
    }

    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError> {
        let mut state = self.shared.state.lock();
        Ok(state.ledger.outcomes.forget(txns))
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        let mut state = self.shared.state.lock();
        Ok(state.ledger.outcomes.drop_incarnation(incarnation))
    }
}
