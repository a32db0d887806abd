//! The only place where transactions meet the store contract. SKELETON: signatures only.
#![expect(missing_docs, clippy::missing_errors_doc)]

use std::sync::Arc;

use crate::id::{TaskId, TxnId};
use crate::store::{Applied, Batch, Change, Store};
use crate::task::{Options, Payload, PayloadError, Record, Task};
use crate::txn::{JoinError, TransactionManager, Work};

/// A named queue in a store.
#[derive(Clone)]
pub struct Queue {
    store: Arc<dyn Store>,
    name: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    #[error("the task could not be encoded")]
    Payload(#[from] PayloadError),
    #[error("the queue could not join the transaction")]
    Join(#[from] JoinError),
    #[error("the task was refused by the store")]
    Store(#[from] crate::store::Error),
    #[error("{0}")]
    Invalid(String),
}

impl Queue {
    pub fn new(store: Arc<dyn Store>, name: impl Into<String>) -> Result<Self, EnqueueError> {
        Ok(Self {
            store,
            name: name.into().into(),
        })
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    pub fn enqueue<T: Task>(&self, work: &mut Work, task: &T) -> Result<TaskId, EnqueueError> {
        let _ = (work, task);
        unimplemented!()
    }
    pub fn enqueue_with<T: Task>(
        &self,
        work: &mut Work,
        task: &T,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        let _ = (work, task, options);
        unimplemented!()
    }
    pub fn enqueue_payload(
        &self,
        work: &mut Work,
        kind: &str,
        payload: Payload,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        let _ = (work, kind, payload, options);
        unimplemented!()
    }
    /// Enlists in a transaction of the caller's ("enlisted, yours").
    pub fn enlist<'t, E: Enlist + ?Sized>(
        &self,
        transaction: &'t E,
    ) -> Result<Enlisted<'t>, EnlistError> {
        let _ = transaction;
        unimplemented!()
    }
}

/// Adds a change to what `work` does to `store` when it commits: settlements, amendments, marks.
pub fn change(store: &Arc<dyn Store>, work: &mut Work, change: Change) -> Result<(), JoinError> {
    let _ = (store, work, change);
    unimplemented!()
}

/// Shows what a commit would enqueue, without committing. Implemented for `Work`.
pub trait Pending {
    fn pending(&self) -> Vec<&Record>;
}

/// What the data manager of a store hands over to the participant that owns a transaction of the same
/// database (see `PrepareInfo::hand_over`): the participant writes it before it commits.
pub struct HandedBatch {
    pub txn: TxnId,
    pub batch: Batch,
    /// Where the participant leaves what became of it.
    pub applied: Arc<parking_lot::Mutex<Option<Applied>>>,
}

/// A transaction of a foreign connection that can write a batch of changes: implemented in each
/// `resource::<database>`.
pub trait Enlist {
    /// Refuses unless the connection is inside a transaction of the store's own database.
    fn check(&self, store: &dyn Store) -> Result<(), EnlistError>;
    /// Writes the changes in the caller's transaction; visible when it commits.
    fn write(&self, store: &dyn Store, batch: &Batch) -> Result<Applied, EnlistError>;
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnlistError {
    #[error("the connection is not inside a transaction: begin one, then enlist")]
    NoTransaction,
    #[error("the connection is to another database than the queue's store ({found}, not {store})")]
    OtherDatabase { found: String, store: String },
    #[error("a {backend} store cannot be enlisted by this driver")]
    OtherBackend { backend: &'static str },
    #[error("the store refused")]
    Store(#[from] crate::store::Error),
    #[error("the task could not be encoded")]
    Payload(#[from] PayloadError),
}

/// A queue enlisted in the application's own transaction.
pub struct Enlisted<'t> {
    _transaction: std::marker::PhantomData<&'t ()>,
}

impl Enlisted<'_> {
    pub fn enqueue<T: Task>(&self, task: &T) -> Result<TaskId, EnlistError> {
        let _ = task;
        unimplemented!()
    }
}

/// Settles what crashes left in doubt, in `store`, asking `manager.registers()`; then collects garbage.
pub fn recover(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
) -> Result<Recovered, crate::store::Error> {
    let _ = (store, manager);
    unimplemented!()
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    pub published: usize,
    pub discarded: usize,
    pub in_doubt: usize,
}
