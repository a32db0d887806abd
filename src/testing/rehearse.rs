//! One task, run as a consumer runs it, in a transaction that is rolled back.

use crate::handler::{Attempt, Context, Registry};
use crate::id::TaskId;
use crate::queue::{Pending as _, Queue};
use crate::task::{Name, Payload, PayloadLimits, Record, Task};
use crate::txn::{BoxError, Cancellation, TransactionManager};

/// What a task did before its transaction was rolled back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rehearsal {
    /// What the handler returned.
    pub result: Result<(), BoxError>,
    /// Whether a consumer would take the error for a conflict, and run the task again at once.
    pub is_conflict: bool,
    /// The tasks that the handler's transaction would have enqueued, had it committed.
    pub enqueued: Vec<Record>,
}

/// Runs a task once, through everything that it goes through in a consumer: it is encoded, decoded, and
/// handled in a transaction of its own. That is rolled back, so that nothing of it remains, neither in the
/// store nor in the databases that joined. Effects outside the transaction do remain.
///
/// # Errors
/// The task could not be encoded, no transaction could be begun, or a participant did not roll back. What
/// the handler itself returns is in [`Rehearsal::result`].
pub fn rehearse<T: Task>(
    queue: &Queue,
    manager: &TransactionManager,
    registry: &Registry,
    task: &T,
) -> Result<Rehearsal, BoxError> {
    let now = queue.store().now()?;
    let payload = Payload::encode(task, PayloadLimits::default())?;
    let record = Record::new(
        TaskId::new(now),
        queue.name(),
        Name::fixed(T::KIND),
        payload,
        now,
    )
    .with_options(T::options());
    let attempt = Attempt {
        task: record.id,
        kind: record.kind.clone(),
        number: 1,
        conflict_count: 0,
        not_before: record.options.not_before,
        trace: record.options.trace.clone(),
        deadline: record
            .options
            .timeout
            .map(|timeout| now.saturating_add(timeout)),
    };
    let mut txn = manager.begin()?;
    let cancellation = Cancellation::new();
    txn.set_data(cancellation.clone());
    let mut context = Context::new(&mut txn, &attempt, &record, queue, &cancellation);
    let result = registry.run(&record, &mut context);
    let rehearsal = Rehearsal {
        is_conflict: result
            .as_ref()
            .is_err_and(|error| txn.is_retryable(&**error)),
        enqueued: txn.pending().into_iter().cloned().collect(),
        result,
    };
    txn.abort()?;
    Ok(rehearsal)
}
