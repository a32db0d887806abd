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

/// How often it is asked whether the stop is to hurry.
const HURRY_INTERVAL: Duration = Duration::from_millis(50);

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

/// Begins the stop, and returns until when it waits for what runs.
pub(super) fn begin(core: &Core) -> Instant {
    let timeout = core.settings.stop_timeout;
    let polite = *core.closing.get_or_init(|| within(timeout));
    for claim in core.backlog.close() {
        core.release(claim);
    }
    core.store.interrupt();
    polite
}

/// Stops the consumer, within the stop timeout and the grace, and without either once it is hurried.
pub(super) fn stop(core: &Core, hurried: &dyn Fn() -> bool) -> Stopped {
    let polite = begin(core);
    let last = later(polite, core.settings.timeout_grace.saturating_add(NOTICE));
    if !idle(core, polite, hurried) {
        core.watch.stop_all(core.settings.timeout_grace);
        if !idle(core, last, hurried) {
            core.watch.stop_all(Duration::ZERO);
            core.backlog.idle_by(within(NOTICE));
        }
    }
    patiently(last, hurried, |until| {
        core.store.interrupt();
        core.roll
            .gone_by(Role::Fetcher, until.min(within(WAKE_INTERVAL)))
    });
    core.settler.close(last);
    if !patiently(last, hurried, |until| {
        core.roll.gone_by(Role::Settler, until)
    }) {
        core.settler.close(instant());
        core.roll.gone_by(Role::Settler, within(NOTICE));
    }
    core.watch.close();
    core.roll.stop();
    for role in [
        Role::Timetable,
        Role::Worker,
        Role::Watch,
        Role::Urger,
        Role::Upkeep,
    ] {
        core.roll.gone_by(role, within(NOTICE));
    }
    report(core)
}

/// Waits until nothing runs; returns whether that was so by the deadline, and before it was hurried.
fn idle(core: &Core, deadline: Instant, hurried: &dyn Fn() -> bool) -> bool {
    loop {
        if core.backlog.idle_by(deadline.min(within(HURRY_INTERVAL))) {
            return true;
        }
        if hurried() || instant() >= deadline {
            return false;
        }
    }
}

/// Waits until `is_over`, which waits for a moment itself; returns whether that was so by the deadline, or soon after
/// it was hurried.
fn patiently(
    mut deadline: Instant,
    hurried: &dyn Fn() -> bool,
    is_over: impl Fn(Instant) -> bool,
) -> bool {
    let mut is_hurried = false;
    loop {
        if !is_hurried && hurried() {
            is_hurried = true;
            deadline = deadline.min(within(NOTICE));
        }
        if is_over(deadline.min(within(HURRY_INTERVAL))) {
            return true;
        }
        if instant() >= deadline {
            return false;
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
