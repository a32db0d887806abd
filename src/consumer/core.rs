//! What the threads of one consumer share.

use std::error::Error as StdError;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use super::attendance::{Attendance, Held};
use super::backlog::Backlog;
use super::builder::Settings;
use super::hooks::{Hooks, caught};
use super::roll::{Role, Roll};
use super::settle::Settler;
use super::stats::Counters;
#[cfg(feature = "periodic")]
use super::timetable;
use super::verdict::{End, chain};
use super::watch::Watch;
use super::{execute, fetch, liveness, settle, watch};
use crate::handler::Registry;
use crate::id::{ConsumerId, TaskId};
#[cfg(feature = "periodic")]
use crate::queue::Entry;
use crate::queue::Queue;
use crate::store::Store;
use crate::task::Record;
use crate::txn::TransactionManager;

/// What the threads of one consumer share.
pub(super) struct Core {
    /// Who it is to people, by its first incarnation.
    pub(super) id: ConsumerId,
    pub(super) attendance: Attendance,
    pub(super) store: Arc<dyn Store>,
    pub(super) manager: TransactionManager,
    pub(super) registry: Arc<Registry>,
    pub(super) settings: Settings,
    /// By lane.
    pub(super) queues: Vec<Queue>,
    pub(super) backlog: Backlog,
    pub(super) watch: Watch,
    pub(super) settler: Settler,
    pub(super) counters: Counters,
    pub(super) roll: Roll,
    pub(super) hooks: Hooks,
    /// Until when a stop that has begun waits for what runs.
    pub(super) closing: OnceLock<Instant>,
    #[cfg(feature = "periodic")]
    pub(super) timetable: Vec<Entry>,
}

impl Core {
    /// Starts all threads.
    ///
    /// # Errors
    /// The operating system gave no thread; those that started run on.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        self.spawn(Role::Settler, |core| settle::run(core))?;
        self.spawn(Role::Watch, watch::run)?;
        self.spawn(Role::Urger, |core| watch::urge(core))?;
        self.spawn(Role::Upkeep, liveness::run)?;
        #[cfg(feature = "periodic")]
        if !self.timetable.is_empty() {
            self.spawn(Role::Timetable, |core| timetable::run(core))?;
        }
        for _ in 0..self.settings.threads {
            self.hire_one()?;
        }
        for (lane, queue) in self.queues.iter().enumerate() {
            let queue = queue.clone();
            self.spawn(Role::Fetcher, move |core| fetch::run(core, lane, queue))?;
        }
        Ok(())
    }

    /// Replaces workers that are missing.
    pub(super) fn hire(self: &Arc<Self>) {
        while !self.backlog.is_closed() && self.roll.count(Role::Worker) < self.settings.threads {
            if let Err(error) = self.hire_one() {
                tracing::error!(consumer = %self.id, %error, "no thread for a worker");
                return;
            }
            tracing::warn!(consumer = %self.id, "a worker was lost; another takes its place");
            self.counters.count(|stats| stats.replaced += 1);
        }
    }

    /// Whether each role has the threads that it needs.
    pub(super) fn is_alive(&self) -> bool {
        let once = [Role::Settler, Role::Watch, Role::Urger, Role::Upkeep];
        let once = once.into_iter().chain(self.timetable_role());
        let fetchers = self.roll.count(Role::Fetcher) == self.queues.len();
        let workers = self.roll.count(Role::Worker) > 0;
        fetchers && workers && once.into_iter().all(|role| self.roll.count(role) > 0)
    }

    /// The role of the thread that keeps the timetable, if there is one to keep.
    #[cfg(feature = "periodic")]
    fn timetable_role(&self) -> Option<Role> {
        (!self.timetable.is_empty()).then_some(Role::Timetable)
    }

    #[cfg(not(feature = "periodic"))]
    #[expect(clippy::unused_self, reason = "there is no timetable")]
    fn timetable_role(&self) -> Option<Role> {
        None
    }

    fn hire_one(self: &Arc<Self>) -> io::Result<()> {
        self.launch(Role::Worker, execute::run)
    }

    fn spawn(
        self: &Arc<Self>,
        role: Role,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<()> {
        self.launch(role, |core| {
            body(core);
            true
        })
    }

    /// Runs `body` in a thread of its own, which is on the roll until it ends. `body` returns whether
    /// it still is.
    fn launch(
        self: &Arc<Self>,
        role: Role,
        body: impl FnOnce(&Arc<Self>) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let core = Arc::clone(self);
        let name = format!("{}-{}", self.id.name, role.name());
        self.roll.enter(role);
        let started = thread::Builder::new().name(name).spawn(move || {
            let entry = core.roll.entry(role);
            if !body(&core) {
                entry.void();
            }
        });
        if started.is_err() {
            self.roll.leave(role);
        }
        started.map(drop)
    }

    /// Has a claim settled.
    pub(super) fn settle(&self, claim: Held, mut end: End, conflicts: u32) {
        if let End::Failed(mishap) = &mut end {
            let size = || self.registry.chunk_size(&claim.record.kind);
            mishap.chunk_size = catch_unwind(AssertUnwindSafe(size)).unwrap_or_else(|panic| {
                let (task, panic) = (claim.record.id, caught(panic));
                tracing::error!(%task, panic, "a handler could not say how large its chunks are");
                None
            });
        }
        self.settler.submit(claim, end, conflicts);
    }

    /// Has a claim given back that was not run.
    pub(super) fn release(&self, claim: Held) {
        let conflicts = claim.record.counts.conflicts;
        self.settle(claim, End::Released(None), conflicts);
    }

    /// Has a claim given back whose commit may have settled it: once it is known what came of that,
    /// the store either accepts this, or says that the claim has ended.
    pub(super) fn settle_in_doubt(&self, claim: Held, conflicts: u32) {
        self.counters.count(|stats| stats.undecided += 1);
        self.settler.submit_later(claim, conflicts);
    }

    /// Says that nobody handles a task, which is given back for others.
    pub(super) fn unknown(&self, record: &Record) -> End {
        let (task, kind) = (record.id, &*record.kind);
        tracing::warn!(consumer = %self.id, %task, kind, "nobody handles this kind of task");
        self.counters.count(|stats| stats.unknown += 1);
        End::Released(Some(self.settings.unknown_delay))
    }

    /// Says that a claim was another's when it was to be settled.
    pub(super) fn lost(&self, task: TaskId) {
        tracing::warn!(consumer = %self.id, %task, "the claim was lost, or had ended");
        self.counters.count(|stats| stats.lost += 1);
    }

    /// Says that a call to the store failed and will be made again.
    pub(super) fn store_failed(&self, what: &str, error: &(dyn StdError + 'static)) {
        let error = chain(error);
        tracing::warn!(consumer = %self.id, ?error, "could not {what}; will try again");
        self.counters.count(|stats| stats.store_errors += 1);
    }
}
