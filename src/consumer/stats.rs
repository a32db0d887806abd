//! What a consumer has done since it started.

use parking_lot::Mutex;

/// What a consumer has done since it started. The counts of each task are in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks claimed.
    pub claimed: u64,
    /// Of these, tasks taken over from consumers that were proved dead.
    pub reclaimed: u64,
    /// Tasks settled as done.
    pub done: u64,
    /// Attempts settled as failed; the task is tried again, or dead if that was the last one.
    pub failed: u64,
    /// Tasks settled as dead without a run: they expired, or their consumers died too often.
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
    /// Claims that were another's when they were to be settled.
    pub lost: u64,
    /// Commits whose outcome could not be learnt.
    pub undecided: u64,
    /// Tasks enqueued for times of periodic entries.
    pub fired: u64,
    /// Calls to the store that failed and were made again.
    pub store_errors: u64,
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
