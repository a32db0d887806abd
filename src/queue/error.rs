//! What may go wrong with a queue, and what state the world is in afterwards.

use crate::id::{ResourceId, StoreId, TxnId};
use crate::register::{Decision, RegisterError};
use crate::store;
use crate::task::PayloadError;
use crate::txn::{IncarnationGone, JoinError};

/// Why a task could not be enqueued. Nothing was, and the transaction can go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The value is too large, too deep, or refuses to be encoded.
    #[error("the task could not be encoded")]
    Payload(#[from] PayloadError),
    /// The transaction takes nobody in any more.
    #[error("the queue could not join the transaction")]
    Join(#[from] JoinError),
    /// The store could not be asked.
    #[error("the store could not be asked")]
    Store(#[from] store::Error),
    /// A task of a chain or a group is for a queue in another store than the others: nothing that is
    /// done in one store can be told to another in the same step.
    #[error("tasks that wait for one another are in one store ({expected}), not in {found} too")]
    OtherStore {
        /// The store of the queue that was named for the task.
        found: StoreId,
        /// The store of the others.
        expected: StoreId,
    },
    /// A name or a value is outside its bounds; the text says which.
    #[error("{0}")]
    Invalid(String),
}

/// Why an operator's word on a transaction in doubt was not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The store has no such transaction in doubt. Nothing changed.
    #[error("transaction {0} is not in doubt in this store")]
    NotInDoubt(TxnId),
    /// The reason is empty. Nothing changed.
    #[error("a reason is needed: it is kept for whoever asks later")]
    NoReason,
    /// The register cannot be asked from here, so nobody knows the truth. Nothing changed; only by
    /// force does the operator's word decide.
    #[error("the register {register} cannot be asked: open it as well, or decide by force")]
    #[non_exhaustive]
    Unreachable {
        /// Where the outcome is written.
        register: ResourceId,
        /// What it said; `None` if this process does not know it.
        #[source]
        source: Option<RegisterError>,
    },
    /// The register was asked and could not say yet, since the transaction may be committing at this
    /// moment; or it committed, but not in all of its databases yet. The batch is as it was; ask again.
    #[error("transaction {0} may be committing, or a database has yet to commit it: ask again")]
    StillInDoubt(TxnId),
    /// The register knows better. The transaction was settled as it says, not as the operator asked.
    #[error("the register says that transaction {txn} is {decision:?}; it was settled so")]
    #[non_exhaustive]
    Contradicted {
        /// The transaction.
        txn: TxnId,
        /// How it was settled.
        decision: Decision,
    },
    /// The store failed. The transaction is as it was, or is settled as the operator asked; listing
    /// what is in doubt tells which.
    #[error("the store could not be asked or told")]
    Store(#[from] store::Error),
}

/// The store does not know a batch that it promised to keep. It is gone, or was never staged.
#[derive(Debug, thiserror::Error)]
#[error(
    "transaction {txn} committed, but store {store} does not know its batch: \
     its tasks are not visible"
)]
pub(super) struct BatchUnknown {
    pub(super) txn: TxnId,
    pub(super) store: StoreId,
}

/// A database that prepared could not be told to commit. It will be: the batch stays staged until then.
#[derive(Debug, thiserror::Error)]
#[error("transaction {0} committed, but its tasks wait for a database that has yet to commit")]
pub(super) struct DatabasesUnfinished(pub(super) TxnId);

/// The transaction's incarnation could not be enrolled where it may have to decide. Nothing happened.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct NotEnrolled {
    pub(super) reason: RegisterError,
    #[source]
    pub(super) gone: IncarnationGone,
}
