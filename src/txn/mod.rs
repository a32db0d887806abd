//! Two-phase commit. After a vote has returned, a crash at any instruction leads to commit or abort
//! and never to half. Knows nothing of tasks or stores.

mod cancellation;
mod data_manager;
mod error;
mod hooks;
mod plan;
mod work;

pub use cancellation::Cancellation;
pub use data_manager::{
    Answer, BoxError, DataManager, Mark, NoSavepoints, PrepareInfo, Prepared, Role, Vote,
};
pub use error::{
    AbortError, BeginError, CommitError, IncarnationGone, JoinError, PlanError, RefusedBy,
    Retryable, RunError, SavepointError,
};
pub use hooks::Outcome;
pub use plan::{Committed, Plan};
pub use work::{Savepoint, Transaction, TransactionManager, Work};
