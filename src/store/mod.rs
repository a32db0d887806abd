//! Where tasks live: the contract of every store.
//!
//! A store does what it is told, all of it or nothing, and never decides whether a transaction
//! committed.
//!
//! | role | who calls it | what for |
//! | --- | --- | --- |
//! | [`Stage`] | the data manager of a transaction, and recovery | two-phase commit of a batch |
//! | [`Register`] | the commit point, recovery, garbage collection | who committed |
//! | [`Dispatch`] | consumers | claims, leases, wake-ups, liveness |
//! | [`Inspect`] | operators, tests | looking, without getting in the way |
//!
//! # Order of calls
//! 1. A producer: [`Stage::stage`], then, after the decision, [`Stage::publish`] or
//!    [`Stage::discard`]; or, alone, [`Stage::apply`].
//! 2. A consumer: [`Dispatch::attend`], then [`Dispatch::claim`] as often as it likes; each claim ends
//!    with a [`Change::Settle`] in a batch.
//! 3. Recovery: [`Stage::in_doubt`], then the register, then publish or discard.
//!
//! # For implementors
//! - `now` is given by the caller, who got it from [`Inspect::now`]; never read another clock.
//! - Every method may be called by many threads at once.
//! - An error that is not [`Kind::Unknown`] promises that nothing changed.

mod capabilities;
mod change;
mod error;
mod ext;
#[cfg(any(
    feature = "sqlite",
    feature = "file",
    feature = "redis",
    feature = "postgres"
))]
mod fault;
mod ledger;
mod life;
pub mod lifecycle;
#[cfg(any(feature = "sqlite", feature = "file"))]
pub(crate) mod line;
#[cfg(any(feature = "sqlite", feature = "file", feature = "postgres"))]
pub(crate) mod notify;
#[cfg(any(feature = "sqlite", feature = "file"))]
pub(crate) mod presence;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod rules;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) mod spent;
mod types;
pub mod url;

#[cfg(feature = "file")]
pub mod file;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub mod render;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::collections::BTreeSet;
use std::time::Duration;

pub use capabilities::Capabilities;
pub use change::{Amendment, Batch, Change, Settlement, Verdict};
pub use error::{Error, Kind};
pub use ext::StoreExt;
pub use types::{
    Applied, Arrival, Claim, ClaimKey, ClaimRequest, Cursor, Filter, InDoubt, Interest, Listed,
    Page, Presence, Published, QueueStats, Stats, Want,
};

use crate::id::{Incarnation, ResourceId, StoreId, TaskId, TxnId};
use crate::register::Register;
use crate::task::Record;
use crate::time::Timestamp;
use render::Rendered;

/// A store: all four roles.
pub trait Store: Stage + Register + Dispatch + Inspect {
    /// Lends the store as its own type, for those who know which one it is.
    fn as_any(&self) -> &dyn std::any::Any;

    /// Renders a batch as statements for a transaction of the store's own database, on whatever connection:
    /// new tasks, and the room in a queue. [`render`] says what is to be done with them.
    ///
    /// An empty batch is rendered too: as the question whether the connection is to the store's database.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if the store does not do this, or the batch has anything else, or a task that
    /// comes from another store with a history. [`Kind::Invalid`] names what is wrong with a task.
    fn render(&self, _batch: &Batch, _now: Timestamp) -> Result<Rendered> {
        let backend = self.capabilities().backend;
        Err(Error::new(Kind::Unsupported, backend, "render a batch"))
    }
}

/// Result of a store's methods.
pub type Result<T> = std::result::Result<T, Error>;

/// Two-phase commit of a batch. Called by a transaction's data manager and by recovery.
pub trait Stage: Send + Sync {
    /// Keeps a batch, invisible, for a transaction whose outcome will be in `register`.
    ///
    /// All that may refuse the batch is judged here: tokens of settlements (which pins their claims),
    /// unique keys (which reserves them), expected states, marks. Afterwards only a disaster can keep
    /// [`publish`](Self::publish) from succeeding. Sent once per transaction.
    ///
    /// # Errors
    /// Any error is a *no* to the caller. A known id with the same batch is `Ok`; with another,
    /// [`Kind::StagedOtherwise`]; a decided one, [`Kind::Decided`].
    ///
    /// # Durability
    /// The batch is on disk when this returns `Ok`.
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()>;

    /// Makes a staged batch visible, at once and whole. Idempotent.
    ///
    /// # Errors
    /// The batch is as it was; call again.
    ///
    /// # Durability
    /// Need not be on disk when this returns: the decision is, and
    /// [`forgettable`](Self::forgettable) flushes before the decision is forgotten.
    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published>;

    /// Forgets a staged batch, unpins its claims and frees its keys. Idempotent; an unknown id is
    /// success.
    ///
    /// # Errors
    /// The batch is as it was; call again.
    fn discard(&self, txn: TxnId) -> Result<()>;

    /// Stages, decides and publishes in one durable step, for a transaction whose only commit point is
    /// this store. Writes the outcome record `Committed` in the same step, listing `prepared`: the
    /// other stores that hold a part of the transaction. Sent once per transaction.
    ///
    /// The record goes with a later write of this process if `prepared` is empty, since then nobody
    /// but the owner ever asks for it.
    ///
    /// # Errors
    /// As [`stage`](Self::stage), and [`Kind::IncarnationGone`]. After [`Kind::Unknown`] ask
    /// [`Register::decide`].
    ///
    /// # Durability
    /// All of it is on disk when this returns `Ok`.
    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied>;

    /// Flushes earlier publishes and discards once, then returns those of `txns` that no crash can
    /// bring back to staged.
    ///
    /// # Errors
    /// Nothing may be forgotten.
    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>>;

    /// Lists staged transactions in the order of their ids, at most `limit`, after `after`.
    ///
    /// # Errors
    /// Nothing changed.
    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>>;
}

/// Claims and wake-ups. Called by consumers.
pub trait Dispatch: Send + Sync {
    /// Leases tasks: never one task to two, in order of rank, then of the store's sequence.
    ///
    /// rank = max(published, not before) + ageing × priority, where the ageing is the task's own
    /// ([`Options::ageing`](crate::task::Options::ageing)) or else 300 s. Tasks whose time has come, whose holder is
    /// proved dead or that expired come too, flagged by [`Claim::arrival`].
    ///
    /// A task that cannot be read does not keep others from being claimed: it is claimed, logged, and left out.
    ///
    /// # Errors
    /// Nothing was claimed. After [`Kind::Unknown`] there may be claims of which nobody knows; they come
    /// back when their holder departs, so a consumer goes on under another incarnation.
    ///
    /// # Durability
    /// Need not be on disk: a lost claim is a claim that never was.
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>>;

    /// Prolongs leases, and returns the claims that were lost meanwhile. Where a claim has no expiry
    /// of its own it only looks.
    ///
    /// # Errors
    /// Nothing was prolonged; the leases run on.
    fn extend(&self, claims: &[ClaimKey], lease: Duration, now: Timestamp) -> Result<Vec<TaskId>>;

    /// Waits until one of `interests` may be served, for at most `timeout`. Returns the first that
    /// may; a false alarm is allowed, a missed one is not.
    ///
    /// # Blocking
    /// Up to `timeout`, or until [`interrupt`](Self::interrupt).
    ///
    /// # Errors
    /// Nothing changed; waiting again is harmless.
    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>>;

    /// Wakes all that wait in this process.
    fn interrupt(&self);

    /// Starts the proof of life of an incarnation. Its claims are not reclaimed while it is held.
    ///
    /// # Errors
    /// The incarnation is not attended and must not claim.
    fn attend(&self, incarnation: Incarnation, lease: Duration) -> Result<Presence>;

    /// Returns the holders of claims that are proved dead.
    ///
    /// # Errors
    /// Nothing changed.
    fn departed(&self, now: Timestamp) -> Result<BTreeSet<Incarnation>>;
}

/// Looking at a store. Read only; never blocks a claim.
pub trait Inspect: Send + Sync {
    /// Returns the store's identity.
    fn id(&self) -> StoreId;

    /// Returns what the store can promise.
    fn capabilities(&self) -> &Capabilities;

    /// Returns the store's one clock: never backwards.
    ///
    /// # Errors
    /// The store's server could not be asked.
    fn now(&self) -> Result<Timestamp>;

    /// Finds a visible task, following the alias of a merged one.
    ///
    /// # Errors
    /// Nothing changed; [`Kind::Corrupt`] names what cannot be read.
    fn get(&self, task: TaskId) -> Result<Option<Listed>>;

    /// Lists visible tasks in the order of their enqueueing, at most `limit`, from `cursor`; of those that came in
    /// one batch, some stores list first what goes first. A page may be short, or empty, although there is a next one.
    ///
    /// # Errors
    /// Nothing changed.
    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page>;

    /// Counts.
    ///
    /// # Errors
    /// Nothing changed.
    fn stats(&self) -> Result<Stats>;

    /// Reads a mark.
    ///
    /// # Errors
    /// Nothing changed.
    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Lists the marks whose key starts with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// Nothing changed.
    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;

    /// Looks at everything and returns what is wrong, a line each; empty is healthy.
    ///
    /// # Errors
    /// The store could not be read at all.
    fn check(&self) -> Result<Vec<String>>;
}

/// Computes the claim order of a task that is published, or becomes due, at `at`.
#[must_use]
pub fn rank(record: &Record, at: Timestamp) -> i64 {
    life::Life::of(record).rank(&record.options, at)
}
