//! The stop: no task is started any more, what was only claimed is given back, what runs may end, and
//! what does not end in time is told to and given back. No attempt is counted for any of this.

use std::time::{Duration, Instant};

use super::core::Core;
use super::roll::Role;
use super::stats::Stats;
use super::timer::{instant, later, within};

/// How long the threads that only wait are given to notice the end.
const NOTICE: Duration = Duration::from_secs(1);

/// Fetchers are woken so often, since one may have been about to listen when it was woken.
const WAKE_INTERVAL: Duration = Duration::from_millis(10);

/// How a consumer stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// What it has done.
    pub stats: Stats,
    /// Handlers and commits that did not end; their threads are left behind, and their claims
    /// are reclaimed by others unless they still commit.
    pub left_running: usize,
    /// Settlements that the store did not accept in time: their claims are reclaimed by others.
    pub left_unsettled: usize,
}

impl Stopped {
    /// Whether everything that the consumer had claimed was settled.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left_running == 0 && self.left_unsettled == 0
    }
}

/// Stops the consumer, within the stop timeout and the grace.
pub(super) fn stop(core: &Core) -> Stopped {
    let polite = within(core.settings.stop_timeout);
    let last = later(polite, core.settings.timeout_grace + NOTICE);
    for claim in core.backlog.close() {
        core.release(claim);
    }
    core.store.interrupt();
    if !core.backlog.idle_by(polite) {
        core.watch.stop_all(core.settings.timeout_grace);
        core.backlog.idle_by(last);
    }
    dismiss_fetchers(core, last);
    core.settler.close(last);
    core.roll.gone_by(Role::Settler, later(last, NOTICE));
    core.watch.close();
    core.roll.stop();
    for role in [Role::Timetable, Role::Worker, Role::Watch, Role::Upkeep] {
        core.roll.gone_by(role, within(NOTICE));
    }
    report(core)
}

fn dismiss_fetchers(core: &Core, deadline: Instant) {
    while instant() < deadline {
        core.store.interrupt();
        if core.roll.gone_by(Role::Fetcher, within(WAKE_INTERVAL)) {
            return;
        }
    }
}

fn report(core: &Core) -> Stopped {
    let stopped = Stopped {
        stats: core.counters.snapshot(),
        left_running: core.watch.keys().len(),
        left_unsettled: core.settler.len(),
    };
    if stopped.is_clean() {
        tracing::info!(consumer = %core.id, stats = ?stopped.stats, "stopped");
    } else {
        tracing::warn!(consumer = %core.id, ?stopped, "stopped, but not everything is settled");
    }
    stopped
}
