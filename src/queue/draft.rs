//! A task with options of its own, on its way into a queue.

use std::time::Duration;

use crate::id::TaskId;
use crate::queue::{
    Destination, Enlist, EnlistAsync, EnlistError, Enlisted, EnlistedAsync, EnqueueError,
};
use crate::task::{OnDuplicate, Options, RetryPolicy, Task, Unique};
use crate::time::Timestamp;
use crate::txn::Work;

/// A task that is about to be enqueued, with the options of its kind and what the caller changes of
/// them. Nothing happens until it is enqueued.
///
/// ```
/// use std::time::Duration;
///
/// use votive::queue::Draft;
/// use votive::{Queues, TransactionManager};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl votive::Task for Greet {
///     const KIND: &'static str = "greet";
/// }
///
/// let queues = Queues::new(votive::open("memory://")?);
/// let mut txn = TransactionManager::new().begin()?;
/// Draft::new(Greet { name: "Ann".into() })
///     .delay(Duration::from_secs(60))
///     .priority(5)
///     .enqueue(&queues, &mut txn)?;
/// txn.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a draft is nothing until it is enqueued"]
pub struct Draft<T> {
    task: T,
    options: Options,
}

impl<T: Task> Draft<T> {
    /// Drafts a task with the options of its kind.
    pub fn new(task: T) -> Self {
        Self {
            task,
            options: T::options(),
        }
    }

    /// Replaces all options.
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the priority: lower goes first. See [`Options::priority`].
    pub fn priority(mut self, priority: u8) -> Self {
        self.options.priority = priority;
        self
    }

    /// Has the task wait this long after the commit.
    #[doc(alias = "countdown")]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(delay);
        self
    }

    /// Sets the earliest time to run.
    #[doc(alias = "eta")]
    pub fn not_before(mut self, at: Timestamp) -> Self {
        self.options.not_before = Some(at);
        self
    }

    /// Sets the instant after which the task is not started any more, but becomes Dead.
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.options.expires_at = Some(at);
        self
    }

    /// Sets how long one attempt may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets what follows a failure.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.options.retry = retry;
        self
    }

    /// Sets how many attempts there are in all, the first included.
    #[doc(alias = "retries")]
    pub fn attempts_max(mut self, count: u32) -> Self {
        self.options.retry.attempts_max = count;
        self
    }

    /// Makes the task the only one of this key: while it waits, another one of the key merges into it.
    pub fn unique(self, key: impl Into<String>) -> Self {
        self.unique_or(key, OnDuplicate::Merge)
    }

    /// Makes the task the only one of this key, and says what happens to the second.
    pub fn unique_or(mut self, key: impl Into<String>, on_duplicate: OnDuplicate) -> Self {
        self.options.unique = Some(Unique {
            on_duplicate,
            ..Unique::new(key)
        });
        self
    }

    /// Makes the task the only one of a key, in the way that is said there.
    pub fn unique_as(mut self, unique: Unique) -> Self {
        self.options.unique = Some(unique);
        self
    }

    /// Puts the task into a group, of which never two run at the same time, unless
    /// [`group_limit`](Self::group_limit) says otherwise.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into());
        self
    }

    /// Has the task start while fewer others of its group than this run. See [`Options::group_limit`].
    #[doc(alias = "concurrency_limit")]
    pub fn group_limit(mut self, limit: u32) -> Self {
        self.options.group_limit = Some(limit);
        self
    }

    /// Adds an object that the task is about.
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.options.about.push(object.into());
        self
    }

    /// Says on whose behalf the task runs.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.options.user = Some(user.into());
        self
    }

    /// Sets how long the finished task stays to be looked at.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.options.retention = Some(retention);
        self
    }

    /// Enqueues the task: in the queue of its kind, if `to` is [`Queues`](crate::Queues), or in `to`
    /// itself, if that is a [`Queue`](crate::Queue). It becomes visible when `work` commits.
    ///
    /// # Errors
    /// Nothing was enqueued; the transaction can go on.
    pub fn enqueue(self, to: &impl Destination, work: &mut Work) -> Result<TaskId, EnqueueError> {
        let queue = to.queue_of::<T>()?;
        queue.enqueue_with(work, &self.task, self.options)
    }

    /// Writes the task into the application's own transaction, in the queue that is enlisted there.
    ///
    /// # Errors
    /// As [`Enlisted::enqueue`].
    pub fn enlist<E: Enlist>(self, enlisted: &mut Enlisted<E>) -> Result<TaskId, EnlistError> {
        enlisted.enqueue_with(&self.task, self.options)
    }

    /// Writes the task into the application's own transaction whose driver is asynchronous, in the queue that
    /// is enlisted there.
    ///
    /// # Errors
    /// As [`EnlistedAsync::enqueue`].
    pub async fn enlist_async<E: EnlistAsync>(
        self,
        enlisted: &mut EnlistedAsync<E>,
    ) -> Result<TaskId, EnlistError> {
        enlisted.enqueue_with(&self.task, self.options).await
    }

    /// Returns the task and its options, for other ways to enqueue them.
    #[must_use]
    pub fn into_parts(self) -> (T, Options) {
        (self.task, self.options)
    }
}
