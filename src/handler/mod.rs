//! What a task *does*. A handler runs inside a transaction that it neither begins nor ends; whatever
//! it does through the [`Context`] happens together with the task's completion, or not at all.

mod context;
mod declared;
#[cfg(feature = "macros")]
mod discovery;
#[cfg(all(feature = "macros", feature = "periodic"))]
mod periodic;
mod registry;

pub use context::{Attempt, Context};
pub use declared::{Declaration, Declared, Origin, Returned};
#[cfg(feature = "macros")]
pub use discovery::declarations;
#[cfg(all(feature = "macros", feature = "periodic"))]
pub use periodic::{InvalidSchedule, PeriodicDeclaration, Recurring, periodic_declarations};
pub use registry::{DuplicateKind, Fallback, KindInfo, Registry};

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
}

impl<T, F, E> Handler<T> for F
where
    T: Task,
    F: Fn(T, &mut Context<'_>) -> Result<(), E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn handle(&self, task: T, context: &mut Context<'_>) -> Result<(), BoxError> {
        self(task, context).map_err(Into::into)
    }
}
