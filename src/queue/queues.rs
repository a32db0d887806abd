//! All queues of one store: each task goes to the queue that its kind names.

use std::fmt;
use std::sync::Arc;

use crate::id::TaskId;
use crate::queue::settings::Known;
use crate::queue::{EnqueueError, Queue, recover};
use crate::store::Store;
use crate::task::{Name, Options, PayloadLimits, Task};
use crate::txn::{TransactionManager, Work};

/// The queues of a store, by name. Cheap to clone.
///
/// ```
/// use votive::{Queues, TransactionManager};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl votive::Task for Greet {
///     const KIND: &'static str = "greet";
///     const QUEUE: &'static str = "mail";
/// }
///
/// let queues = Queues::new(votive::open("memory://")?);
/// let mut txn = TransactionManager::new().begin()?;
/// let task = queues.enqueue(&mut txn, &Greet { name: "Ann".into() })?;
/// txn.commit()?;
/// let record = queues.store().get(task)?;
/// assert!(record.is_some_and(|listed| listed.record.queue == "mail"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queues {
    store: Arc<dyn Store>,
    limits: PayloadLimits,
    known: Known,
}

impl Queues {
    /// Takes the queues of a store. None of them need have been created.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            limits: PayloadLimits::default(),
            known: Known::default(),
        }
    }

    /// Takes the queues of a store, and settles what crashes left in doubt there (see [`recover`]).
    ///
    /// # Errors
    /// The store could not be recovered.
    pub fn open(store: Arc<dyn Store>, manager: &TransactionManager) -> Result<Self, EnqueueError> {
        recover(&store, manager)?;
        Ok(Self::new(store))
    }

    /// Sets how large and how deeply nested payloads may be. Defaults to
    /// [`PayloadLimits::default`].
    #[must_use]
    pub fn payload_limits(mut self, limits: PayloadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the store that the queues are in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the queue of this name.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn queue(&self, name: impl Into<Name>) -> Result<Queue, EnqueueError> {
        let mut queue = Queue::new(Arc::clone(&self.store), name)?;
        queue.known = self.known.clone();
        Ok(queue.payload_limits(self.limits))
    }

    /// Enqueues a task in the queue of its kind, with the options of its kind. It becomes visible when
    /// `work` commits.
    ///
    /// # Errors
    /// Nothing was enqueued; the transaction can go on.
    pub fn enqueue<T: Task>(&self, work: &mut Work, task: &T) -> Result<TaskId, EnqueueError> {
        self.enqueue_with(work, task, T::options())
    }

    /// Enqueues a task in the queue of its kind, with options of its own.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_with<T: Task>(
        &self,
        work: &mut Work,
        task: &T,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        self.queue_of::<T>()?.enqueue_with(work, task, options)
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("store", &self.store.id())
            .finish_non_exhaustive()
    }
}

/// Where a task of any kind may be sent: [`Queues`], in which its kind has a queue, or a [`Queue`], for
/// tasks that are to go there whatever their kind says.
pub trait Destination {
    /// Returns the queue for tasks of type `T`.
    ///
    /// # Errors
    /// The kind names a queue by a name that no queue may have.
    fn queue_of<T: Task>(&self) -> Result<Queue, EnqueueError>;
}

impl Destination for Queues {
    fn queue_of<T: Task>(&self) -> Result<Queue, EnqueueError> {
        self.queue(Name::fixed(T::QUEUE))
    }
}

impl Destination for Queue {
    fn queue_of<T: Task>(&self) -> Result<Queue, EnqueueError> {
        Ok(self.clone())
    }
}
