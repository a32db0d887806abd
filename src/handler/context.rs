//! What a handler is told, and the transaction that it works in.

use std::fmt;

use crate::id::TaskId;
use crate::queue::{self, Draft, EnqueueError, Guarded, Queue, Queues};
use crate::task::{Name, Options, Task};
use crate::time::Timestamp;
use crate::txn::{Cancellation, Work};

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
    /// When the attempt times out; `None` if it may take as long as it likes.
    pub deadline: Option<Timestamp>,
}

/// What a handler is told, and the transaction that it works in.
pub struct Context<'a> {
    work: &'a mut Work,
    attempt: &'a Attempt,
    queue: &'a Queue,
    cancellation: &'a Cancellation,
}

impl<'a> Context<'a> {
    /// Creates the context of one run; called by whoever runs handlers.
    pub fn new(
        work: &'a mut Work,
        attempt: &'a Attempt,
        queue: &'a Queue,
        cancellation: &'a Cancellation,
    ) -> Self {
        Self {
            work,
            attempt,
            queue,
            cancellation,
        }
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
