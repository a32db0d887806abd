//! What may go wrong with a transaction, and what state the world is in afterwards.

use std::any::{Any, type_name};
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::id::{Incarnation, ResourceId, TxnId};
use crate::txn::data_manager::BoxError;
use crate::txn::hooks::HOOKS_MAX;

/// Who refused a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedBy {
    /// The participant with this sort key.
    #[error("participant `{0}`")]
    Participant(String),
    /// A before-commit hook.
    #[error("a before-commit hook")]
    Hook,
    /// A synchronizer.
    #[error("a synchronizer")]
    Synchronizer,
    /// The planner: the participants cannot be committed together.
    #[error("the planner")]
    Planner,
}

/// Why a commit did not commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Definitely nothing happened: all participants were aborted. The only one that may be retried.
    #[error("the commit was refused by {by}")]
    #[non_exhaustive]
    Refused {
        /// Who said no.
        by: RefusedBy,
        /// Whether the same work may succeed in a fresh transaction.
        retryable: bool,
        /// Why.
        #[source]
        source: BoxError,
        /// What else went wrong while aborting.
        also: Vec<BoxError>,
    },
    /// The outcome could not be learnt. Recovery will answer; do not run the work again.
    #[error("the outcome of transaction {txn} could not be learnt; recovery will answer")]
    #[non_exhaustive]
    Undecided {
        /// The transaction.
        txn: TxnId,
        /// Why it could not be learnt.
        #[source]
        source: BoxError,
    },
    /// The transaction was doomed. It was aborted.
    #[error("the transaction was doomed and can only be aborted")]
    Doomed,
    /// The transaction had failed before: in a savepoint or a rollback. It was aborted.
    #[error("the transaction had failed earlier and can only be aborted")]
    Failed(#[source] FailedEarlier),
}

/// What a savepoint or a rollback failed with, in words: the error itself went to its caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FailedEarlier(String);

impl FailedEarlier {
    pub(super) fn new(error: &(dyn StdError + 'static)) -> Self {
        let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
        Self(texts.join(": "))
    }
}

/// An abort that was not clean. The transaction is aborted all the same.
#[derive(Debug, thiserror::Error)]
#[error("the transaction is aborted, but not every participant did so cleanly")]
#[non_exhaustive]
pub struct AbortError {
    /// The first error.
    #[source]
    pub source: BoxError,
    /// The other errors, in order.
    pub also: Vec<BoxError>,
}

/// Why a participant could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The transaction is committing: it is too late. Nothing changed.
    #[error("it is too late to join: the transaction is committing")]
    Committing,
    /// The transaction has failed. Nothing changed.
    #[error("the transaction has failed and can only be aborted")]
    Failed,
    /// The participant is [lent](crate::txn::Work::lend) to the caller, who has it already.
    #[error("the participant is lent out and cannot be lent twice")]
    Lent,
    /// The participant could not be made. Nothing changed.
    #[error("the participant could not be made")]
    Init(#[source] BoxError),
}

/// Why a savepoint could not be made or gone back to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// A participant has no savepoints. The transaction has failed, and every participant was aborted.
    #[error("participant `{participant}` does not support savepoints")]
    Unsupported {
        /// Its sort key, or its position if it has none.
        participant: String,
    },
    /// A participant is [lent](crate::txn::Work::lend) out and cannot be asked. Nothing changed.
    #[error("a participant is lent out, so a savepoint would not include it")]
    Lent,
    /// A participant failed. The transaction has failed, and every participant was aborted.
    #[error("a participant failed; the transaction can only be aborted")]
    Failed(#[source] BoxError),
    /// The transaction had failed before, or is ending. Nothing changed.
    #[error("the transaction is not active")]
    NotActive,
}

/// Why a transaction could not begin. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// This process is a fork of the one that made the manager: make a new one.
    #[error("the transaction manager was made before a fork: make a new one in the child")]
    Forked,
    /// A synchronizer refused the new transaction, which was aborted.
    #[error("a synchronizer refused the new transaction")]
    Synchronizer(#[source] BoxError),
}

/// The participants cannot be committed together. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// More than one database can only decide.
    #[error("{0:?} can each only commit by themselves, so not together")]
    TwoOnePhase(Vec<String>),
    /// A participant can only prepare, and none can decide.
    #[error("{0:?} can only prepare, and nobody can decide")]
    NoCommitPoint(Vec<ResourceId>),
}

/// Why [`run`](crate::txn::TransactionManager::run) gave up. The work of the last attempt is undone,
/// except after [`RunError::Commit`] with [`CommitError::Undecided`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// `attempts` was 0; nothing was run.
    #[error("a run needs at least one attempt")]
    NoAttempts,
    /// The transaction could not begin.
    #[error("the transaction could not begin")]
    Begin(#[source] BeginError),
    /// The work itself failed, last with this error.
    #[error("the work failed")]
    Work(#[source] BoxError),
    /// The work was done, and its commit failed.
    #[error("the work could not be committed")]
    Commit(#[source] CommitError),
}

/// An error that says of itself that the work may succeed if it is done again: a conflict.
#[derive(Debug, thiserror::Error)]
#[error("a conflict that may be retried")]
pub struct Retryable(#[source] pub BoxError);

/// The incarnation that a transaction belongs to is closed or gone in a register. A participant that
/// finds it so puts this into its error's chain: the manager draws a new incarnation, and the work may
/// be done again in a transaction of that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the incarnation {0} is gone: nothing can be committed under it any more")]
pub struct IncarnationGone(pub Incarnation);

/// A panic of a participant, a hook or a synchronizer, caught and taken for a failure. Never retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a panic: {message}")]
#[non_exhaustive]
pub struct Panicked {
    /// What the panic said, if it said it in text.
    pub message: String,
}

/// A list of hooks did not come to an end; the rest was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hooks added hooks without end; those after the {HOOKS_MAX}th were not run")]
pub struct TooManyHooks;

/// Calls into foreign code; a panic becomes an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(&*payload).into()))
}

/// Drops a foreign value; a panic is logged and changes nothing.
pub(super) fn discard<T>(value: T) {
    let dropped = guarded(|| {
        drop(value);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::warn!(%error, of = type_name::<T>(), "a drop panicked; nothing changes");
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Panicked {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Panicked {
        message: text.unwrap_or("of another type than text").to_owned(),
    }
}

/// Walks an error and its sources.
pub(super) fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// Finds an error of type `E` in a chain.
pub(super) fn find<'e, E: StdError + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e E> {
    chain(error).find_map(|error| error.downcast_ref())
}
