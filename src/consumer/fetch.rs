//! The fetchers, one for each queue: claim what the lane has room for, and listen when the queue is
//! drained. Room is refilled when a task ends, never on a timer.

use std::sync::Arc;
use std::time::Duration;

use super::backlog::LaneNumber;
use super::core::Core;
use super::hooks::Event;
use super::liveness;
use super::timer::Backoff;
use crate::id::ConsumerId;
use crate::store::{Arrival, Claim, ClaimRequest, Interest, Result, Want};

/// Fetches for a lane until the backlog is closed.
pub(super) fn run(core: &Core, lane: LaneNumber, queue: &str) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while let Some(count) = core.backlog.room(lane) {
        match fetch(core, lane, queue, count) {
            Ok(()) => backoff.reset(),
            Err(error) => {
                core.store_failed("claim tasks", &error);
                core.backlog.closes_within(backoff.next());
            }
        }
    }
}

/// Claims up to `count` tasks; if there were fewer, waits for more to come.
fn fetch(core: &Core, lane: LaneNumber, queue: &str, count: usize) -> Result<()> {
    let want = Want {
        queue: queue.to_owned(),
        count,
    };
    let claims = claim(core, want)?;
    let claimed = claims.len();
    keep(core, lane, claims);
    if claimed < count {
        let ready = Interest::Ready(queue.to_owned());
        core.store.wait(&[ready], core.settings.poll_interval)?;
    }
    Ok(())
}

/// Claims what is wanted.
pub(super) fn claim(core: &Core, want: Want) -> Result<Vec<Claim>> {
    liveness::let_depart(core);
    let Some(presence) = core.attendance.present() else {
        return Ok(Vec::new());
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
    let taken_over = |claim: &&Claim| claim.arrival == Arrival::Reclaimed;
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

fn keep(core: &Core, lane: LaneNumber, claims: Vec<Claim>) {
    for claim in core
        .backlog
        .put(lane, claims.into_iter().map(Arc::new).collect())
    {
        core.release(claim);
    }
}
