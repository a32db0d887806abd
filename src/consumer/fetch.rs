//! The fetchers, one for each queue: claim what the lane has room for, and listen when the queue is
//! drained or paused. Room is refilled when a task ends, never on a timer.

use std::sync::Arc;
use std::time::Duration;

use super::backlog::LaneNumber;
use super::core::Core;
use super::liveness;
use super::rules::Rules;
use super::timer::Backoff;
use crate::id::ConsumerId;
use crate::queue::Queue;
use crate::store::{Arrival, Claim, ClaimRequest, Interest, Result, Want};

/// The longest wait for a paused queue until its settings are read again unasked: a change right before
/// the wait began wakes nobody.
const PAUSED_WAIT_MAX: Duration = Duration::from_secs(1);

/// Fetches for a lane until the backlog is closed.
pub(super) fn run(core: &Core, lane: LaneNumber, queue: Queue) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut rules = Rules::new(queue);
    while let Some(count) = core.backlog.room(lane) {
        match fetch(core, lane, &mut rules, count) {
            Ok(()) => backoff.reset(),
            Err(error) => {
                core.store_failed("claim tasks", &error);
                core.backlog.closes_within(backoff.next());
            }
        }
    }
}

/// Claims up to `count` tasks; if there were fewer, waits for more to come.
fn fetch(core: &Core, lane: LaneNumber, rules: &mut Rules, count: usize) -> Result<()> {
    if rules.present()?.paused.is_some() {
        return wait_for_resume(core, lane, rules);
    }
    let queue = rules.queue().name().to_owned();
    let ready = Interest::Ready(queue.clone());
    let claimed = claim(core, lane, Want { queue, count })?;
    if claimed < count {
        core.store.wait(&[ready], core.settings.poll_interval)?;
    }
    Ok(())
}

/// Gives back what was claimed ahead, and waits until the settings change.
fn wait_for_resume(core: &Core, lane: LaneNumber, rules: &mut Rules) -> Result<()> {
    for claim in core.backlog.take_waiting(lane) {
        core.release(claim);
    }
    let interval = core.settings.poll_interval.min(PAUSED_WAIT_MAX);
    core.store.wait(&[rules.interest()], interval)?;
    rules.outdate();
    Ok(())
}

/// Claims what a lane wants, keeps it, and returns how many tasks came.
fn claim(core: &Core, lane: LaneNumber, want: Want) -> Result<usize> {
    liveness::let_depart(core);
    let Some(presence) = core.attendance.present() else {
        return Ok(0);
    };
    let consumer = ConsumerId {
        incarnation: presence.incarnation(),
        name: core.id.name.clone(),
    };
    let request = ClaimRequest {
        consumer,
        wants: vec![want],
        lease: core.settings.lease,
    };
    let claimed = core.store.claim(&request, core.store.now()?);
    if claimed.as_ref().is_err_and(|error| !error.is_definite()) {
        let (store, lease) = (&*core.store, core.settings.lease);
        core.attendance.renew(&presence, store, lease)?;
    }
    let claims = claimed?;
    let count = claims.len();
    keep(core, lane, claims);
    Ok(count)
}

fn keep(core: &Core, lane: LaneNumber, claims: Vec<Claim>) {
    let taken_over = |claim: &&Claim| claim.arrival == Arrival::Reclaimed;
    let (all, reclaimed) = (claims.len(), claims.iter().filter(taken_over).count());
    core.counters.count(|stats| {
        stats.claimed += all as u64;
        stats.reclaimed += reclaimed as u64;
    });
    for claim in core
        .backlog
        .put(lane, claims.into_iter().map(Arc::new).collect())
    {
        core.release(claim);
    }
}
