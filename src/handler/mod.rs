//! What a task *does*. A handler runs inside a transaction that it neither begins nor ends; whatever
//! it does through the [`Context`] happens together with the task's completion, or not at all.

mod chunks;
mod context;
mod declared;
#[cfg(feature = "macros")]
mod discovery;
#[cfg(all(feature = "macros", feature = "periodic"))]
mod periodic;
mod registry;

pub use chunks::Chunks;
pub use context::{Attempt, Context, Outcome, Report, Rest};
pub use declared::{Declaration, Declared, Origin, Returned};
#[cfg(feature = "macros")]
pub use discovery::{declarations, registry};
#[cfg(all(feature = "macros", feature = "periodic"))]
pub use periodic::{InvalidSchedule, PeriodicDeclaration, Recurring, periodic_declarations};
pub use registry::{DuplicateKind, Fallback, KindInfo, Registry};

use serde::Serialize;

use crate::task::Task;
use crate::txn::BoxError;

/// The code that runs tasks of one type. Implemented for closures; called by many threads at once.
///
/// # For implementors
/// - `Ok` says that the work is done; it counts once the transaction has committed.
/// - An error undoes the transaction and counts as an attempt. The task is tried again as its
///   [`RetryPolicy`](crate::task::RetryPolicy) says. A panic is an error.
/// - A [`Retryable`](crate::txn::Retryable) error, or one that a participant takes for a conflict,
///   undoes the transaction too, but the task is run again at once and no attempt is counted.
/// - Effects outside the transaction may happen more than once; [`Attempt::task`] tells the
///   repetitions apart from new work.
#[doc(alias = "worker")]
#[doc(alias = "job function")]
pub trait Handler<T: Task>: Send + Sync + 'static {
    /// Runs one task.
    ///
    /// # Errors
    /// The work is not done, and its transaction is aborted.
    fn handle(&self, task: T, context: &mut Context<'_>) -> Result<(), BoxError>;

    /// Returns how many items one run has at most, if the tasks run in chunks: then a run that fails
    /// with more than one item is tried again with half as many. Defaults to `None`.
    fn chunk_size(&self) -> Option<u64> {
        None
    }
}

/// What a closure returns is the task's result (see [`Context::set_result`]); `()` is none.
impl<T, F, R, E> Handler<T> for F
where
    T: Task,
    F: Fn(T, &mut Context<'_>) -> Result<R, E> + Send + Sync + 'static,
    R: Serialize,
    E: Into<BoxError>,
{
    fn handle(&self, task: T, context: &mut Context<'_>) -> Result<(), BoxError> {
        let value = self(task, context).map_err(Into::into)?;
        context.keep(&value)
    }
}
