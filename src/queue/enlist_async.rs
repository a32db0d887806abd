//! *Enlisted, yours*, with a driver whose calls are awaited.

use std::fmt;
use std::future::Future;

use crate::id::TaskId;
use crate::queue::{EnlistError, EnqueueError, Queue};
use crate::store::{Batch, Store};
use crate::task::{Name, Options, Payload, Task};

/// A foreign connection with an asynchronous driver, inside a transaction, that can write a batch of changes:
/// as [`Enlist`](crate::queue::Enlist) for one whose calls block. Implemented in each
/// `resource::<driver>`.
///
/// A future that is dropped before it is ready must leave nothing behind, or all that it was to write, that a
/// later commit would make visible.
pub trait EnlistAsync: Send {
    /// Refuses unless the connection is inside a transaction of the store's own database.
    ///
    /// # Errors
    /// Nothing changed.
    fn check(&mut self, store: &dyn Store) -> impl Future<Output = Result<(), EnlistError>> + Send;

    /// Writes the changes in the caller's transaction, all or none; visible when it commits.
    ///
    /// # Errors
    /// Nothing was written, and the caller's transaction can go on, unless the database itself failed and
    /// does not let it.
    fn write(
        &mut self,
        store: &dyn Store,
        batch: Batch,
    ) -> impl Future<Output = Result<(), EnlistError>> + Send;
}

impl Queue {
    /// Enlists the queue in a transaction of the caller's whose driver is asynchronous. The caller commits.
    ///
    /// # Errors
    /// [`EnlistError`] unless the connection is in a transaction of the store's own database.
    pub async fn enlist_async<E: EnlistAsync>(
        &self,
        mut transaction: E,
    ) -> Result<EnlistedAsync<E>, EnlistError> {
        transaction.check(&**self.store()).await?;
        Ok(EnlistedAsync {
            queue: self.clone(),
            transaction,
        })
    }
}

/// A queue enlisted in the application's own transaction, with an asynchronous driver.
pub struct EnlistedAsync<E> {
    queue: Queue,
    transaction: E,
}

impl<E: EnlistAsync> EnlistedAsync<E> {
    /// Lends the transaction, for the application's own statements in between.
    pub fn transaction(&mut self) -> &mut E {
        &mut self.transaction
    }

    /// Writes a task with the options of its kind into the transaction, or into its innermost savepoint.
    /// Uniqueness and the room in the queue are judged now.
    ///
    /// The task is encoded at the call. A future that is dropped before it is ready has written the task as a
    /// whole or not at all; whether the transaction can go on then is the driver's to say.
    ///
    /// # Errors
    /// Nothing was written; the transaction can go on, unless the database itself failed and does not
    /// let it.
    ///
    /// # Blocking
    /// What is waited for in the transaction is awaited. What the queue asks its store for besides, the time
    /// and what operators say of the queue, blocks the thread for a moment where it is not known from before.
    pub fn enqueue<T: Task>(
        &mut self,
        task: &T,
    ) -> impl Future<Output = Result<TaskId, EnlistError>> + Send + use<'_, E, T> {
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
    ) -> impl Future<Output = Result<TaskId, EnlistError>> + Send + use<'_, E, T> {
        let encoded = self.queue.encode(task, options);
        async move {
            let (payload, options) = encoded.map_err(EnqueueError::from)?;
            self.enqueue_payload(Name::fixed(T::KIND), payload, options)
                .await
        }
    }

    /// Writes a task that is encoded already.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_payload(
        &mut self,
        kind: impl Into<Name> + Send,
        payload: Payload,
        options: Options,
    ) -> Result<TaskId, EnlistError> {
        let (task, batch) = self.queue.written(kind.into(), payload, options)?;
        self.transaction.write(&**self.queue.store(), batch).await?;
        Ok(task)
    }
}

impl<E> fmt::Debug for EnlistedAsync<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnlistedAsync")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
