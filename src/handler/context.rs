//! What a handler is told, and the transaction that it works in.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::codec::CodecError;
use crate::id::TaskId;
use crate::queue::{self, Draft, EnqueueError, Guarded, Queue, Queues, TaskHandle};
use crate::task::{Name, Options, Payload, PayloadLimits, Position, Record, Task};
use crate::time::Timestamp;
use crate::txn::{BoxError, Cancellation, Work};

/// Which run of which task this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The task. The same for all its attempts, so it serves as an idempotency key.
    pub task: TaskId,
    /// Its type tag.
    pub kind: Name,
    /// The number of the attempt, from 1.
    pub number: u32,
    /// How often this attempt had to start over because of a conflict.
    pub conflict_count: u32,
    /// The earliest time that the producer asked for, whatever has become of the task since. Of a periodic task
    /// it is the time that it was due.
    pub not_before: Option<Timestamp>,
    /// The trace of who enqueued the task, if that is known (see [`queue::carry_trace`]).
    pub trace: Option<String>,
    /// When the attempt times out; `None` if it may take as long as it likes.
    pub deadline: Option<Timestamp>,
}

/// Shows how far a task is while it runs; returns whether that can be seen now.
pub type Report<'a> = dyn Fn(&str) -> Result<bool, BoxError> + 'a;

/// What a run left behind that succeeded, beside what is in its transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What the task gave.
    pub result: Option<Payload>,
    /// How far it came, if it runs in chunks.
    pub rest: Option<Rest>,
}

impl Outcome {
    /// Whether a part of the task is still to be done.
    #[must_use]
    pub fn is_part(&self) -> bool {
        let position = self.rest.map(|rest| rest.position);
        position.is_some_and(|position| position.done < position.total)
    }
}

/// How far a task came in this run, and when the next chunk is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// How far it is. It is done when all items are.
    pub position: Position,
    /// How long to wait at least before the next chunk.
    pub pause: Duration,
}

/// What a handler is told, and the transaction that it works in.
pub struct Context<'a> {
    work: &'a mut Work,
    attempt: &'a Attempt,
    record: &'a Record,
    queue: &'a Queue,
    cancellation: &'a Cancellation,
    report: Option<&'a Report<'a>>,
    chunk: Option<Position>,
    outcome: Outcome,
}

impl<'a> Context<'a> {
    /// Creates the context of one run; called by whoever runs handlers.
    pub fn new(
        work: &'a mut Work,
        attempt: &'a Attempt,
        record: &'a Record,
        queue: &'a Queue,
        cancellation: &'a Cancellation,
    ) -> Self {
        Self {
            work,
            attempt,
            record,
            queue,
            cancellation,
            report: None,
            chunk: None,
            outcome: Outcome::default(),
        }
    }

    /// Sets what shows how far the task is. Defaults to nothing.
    #[must_use]
    pub fn reporting(mut self, report: &'a Report<'a>) -> Self {
        self.report = Some(report);
        self
    }

    /// Ends the run; called by whoever runs handlers, when one has succeeded.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// Lends the transaction: join databases, enqueue, make savepoints. The task's own completion is
    /// part of it.
    pub fn work(&mut self) -> &mut Work {
        self.work
    }

    /// Returns which run of which task this is.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        self.attempt
    }

    /// Returns the task as it is stored: what its producer asked for, and what its earlier runs left.
    #[must_use]
    pub fn record(&self) -> &Record {
        self.record
    }

    /// Returns the tasks that this one waited for, in the order in which its producer gave them.
    pub fn prerequisites(&self) -> impl Iterator<Item = TaskHandle> {
        let tasks = self.record.options.waits_for.iter();
        tasks.map(|task| self.queue.handle(*task))
    }

    /// Keeps a value as the task's result, as JSON, for whoever has a [`TaskHandle`]. The last one counts.
    ///
    /// It is stored in the step in which the task is done, and kept as long as the task's `retention`
    /// says; a task without retention leaves when it is done, and its result with it. What is `null` in
    /// JSON is not kept.
    ///
    /// # Errors
    /// The value has no form in JSON, or is larger or deeper than [`PayloadLimits::default`] allows. The
    /// result is as it was.
    pub fn set_result<R: Serialize + ?Sized>(&mut self, value: &R) -> Result<(), CodecError> {
        let payload = Payload::json(value, PayloadLimits::default())?;
        self.outcome.result = Some(payload).filter(|payload| *payload.bytes != *b"null");
        Ok(())
    }

    /// Keeps what a handler returned; one that gives nothing may have set a result itself.
    pub(super) fn keep<R: Serialize>(&mut self, value: &R) -> Result<(), BoxError> {
        if size_of::<R>() > 0 {
            self.set_result(value)?;
        }
        Ok(())
    }

    /// Shows how far the task is, in the list of tasks, while it runs: in a small transaction of its own,
    /// at most once a second. Returns whether this text can be seen now; the next one replaces it.
    ///
    /// A store in the very SQLite file that the handler writes to cannot be written meanwhile: there a
    /// text can be seen only until the handler has begun to write, and this call waits for the file's
    /// busy timeout afterwards.
    ///
    /// # Errors
    /// The store could not be told. The task can go on.
    pub fn progress(&self, text: impl AsRef<str>) -> Result<bool, BoxError> {
        self.report
            .map_or(Ok(false), |report| report(text.as_ref()))
    }

    /// Says how far the task is and how many items it has, before a chunk is run.
    pub(super) fn begin_chunk(&mut self, position: Position) {
        self.chunk = Some(position);
    }

    /// Returns where the chunk began that this run was to do, if the handler has said so.
    pub(crate) fn chunk(&self) -> Option<Position> {
        self.chunk
    }

    /// Says how far the task came in this run: it is done if all items are, or goes on later.
    pub(super) fn set_rest(&mut self, rest: Rest) {
        self.outcome.rest = Some(rest);
    }

    /// Returns the queue that the task came from.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        self.queue
    }

    /// Returns the queues of the store that the task came from.
    #[must_use]
    pub fn queues(&self) -> Queues {
        self.queue.siblings()
    }

    /// Returns what tells the handler to stop: a timeout, or a consumer that stops.
    ///
    /// A handler that runs for long looks at [`Cancellation::is_cancelled`] now and then, and returns
    /// an error if it is set.
    #[must_use]
    pub fn cancellation(&self) -> &Cancellation {
        self.cancellation
    }

    /// Answers whether an object may be changed now: not while another task about it than this one has yet
    /// to run or runs (see [`queue::guard`](crate::queue::guard)).
    ///
    /// # Errors
    /// As [`queue::guard`](crate::queue::guard).
    pub fn guard(&self, object: &str) -> Result<(), Guarded> {
        queue::guard(self.queue.store(), object, Some(self.attempt.task))
    }

    /// Enqueues a task in the task's own queue. It becomes visible when this one is done.
    ///
    /// For another queue, call [`Queue::enqueue`] with [`work`](Self::work).
    ///
    /// # Errors
    /// Nothing was enqueued.
    pub fn enqueue<T: Task>(&mut self, task: &T) -> Result<TaskId, EnqueueError> {
        self.queue.enqueue(self.work, task)
    }

    /// Enqueues a task with options of its own. It becomes visible when this one is done.
    ///
    /// # Errors
    /// Nothing was enqueued.
    pub fn enqueue_with<T: Task>(
        &mut self,
        task: &T,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        self.queue.enqueue_with(self.work, task, options)
    }

    /// Enqueues a draft in the queue of its kind, in the store that the task came from. It becomes
    /// visible when this task is done.
    ///
    /// # Errors
    /// Nothing was enqueued.
    pub fn enqueue_draft<T: Task>(&mut self, draft: Draft<T>) -> Result<TaskId, EnqueueError> {
        draft.enqueue(&self.queues(), self.work)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
