//! The fetchers, one for each queue: claim what the lane has room for, and listen when the queue is
//! drained or paused. Room is refilled when a task ends, never on a timer.

use std::time::Duration;

use super::attendance::Held;
use super::backlog::LaneNumber;
use super::core::Core;
use super::hooks::Event;
use super::rules::Rules;
use super::timer::Backoff;
use crate::id::ConsumerId;
use crate::queue::{Allowed, Queue};
use crate::store::{Arrival, ClaimRequest, Interest, Result, Want};

/// The longest wait for a change of settings by which a queue is held up. Then they are read again: a change that came
/// right before the wait began has woken nobody.
const WAIT_MAX: Duration = Duration::from_secs(1);

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
    let count = match allowed(rules, count)? {
        Allowed::Now(count) => count as usize,
        Allowed::In(delay) => return wait_for_change(core, rules, delay),
    };
    let queue = rules.queue().name().to_owned();
    let ready = Interest::Ready(queue.clone());
    let claims = claim(core, Want { queue, count })?;
    let claimed = claims.len();
    keep(core, lane, take_starts(core, rules, claims)?);
    if claimed < count {
        rules.refresh()?;
        core.store.wait(&[ready], core.settings.poll_interval)?;
    }
    Ok(())
}

/// Gives back what was claimed ahead, and waits until the settings change.
fn wait_for_resume(core: &Core, lane: LaneNumber, rules: &mut Rules) -> Result<()> {
    for claim in core.backlog.take_waiting(lane) {
        core.release(claim);
    }
    wait_for_change(core, rules, core.settings.poll_interval)
}

/// Waits until the settings change, or for a while.
fn wait_for_change(core: &Core, rules: &mut Rules, delay: Duration) -> Result<()> {
    core.store.wait(&[rules.interest()], delay.min(WAIT_MAX))?;
    rules.outdate();
    Ok(())
}

/// Says how many of `count` tasks may start as far as the queue's rate goes.
pub(super) fn allowed(rules: &mut Rules, count: usize) -> Result<Allowed> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let Some(rate) = rules.present()?.rate else {
        return Ok(Allowed::Now(count));
    };
    Ok(match rules.queue().starts_allowed(&rate)? {
        Allowed::Now(allowed) => Allowed::Now(allowed.min(count)),
        wait @ Allowed::In(_) => wait,
    })
}

/// Takes a start for each task where they are limited, and gives back the tasks for which there is none,
/// because other consumers were faster.
pub(super) fn take_starts(
    core: &Core,
    rules: &mut Rules,
    mut claims: Vec<Held>,
) -> Result<Vec<Held>> {
    let (Some(rate), false) = (rules.last().rate, claims.is_empty()) else {
        return Ok(claims);
    };
    let wanted = u32::try_from(claims.len()).unwrap_or(u32::MAX);
    let taken = rules.queue().take_starts(&core.manager, &rate, wanted);
    let started = taken.as_ref().map_or(0, |taken| *taken as usize);
    let surplus = claims.split_off(started.min(claims.len()));
    for claim in surplus {
        core.release(claim);
    }
    taken.map(|_| claims)
}

/// Claims what is wanted.
pub(super) fn claim(core: &Core, want: Want) -> Result<Vec<Held>> {
    core.attendance.dismiss();
    let (store, lease) = (&*core.store, core.settings.lease);
    let Some(tenure) = core.attendance.present(store, lease)? else {
        return Ok(Vec::new());
    };
    let consumer = ConsumerId {
        incarnation: tenure.incarnation(),
        name: core.id.name.clone(),
    };
    let request = ClaimRequest {
        consumer,
        wants: vec![want],
        lease,
    };
    let claimed = store.claim(&request, store.now()?);
    if claimed.as_ref().is_err_and(|error| !error.is_definite()) {
        core.attendance.note_lost(tenure.incarnation());
    }
    let claims = claimed?.into_iter();
    let claims: Vec<_> = claims.map(|claim| Held::new(claim, &tenure)).collect();
    let taken_over = |claim: &&Held| claim.arrival == Arrival::Reclaimed;
    let (all, reclaimed) = (claims.len(), claims.iter().filter(taken_over).count());
    core.counters.count(|stats| {
        stats.claimed += all as u64;
        stats.reclaimed += reclaimed as u64;
    });
    for claim in claims.iter().filter(taken_over) {
        let record = &claim.record;
        core.hooks.tell(&Event::Reclaimed { record });
    }
    Ok(claims)
}

fn keep(core: &Core, lane: LaneNumber, claims: Vec<Held>) {
    for claim in core.backlog.put(lane, claims) {
        core.release(claim);
    }
}
