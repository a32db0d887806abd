//! SKELETON: signatures only.
use super::*;
use crate::id::{ResourceId, TxnId};
use crate::register::Registers;

/// The part of a transaction in which work is done; lent by [`Transaction`] and [`Savepoint`].
pub struct Work {}

#[expect(missing_docs, clippy::missing_errors_doc)]
impl Work {
    pub fn id(&self) -> TxnId {
        unimplemented!()
    }
    /// Joins one participant per (type, key) and lends it.
    pub fn join_with<D: DataManager>(
        &mut self,
        key: ResourceId,
        init: impl FnOnce(TxnId) -> Result<D, BoxError>,
    ) -> Result<&mut D, JoinError> {
        let _ = (key, init);
        unimplemented!()
    }
    pub fn joined<D: DataManager>(&self) -> impl Iterator<Item = &D> {
        std::iter::empty()
    }
    /// Lends a joined participant together with the rest of the transaction (the outbox).
    pub fn lend<D: DataManager, T>(
        &mut self,
        key: ResourceId,
        f: impl FnOnce(&mut D, &mut Work) -> T,
    ) -> Option<T> {
        let _ = (key, f);
        unimplemented!()
    }
    pub fn savepoint(&mut self) -> Result<Savepoint<'_>, SavepointError> {
        unimplemented!()
    }
    pub fn savepoint_optimistic(&mut self) -> Result<Savepoint<'_>, SavepointError> {
        unimplemented!()
    }
    pub fn doom(&mut self) {
        unimplemented!()
    }
    pub fn is_doomed(&self) -> bool {
        unimplemented!()
    }
    pub fn before_commit(
        &mut self,
        hook: impl FnOnce(&mut Work) -> Result<(), BoxError> + Send + 'static,
    ) {
        let _ = hook;
    }
    pub fn after_commit(
        &mut self,
        hook: impl FnOnce(Outcome) -> Result<(), BoxError> + Send + 'static,
    ) {
        let _ = hook;
    }
    pub fn before_abort(
        &mut self,
        hook: impl FnOnce(&mut Work) -> Result<(), BoxError> + Send + 'static,
    ) {
        let _ = hook;
    }
    pub fn after_abort(&mut self, hook: impl FnOnce() -> Result<(), BoxError> + Send + 'static) {
        let _ = hook;
    }
    pub fn set_data<T: std::any::Any + Send>(&mut self, value: T) {
        let _ = value;
    }
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    pub fn note(&mut self, text: &str) {
        let _ = text;
    }
    pub fn plan(&self) -> Result<Plan, PlanError> {
        unimplemented!()
    }
    /// Whether this error, asked of the error itself and of every participant, is worth a retry.
    pub fn is_retryable(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        let _ = error;
        unimplemented!()
    }
    pub fn registers(&self) -> &Registers {
        unimplemented!()
    }
}

/// A unit of work. Aborts on drop.
#[must_use]
pub struct Transaction {}
impl std::ops::Deref for Transaction {
    type Target = Work;
    fn deref(&self) -> &Work {
        unimplemented!()
    }
}
impl std::ops::DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Work {
        unimplemented!()
    }
}
#[expect(missing_docs, clippy::missing_errors_doc)]
impl Transaction {
    pub fn commit(self) -> Result<Committed, CommitError> {
        unimplemented!()
    }
    pub fn abort(self) -> Result<(), AbortError> {
        unimplemented!()
    }
}

/// A point to go back to. Dropping it releases it.
pub struct Savepoint<'a> {
    work: &'a mut Work,
}
impl std::ops::Deref for Savepoint<'_> {
    type Target = Work;
    fn deref(&self) -> &Work {
        self.work
    }
}
impl std::ops::DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut Work {
        self.work
    }
}
#[expect(missing_docs, clippy::missing_errors_doc)]
impl Savepoint<'_> {
    pub fn rollback(&mut self) -> Result<(), SavepointError> {
        unimplemented!()
    }
}

/// Begins transactions. Cheap to clone.
#[derive(Clone, Default)]
pub struct TransactionManager {}
#[expect(missing_docs, clippy::missing_errors_doc)]
impl TransactionManager {
    pub fn new() -> Self {
        Self {}
    }
    pub fn begin(&self) -> Result<Transaction, BeginError> {
        unimplemented!()
    }
    pub fn run<T, E: Into<BoxError>>(
        &self,
        attempts: u32,
        work: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<(T, Committed), RunError> {
        let _ = (attempts, work);
        unimplemented!()
    }
    pub fn registers(&self) -> &Registers {
        unimplemented!()
    }
    /// Mints an id for a transaction that is applied to one store directly.
    pub fn mint(&self) -> Result<TxnId, BeginError> {
        unimplemented!()
    }
    /// Draws a new incarnation if `gone` is still the present one.
    pub fn renew(&self, gone: crate::id::Incarnation) {
        let _ = gone;
    }
    /// Finishes or aborts what was left undecided, as far as registers answer; returns how many are left.
    pub fn settle_undecided(&self) -> usize {
        unimplemented!()
    }
}
