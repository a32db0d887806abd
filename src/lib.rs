//! A transactional two-phase-commit task dispatcher: a task is visible if and only if its transaction
//! committed.

pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod consumer;
#[cfg(feature = "sqlite")]
#[doc(hidden)]
pub mod failpoint;
pub mod handler;
pub mod id;
mod open;
pub mod queue;
pub mod register;
pub mod resource;
pub mod store;
pub mod task;
pub mod time;
pub mod txn;

pub use consumer::Consumer;
pub use handler::{Context, Handler, Registry};
pub use open::{OpenError, SchemeError, Schemes, open};
pub use queue::Queue;
pub use task::Task;
pub use txn::{Transaction, TransactionManager, Work};
