//! A transactional task dispatcher: a task is visible if and only if its transaction committed.
//!
//! Promised: tasks that a transaction enqueues become visible all together when it commits, and never
//! otherwise, after a crash at any instruction; a task's effects and its completion are one atomic
//! step. Not promised: that effects outside a transaction happen only once.
//!
//! ```
//! use std::sync::mpsc;
//!
//! use serde::{Deserialize, Serialize};
//! use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Index {
//!     document: i64,
//! }
//!
//! impl Task for Index {
//!     const KIND: &'static str = "index";
//! }
//!
//! let manager = TransactionManager::new();
//! let store = votive::open("memory://")?;
//! let queue = Queue::new(store.clone(), "default")?;
//!
//! let mut txn = manager.begin()?;
//! queue.enqueue(&mut txn, &Index { document: 1 })?;
//! let mut savepoint = txn.savepoint()?;
//! queue.enqueue(&mut savepoint, &Index { document: 2 })?;
//! savepoint.rollback()?;
//! drop(savepoint);
//! txn.commit()?;
//!
//! let (indexed, documents) = mpsc::channel();
//! let mut registry = Registry::new();
//! registry.register(move |task: Index, _: &mut Context<'_>| indexed.send(task.document))?;
//! let running = Consumer::builder(store, registry).queue("default").start()?;
//! assert_eq!(documents.recv()?, 1);
//! running.stop();
//! assert_eq!(documents.recv().ok(), None); // the second was rolled back
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # The five types to know
//! | type | what it is |
//! | --- | --- |
//! | [`Task`] | what is to be done: data with a kind |
//! | [`Queue`] | where it is enqueued |
//! | [`TransactionManager`] | begins the [`Transaction`]s in which that happens |
//! | [`Registry`] | which [`Handler`] runs which kind, with a [`Context`] |
//! | [`Consumer`] | runs them |
//!
//! # Stores
//! [`open`] takes `memory://`, `sqlite:…`, `file:…`, `redis://…` and `postgres://…`, as far as their features are
//! on; the contract of a store is in [`store`], and [`Schemes`] takes others. An application's own database takes part
//! by way of [`resource`].
//!
//! # Features
//! - `sqlite` (default): the SQLite store and databases by rusqlite, which brings a C compiler's work.
//! - `file`, `redis`, `postgres`: a store each; the last also brings databases by the `postgres` driver.
//! - `diesel`, `sqlx`, `seaorm`: tasks in the transactions of these; the last two need Rust 1.94, and do what `sqlite`
//!   and `postgres` are on for.
//! - `macros` (default): [`task`](macro@task), which declares a task by its function, and autodiscovery.
//! - `periodic` (default): schedules and tasks that come again and again, which brings the world's time zones.
//! - `cli`: the command line `votive`, which brings an argument parser.
//! - `consume`: the command `consume` for applications, with settings, signals and a log file. Unix only.
//! - `conformance`: the suite that every store passes, for those who write one.
//! - `testing`: the kit for the tests of applications.
//! - `failpoints`: lets crash tests kill the process at every durable step; not for production.
//! - `full`: all of these but `diesel`, `sqlx`, `seaorm` and `failpoints`.

pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "consume")]
pub mod consume;
pub mod consumer;
#[cfg(any(
    feature = "sqlite",
    feature = "file",
    feature = "redis",
    feature = "postgres"
))]
#[doc(hidden)]
pub mod failpoint;
pub mod handler;
pub mod id;
mod open;
pub mod queue;
pub mod register;
pub mod resource;
#[cfg(feature = "periodic")]
pub mod schedule;
pub mod store;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod txn;

pub use consumer::Consumer;
#[cfg(feature = "macros")]
pub use handler::registry;
pub use handler::{Context, Handler, Registry};
pub use open::{OpenError, SchemeError, Schemes, open};
#[cfg(feature = "periodic")]
pub use queue::{CatchUp, Periodic};
pub use queue::{Queue, Queues};
#[cfg(feature = "periodic")]
pub use schedule::Schedule;
pub use task::Task;
pub use txn::{Transaction, TransactionManager, Work};
#[cfg(all(feature = "macros", feature = "periodic"))]
pub use votive_macros::periodic;
#[cfg(feature = "macros")]
pub use votive_macros::task;

/// What the code that macros write needs of other crates. Not for use.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod expansion {
    pub use inventory;
    pub use serde;
}

/// The documents whose code is compiled and run with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/guide.md")]
    mod guide {}
    #[cfg(feature = "consume")]
    #[doc = include_str!("../docs/running.md")]
    mod running {}
    #[cfg(feature = "conformance")]
    #[doc = include_str!("../docs/writing-a-store.md")]
    mod writing_a_store {}
}
