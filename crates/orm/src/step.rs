//! What an application does in a transaction, whatever its driver.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use serde::{Deserialize, Serialize};
use votive::id::TaskId;
use votive::queue::{EnlistError, Queue};
use votive::task::{Options, Task};

use crate::Place;

/// Whatever goes wrong.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A task.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ping(pub u32);

impl Task for Ping {
    const KIND: &'static str = "ping";
}

/// How a transaction, or one within it, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is committed.
    Commit,
    /// It is rolled back.
    RollBack,
}

/// A statement that fails, and at which SQLite takes back the whole transaction without telling the driver.
pub(crate) const LOSE: &str = "INSERT OR ROLLBACK INTO note VALUES (0)";

/// One thing that an application does in its transaction.
pub enum Step {
    /// Inserts a row into its own table `note`.
    Note,
    /// Enqueues a task with these options.
    Enqueue(Options),
    /// The same, but goes on if it is refused.
    Try(Options),
    /// Does all this in a transaction within, which ends so.
    Within(Vec<Step>, End),
}

/// What became of the attempts to enqueue, in order.
#[derive(Debug, Default)]
pub struct Does {
    /// The tasks.
    pub tasks: Vec<TaskId>,
    /// The refusals of [`Step::Try`].
    pub refusals: Vec<EnlistError>,
}

impl Does {
    /// Notes what became of one attempt.
    ///
    /// # Errors
    /// The refusal of what had to be enqueued.
    pub fn note(
        &mut self,
        done: std::result::Result<TaskId, EnlistError>,
        may_fail: bool,
    ) -> Result<()> {
        match done {
            Ok(task) => self.tasks.push(task),
            Err(refusal) if may_fail => self.refusals.push(refusal),
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }
}

/// An application with a driver of its own. Its database has a table `note`, which takes positive numbers.
pub trait Application: Sized {
    /// Connects to a database, and makes the table.
    ///
    /// # Errors
    /// As the driver says.
    fn connect(place: &Place) -> Result<Self>;

    /// Does all this in a transaction, which ends so.
    ///
    /// # Errors
    /// What was not to be refused, or failed.
    fn transact(&mut self, queue: &Queue, steps: &[Step], end: End) -> Result<Does>;

    /// Enlists a queue in a transaction, and nothing more.
    ///
    /// # Errors
    /// As the driver says.
    fn enlist(&mut self, queue: &Queue) -> Result<std::result::Result<(), EnlistError>>;

    /// Counts the rows of the table `note`.
    ///
    /// # Errors
    /// As the driver says.
    fn notes(&mut self) -> Result<usize>;
}

/// A driver whose types let a queue be enlisted where there is no transaction.
pub trait Unguarded: Application {
    /// Enlists a queue outside of a transaction.
    ///
    /// # Errors
    /// The refusal.
    fn enlist_outside(&mut self, queue: &Queue) -> std::result::Result<(), EnlistError>;
}

/// A driver of SQLite, which may take a transaction back by itself.
pub trait Losing: Application {
    /// Enlists a queue in a transaction, loses that to SQLite, and enqueues a task; then enlists the queue once more.
    /// Returns what came of the last two.
    ///
    /// # Errors
    /// As the driver says.
    fn lose(&mut self, queue: &Queue) -> Result<[std::result::Result<(), EnlistError>; 2]>;
}

/// A driver whose transaction can go on after a future that was dropped.
pub trait Droppable: Application {
    /// Inserts a row, begins to enqueue a task in the same transaction, drops the future after 0, 1, 2 … waits until it
    /// is ready, and commits. Returns how often it was dropped.
    ///
    /// # Errors
    /// As the driver says.
    fn drop_halfway(&mut self, queue: &Queue) -> Result<usize>;
}

/// Runs a future on a runtime of many threads, since a Postgres store refuses to be asked on another.
///
/// # Errors
/// As the future says.
pub fn ready<T>(
    runtime: &tokio::runtime::Runtime,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    runtime.block_on(future)
}

/// Lets a future wait so often, and drops it when it would have to wait once more.
pub async fn dropped_after<T>(waits: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = waits;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
