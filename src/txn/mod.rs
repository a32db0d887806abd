//! Two-phase commit. After a vote has returned, a crash at any instruction leads to commit or abort
//! and never to half. Knows nothing of tasks or stores.

mod cancellation;
mod data_manager;
mod error;
mod execution;
mod hooks;
mod manager;
mod notes;
mod plan;
mod protocol;
mod savepoint;
mod synchronizer;
mod transaction;
mod work;

pub use cancellation::Cancellation;
pub use data_manager::{
    Answer, BoxError, DataManager, Mark, NoSavepoints, PrepareInfo, Prepared, Role, Vote,
};
pub use error::{
    AbortError, BeginError, CommitError, FailedEarlier, IncarnationGone, JoinError, Panicked,
    PlanError, RefusedBy, Retryable, RunError, SavepointError, TooManyHooks,
};
pub use hooks::{HOOKS_MAX, Outcome};
pub use manager::TransactionManager;
pub use plan::{Committed, Plan};
pub use savepoint::Savepoint;
pub use synchronizer::{Synchronizer, SynchronizerId};
pub use transaction::Transaction;
pub use work::Work;
