//! *Enlisted, yours*: tasks are written at the call, into a transaction that the application holds and
//! commits itself.

use std::fmt;

use crate::id::TaskId;
use crate::queue::{EnqueueError, Queue};
use crate::store::render::{Refusal, Rendered};
use crate::store::{self, Applied, Batch, Change, Store};
use crate::task::{Name, Options, Payload, Task};

/// A foreign connection, inside a transaction, that can write a batch of changes. Implemented in each
/// `resource::<database>`, for references of the kind that its driver needs to execute a statement.
pub trait Enlist {
    /// Refuses unless the connection is inside a transaction of the store's own database.
    ///
    /// # Errors
    /// Nothing changed.
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError>;

    /// Writes the changes in the caller's transaction, all or none; visible when it commits.
    ///
    /// # Errors
    /// Nothing was written. The caller's transaction can go on if the store refused; if the database
    /// itself failed, as far as it lets it.
    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError>;
}

/// Why a queue could not be enlisted, or could not enqueue when it was. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnlistError {
    /// The connection commits each statement by itself.
    #[error("the connection is not inside a transaction: begin one, then enlist")]
    NoTransaction,
    /// The connection is not to the store's own database, so that its commit would not be the store's.
    #[error("the connection is to another database than the queue's store ({found}, not {store})")]
    OtherDatabase {
        /// The database that the connection is to.
        found: String,
        /// The database that the store is in.
        store: String,
    },
    /// The store is not one of this driver's databases.
    #[error("a {backend} store cannot be enlisted by this driver")]
    OtherBackend {
        /// The store's backend.
        backend: &'static str,
    },
    /// The store refused the task: its key is taken, or there is no room.
    #[error("the store refused")]
    Store(#[from] store::Error),
    /// A statement that the store had rendered said that it refuses the task: its key is taken, or there
    /// is no room.
    #[error("the store refused")]
    Refused(#[source] Refusal),
    /// The driver failed; what it says is the source.
    #[error("the driver could not execute what the store had rendered")]
    Driver(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The task cannot be enqueued in any store.
    #[error("the task could not be enqueued")]
    Enqueue(#[from] EnqueueError),
}

impl EnlistError {
    /// Wraps what a driver says; called by implementors of [`Enlist`].
    pub fn driver(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Driver(error.into())
    }
}

/// Lends a store as the type that a driver can write to.
///
/// # Errors
/// [`EnlistError::OtherBackend`] if it is another.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn as_own<S: 'static>(store: &dyn Store) -> Result<&S, EnlistError> {
    let own = store.as_any().downcast_ref();
    own.ok_or_else(|| EnlistError::OtherBackend {
        backend: store.capabilities().backend,
    })
}

impl From<Refusal> for EnlistError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherStore { store } => Self::OtherDatabase {
                found: "another".to_owned(),
                store,
            },
            refusal => Self::Refused(refusal),
        }
    }
}

/// A task as statements, for a driver of any language.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RenderedTask {
    /// The task.
    pub task: TaskId,
    /// What puts it into a transaction, and when that must go back instead.
    pub rendered: Rendered,
}

impl Queue {
    /// Enlists the queue in a transaction of the caller's. The caller commits; there is no second
    /// commit, and no window between the two.
    ///
    /// # Errors
    /// [`EnlistError`] unless the connection is in a transaction of the store's own database.
    pub fn enlist<E: Enlist>(&self, mut transaction: E) -> Result<Enlisted<E>, EnlistError> {
        transaction.check(&**self.store())?;
        Ok(Enlisted {
            queue: self.clone(),
            transaction,
        })
    }

    /// Renders a task with the options of its kind as statements, for a driver that cannot be
    /// [enlisted](Self::enlist). Nothing happens until they are executed, as [`render`] says: soon, because
    /// the task is published at the time of this call.
    ///
    /// # Errors
    /// [`EnlistError::Store`] with [`Kind::Unsupported`](store::Kind::Unsupported) if the store does not
    /// render; [`EnlistError::Enqueue`] if no store would take the task.
    ///
    /// [`render`]: crate::store::render
    pub fn render<T: Task>(&self, task: &T) -> Result<RenderedTask, EnlistError> {
        self.render_with(task, T::options())
    }

    /// Renders a task with options of its own.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_with<T: Task>(
        &self,
        task: &T,
        options: Options,
    ) -> Result<RenderedTask, EnlistError> {
        let encoded = self.encode(task, options);
        let (payload, options) = encoded.map_err(EnqueueError::from)?;
        let (task, batch) = self.written(Name::fixed(T::KIND), payload, options)?;
        let rendered = self.store().render(&batch, self.store().now()?)?;
        Ok(RenderedTask { task, rendered })
    }

    /// What is written of one task into a transaction that is not ours.
    pub(super) fn written(
        &self,
        kind: Name,
        payload: Payload,
        options: Options,
    ) -> Result<(TaskId, Batch), EnqueueError> {
        let (record, capacity) = self.record(kind, payload, options, TaskId::new)?;
        let task = record.id;
        let queue = record.queue.to_string();
        let mut changes = vec![Change::Insert(Box::new(record))];
        changes.extend(capacity.map(|pending_max| Change::Room { queue, pending_max }));
        Ok((task, Batch::new(changes)))
    }
}

/// A queue enlisted in the application's own transaction.
pub struct Enlisted<E> {
    pub(super) queue: Queue,
    pub(super) transaction: E,
}

impl<E: Enlist> Enlisted<E> {
    /// Lends the transaction, for the application's own statements in between.
    pub fn transaction(&mut self) -> &mut E {
        &mut self.transaction
    }

    /// Writes a task with the options of its kind into the transaction, or into its innermost
    /// savepoint. Uniqueness and the room in the queue are judged now.
    ///
    /// # Errors
    /// Nothing was written; the transaction can go on, unless the database itself failed and does not
    /// let it.
    pub fn enqueue<T: Task>(&mut self, task: &T) -> Result<TaskId, EnlistError> {
        self.enqueue_with(task, T::options())
    }

    /// Writes a task with options of its own.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_with<T: Task>(
        &mut self,
        task: &T,
        options: Options,
    ) -> Result<TaskId, EnlistError> {
        let encoded = self.queue.encode(task, options);
        let (payload, options) = encoded.map_err(EnqueueError::from)?;
        self.enqueue_payload(Name::fixed(T::KIND), payload, options)
    }

    /// Writes a task that is encoded already.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_payload(
        &mut self,
        kind: impl Into<Name>,
        payload: Payload,
        options: Options,
    ) -> Result<TaskId, EnlistError> {
        let (task, batch) = self.queue.written(kind.into(), payload, options)?;
        self.transaction.write(&**self.queue.store(), batch)?;
        Ok(task)
    }
}

impl<E> fmt::Debug for Enlisted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enlisted")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
