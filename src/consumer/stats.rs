//! What a consumer has done since it started.

use std::time::Duration;

use parking_lot::Mutex;

/// What a consumer has done since it started. The counts of each task are in its record.
///
/// `executed` counts runs of handlers, `done`, `failed` and `buried` what was settled: a task that
/// conflicts twice and then succeeds is executed three times and done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks claimed.
    pub claimed: u64,
    /// Of these, tasks taken over from consumers that were proved dead.
    pub reclaimed: u64,
    /// Runs of handlers that ended, however they did.
    pub executed: u64,
    /// How long these took, all together.
    pub executed_time: Duration,
    /// How long the longest of these took.
    pub executed_time_max: Duration,
    /// Tasks settled as done.
    pub done: u64,
    /// Chunks of tasks that were done, the last one of each task left out.
    pub chunks: u64,
    /// Attempts settled as failed: those of `retried`, and those that were a task's last.
    pub failed: u64,
    /// Attempts settled as failed after which the task is tried again.
    pub retried: u64,
    /// Tasks settled as dead, for whatever reason.
    pub dead: u64,
    /// Of these, tasks that died without a run: they expired, or their consumers died too often.
    pub buried: u64,
    /// Tasks given back.
    pub released: u64,
    /// Tasks whose kind nobody handles; they are among those given back.
    pub unknown: u64,
    /// Runs that had to start over because of a conflict.
    pub conflicts: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Handlers that were told to stop because they took too long.
    pub timeouts: u64,
    /// Handlers that did not stop when told to; each left its thread behind.
    pub abandoned: u64,
    /// Workers started in place of those that were lost.
    pub replaced: u64,
    /// Claims that were another's when they were to be settled.
    pub lost: u64,
    /// Commits whose outcome could not be learnt.
    pub undecided: u64,
    /// Tasks enqueued for times of periodic entries.
    pub fired: u64,
    /// Calls to the store that failed and were made again.
    pub store_errors: u64,
}

impl Stats {
    /// Counts a run of a handler that took so long.
    pub(super) fn ran(&mut self, took: Duration) {
        self.executed += 1;
        self.executed_time = self.executed_time.saturating_add(took);
        self.executed_time_max = self.executed_time_max.max(took);
    }
}

/// Counts while the consumer runs.
#[derive(Default)]
pub(super) struct Counters(Mutex<Stats>);

impl Counters {
    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.0.lock());
    }

    pub(super) fn snapshot(&self) -> Stats {
        *self.0.lock()
    }
}
