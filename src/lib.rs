//! A transactional two-phase-commit task dispatcher: a task is visible if and only if its transaction
//! committed.

pub mod codec;
pub mod handler;
pub mod id;
pub mod queue;
pub mod register;
pub mod store;
pub mod task;
pub mod time;
pub mod txn;

pub use task::Task;
