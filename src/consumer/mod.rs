//! Running tasks: threads that claim, execute, settle and keep alive. A claim that was taken ends in
//! exactly one way: with the commit of its task's transaction, with a settlement of its own, or, if
//! this process dies, with the proof of that.
//!
//! | thread | what it does |
//! | --- | --- |
//! | a fetcher for each queue | claims what there is room for, and listens when the queue is empty |
//! | workers | run each task in a transaction of its own, which the task's completion joins |
//! | the settler | makes the settlements that have no other part, many at a time |
//! | the watch | tells what takes too long to stop, and replaces workers that do not come back |
//! | the urger | interrupts what was told to stop, which may itself have to wait |
//! | the timetable, if there is one | turns the times of periodic entries into tasks |
//! | upkeep | prolongs leases, and settles what crashes left in doubt |
//!
//! In immediate mode there is none of them: the thread that commits claims, runs and settles.

mod attendance;
mod backlog;
mod banner;
mod builder;
mod core;
mod execute;
mod fetch;
mod hooks;
mod immediate;
mod liveness;
mod name;
mod report;
mod roll;
mod rules;
mod settle;
mod shutdown;
mod stats;
mod timer;
#[cfg(feature = "periodic")]
mod timetable;
mod verdict;
mod watch;

use std::fmt;
use std::io;
#[cfg(feature = "consume")]
use std::panic::resume_unwind;
use std::sync::Arc;

pub use banner::Banner;
pub use builder::{Builder, StartError};
pub use hooks::Event;
pub use immediate::{Failed, Immediate};
pub use shutdown::Stopped;
pub use stats::Stats;

use self::core::Core;
use self::name::Name;
use crate::handler::Registry;
use crate::id::ConsumerId;
use crate::store::Store;

/// Claims tasks and runs them, each in a transaction of its own that its completion is part of.
#[doc(alias = "worker")]
#[derive(Debug)]
pub enum Consumer {}

impl Consumer {
    /// Begins to set up a consumer of the tasks in `store`, run by the handlers in `registry`, which
    /// several consumers may share.
    pub fn builder(store: Arc<dyn Store>, registry: impl Into<Arc<Registry>>) -> Builder {
        Builder::new(store, registry.into())
    }
}

/// A consumer at work. Dropping it stops it.
#[must_use = "dropping it stops the consumer"]
pub struct Running {
    core: Arc<Core>,
    banner: Banner,
    /// Ends after everything is settled. `None` once it is stopped.
    name: Option<Name>,
}

impl Running {
    fn start(core: Arc<Core>, name: Name, banner: Banner) -> io::Result<Self> {
        let running = Self {
            core,
            banner,
            name: Some(name),
        };
        running.core.start()?;
        let consumer = running.id();
        running.core.hooks.tell(&Event::Started { consumer });
        Ok(running)
    }

    /// Returns who the consumer is.
    #[must_use]
    pub fn id(&self) -> &ConsumerId {
        &self.core.id
    }

    /// Returns what the consumer said of itself when it started.
    #[must_use]
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Whether every part of the consumer still has its threads: workers, fetchers, and those that
    /// settle, watch and keep alive. Lost workers are replaced within a second or so.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.core.is_alive()
    }

    /// Returns what the consumer has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.counters.snapshot()
    }

    /// Begins to stop: no task is started any more, and what was only claimed is given back. The stop
    /// timeout starts to count. Returns at once; [`stop`](Self::stop) waits for the rest, so that
    /// several consumers of a process stop together.
    pub fn begin_stop(&self) {
        shutdown::begin(&self.core);
    }

    /// Stops the consumer: gives back what it has only claimed, and waits for what runs.
    ///
    /// # Blocking
    /// For at most the stop timeout, and if that passes the grace and a few seconds more.
    #[expect(
        clippy::must_use_candidate,
        reason = "most callers have nothing left to do about it"
    )]
    pub fn stop(mut self) -> Stopped {
        self.end(&|| false)
    }

    /// Stops the consumer as [`stop`](Self::stop) does until `hurried` says so; from then on nobody is
    /// waited for: what runs is told to stop and given back at once, and its threads are left behind.
    ///
    /// `hurried` is asked several times a second, and once it has said yes it must not say no again.
    ///
    /// # Blocking
    /// As [`stop`](Self::stop), but for a few seconds at most once it is hurried.
    pub fn stop_hurried_by(mut self, hurried: impl Fn() -> bool) -> Stopped {
        self.end(&hurried)
    }

    /// Stops several consumers, each by its own deadlines; one that takes long keeps no other waiting.
    #[cfg(feature = "consume")]
    pub(crate) fn stop_together(
        all: Vec<Self>,
        hurried: &(impl Fn() -> bool + Sync),
    ) -> Vec<Stopped> {
        all.iter().for_each(Self::begin_stop);
        std::thread::scope(|threads| {
            let stops = all
                .into_iter()
                .map(|running| threads.spawn(move || running.stop_hurried_by(hurried)));
            let stops: Vec<_> = stops.collect();
            let stopped = stops.into_iter().map(std::thread::ScopedJoinHandle::join);
            stopped
                .map(|stopped| stopped.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    fn end(&mut self, hurried: &dyn Fn() -> bool) -> Stopped {
        let stopped = shutdown::stop(&self.core, hurried);
        self.core.attendance.leave();
        self.name = None;
        self.core.hooks.tell(&Event::Stopped {
            consumer: &self.core.id,
            stopped: &stopped,
        });
        stopped
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.name.is_some() {
            self.end(&|| false);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("id", self.id())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
