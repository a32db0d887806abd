//! Waiting for a task, and reading its result.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::codec::CodecError;
use crate::id::TaskId;
use crate::queue::Queue;
use crate::store::{self, Interest, Store};
use crate::task::{DeadReason, Failure, Payload, PayloadLimits, Position, Record, State};
use crate::time::Deadline;

/// A task in a store, to wait for and to read the result of. Cheap to clone.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};
/// use votive::task::Options;
///
/// #[derive(Serialize, Deserialize)]
/// struct Double(i64);
///
/// impl Task for Double {
///     const KIND: &'static str = "double";
///
///     fn options() -> Options {
///         Options { retention: Some(Duration::from_secs(600)), ..Options::default() }
///     }
/// }
///
/// let store = votive::open("memory://")?;
/// let queue = Queue::new(store.clone(), "default")?;
/// let mut txn = TransactionManager::new().begin()?;
/// let task = queue.enqueue(&mut txn, &Double(21))?;
/// txn.commit()?;
///
/// let mut registry = Registry::new();
/// registry.register(|task: Double, _: &mut Context<'_>| Ok::<_, std::io::Error>(2 * task.0))?;
/// let running = Consumer::builder(store, registry).queue("default").start()?;
/// let result: i64 = queue.handle(task).result(Duration::from_secs(10))?;
/// assert_eq!(result, 42);
/// running.stop();
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone)]
pub struct TaskHandle {
    store: Arc<dyn Store>,
    task: TaskId,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Ended {
    /// The task; another one than was asked for if that merged into it.
    pub task: TaskId,
    /// Done, Dead or Cancelled.
    pub state: State,
    /// Why nobody will run it, if it is Dead.
    pub dead: Option<DeadReason>,
    /// What it gave, if it is Done and gave something.
    pub result: Option<Payload>,
    /// Why its last attempts failed, oldest first.
    pub failures: Vec<Failure>,
    /// How far it came, if it ran in chunks.
    pub position: Option<Position>,
}

/// Why it is not known how a task ended. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It had not ended within the time. Waiting again goes on.
    #[error("task {task} had not ended after {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The task.
        task: TaskId,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The store has no such task. It was done and left, because it has no retention or that has
    /// passed; or it was removed; or it was never committed.
    #[error("task {0} is not in the store: only one with a retention stays when it is done")]
    NotKept(TaskId),
    /// The store could not be asked.
    #[error("the store could not be asked")]
    Store(#[from] store::Error),
}

/// Why there is no result. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// It is not known how the task ended.
    #[error("the end of the task is not known")]
    Wait(#[from] WaitError),
    /// The task is Dead.
    #[error("task {task} is dead ({}): {}", reason.map_or("no reason", DeadReason::name), last(failures))]
    #[non_exhaustive]
    Dead {
        /// The task.
        task: TaskId,
        /// Why nobody will run it.
        reason: Option<DeadReason>,
        /// Why its last attempts failed, oldest first.
        failures: Vec<Failure>,
    },
    /// The task was cancelled.
    #[error("task {0} was cancelled")]
    Cancelled(TaskId),
    /// The result is not of the type that was asked for.
    #[error("the result of task {task} cannot be read")]
    #[non_exhaustive]
    Unreadable {
        /// The task.
        task: TaskId,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
}

impl Queue {
    /// Names a task in the queue's store, to wait for.
    #[must_use]
    pub fn handle(&self, task: TaskId) -> TaskHandle {
        TaskHandle::new(Arc::clone(self.store()), task)
    }
}

impl TaskHandle {
    /// Names a task in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, task: TaskId) -> Self {
        Self { store, task }
    }

    /// Returns the task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task
    }

    /// Waits until the task has ended. A task that merged into another is followed.
    ///
    /// It is to be called after the commit of the transaction that enqueued the task.
    ///
    /// # Errors
    /// [`WaitError`]; only a task with a retention can be told from one that never was.
    ///
    /// # Blocking
    /// Up to `timeout`; the store wakes it.
    pub fn wait(&self, timeout: Duration) -> Result<Ended, WaitError> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(record) = self.record()?
                && record.state.is_ended()
            {
                return Ok(Ended::of(record));
            }
            let interest = [Interest::Settled(self.task)];
            let came = self.store.wait(&interest, deadline.left())?;
            if came.is_some() && self.record()?.is_none() {
                return Err(WaitError::NotKept(self.task));
            }
            if came.is_none() && deadline.left().is_zero() {
                let task = self.task;
                return Err(WaitError::TimedOut { task, timeout });
            }
        }
    }

    /// Waits until the task is done, and decodes its result. `()` and `Option` fit a task that gave none.
    ///
    /// # Errors
    /// [`ResultError`]; a task that is Dead gives its errors.
    ///
    /// # Blocking
    /// Up to `timeout`; the store wakes it.
    pub fn result<R: DeserializeOwned>(&self, timeout: Duration) -> Result<R, ResultError> {
        self.wait(timeout)?.into_result()
    }

    fn record(&self) -> store::Result<Option<Record>> {
        let found = self.store.get(self.task)?;
        Ok(found.map(|listed| listed.record))
    }
}

impl Ended {
    fn of(record: Record) -> Self {
        let account = record.account.map(|account| *account).unwrap_or_default();
        Self {
            task: record.id,
            state: record.state,
            dead: record.dead,
            result: account.result,
            failures: account.failures,
            position: account.position,
        }
    }

    /// Decodes the result within [`PayloadLimits::default`].
    ///
    /// # Errors
    /// [`ResultError`], unless the task is Done and its result an `R`.
    pub fn into_result<R: DeserializeOwned>(self) -> Result<R, ResultError> {
        let task = self.task;
        match self.state {
            State::Done => read(self.result.as_ref())
                .map_err(|source| ResultError::Unreadable { task, source }),
            State::Cancelled => Err(ResultError::Cancelled(task)),
            _ => Err(ResultError::Dead {
                task,
                reason: self.dead,
                failures: self.failures,
            }),
        }
    }
}

/// Decodes a result; none is `null`.
fn read<R: DeserializeOwned>(result: Option<&Payload>) -> Result<R, CodecError> {
    let limits = PayloadLimits::default();
    match result {
        Some(payload) => payload.read(limits),
        None => Payload::json(&(), limits)?.read(limits),
    }
}

/// The last error, for a message of one line.
fn last(failures: &[Failure]) -> String {
    let last = failures.last().map(|failure| failure.chain.join(": "));
    last.unwrap_or_else(|| "it never ran".to_owned())
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("task", &self.task)
            .field("store", &self.store.id())
            .finish()
    }
}
