//! Two-phase commit. After a vote has returned, a crash at any instruction leads to commit or abort
//! and never to half. Knows nothing of tasks or stores.
//!
//! ```text
//!  Transaction::commit         each participant                          everybody else
//!          │
//!     doomed? ─────────────────────────────────────────────▶ before-commit hooks
//!          │                                                 synchronizers, before completion
//!        sort ───────────────▶ role, sort_key                the last moment to join
//!          │
//!     prepare ───────────────▶ prepare   Work | HandedOver | Follows | Nothing: it leaves
//!          │                   accept    what was handed over to it
//!        plan                  who decides, who promises, which tier
//!          │
//!        vote ───────────────▶ vote(Prepare)   all but the commit point
//!          │                   vote(Decide)    the commit point, last
//!  ═══════ the decision ═══════════════════════════════════════════════════════════════════
//!          │
//!      finish ───────────────▶ finish    again, once, if it fails; then recovery makes it
//!          │
//!         end ─────────────────────────────────────────────▶ synchronizers, after completion
//!                                                            after-commit hooks
//! ```
//!
//! Above the line any failure leads to the clean-up: before-abort hooks, `abort` once on every
//! participant, synchronizers, after-commit hooks with [`Outcome::Refused`], after-abort hooks. Below
//! the line there is no failure: what was decided is finished, now or by recovery. On the line, the
//! commit point may not know whether it decided. Then nobody is told anything; the manager keeps the
//! participants, and [`settle_undecided`](TransactionManager::settle_undecided) ends them as the
//! register says.
//!
//! That is all in `protocol`, a pure state machine which hands out what to do and is told what came of
//! it. Its tests walk every history of up to four participants. `execution` does what it is handed, and
//! has no opinion on an outcome. Whatever is foreign — a participant, a hook, a synchronizer, a `Drop`
//! of any of them — is called without a lock and with its panics caught.
//!
//! | file | what it does |
//! | --- | --- |
//! | `protocol` | who is called when: pure |
//! | `plan` | who decides: pure |
//! | `execution` | does what the protocol says |
//! | `manager` | begins transactions, runs them again, keeps what is undecided |
//! | `transaction`, `work`, `savepoint` | what the application holds: the whole, the part that is lent, a point to go back to |
//! | `data_manager`, `synchronizer`, `hooks` | the contracts of those that are called |

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
