//! Upkeep: claims are kept alive where leases are timed, and what crashes left in doubt is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Core;
use super::timer::{instant, within};
use crate::id::Token;
use crate::queue;
use crate::store::{ClaimKey, Result};

/// Keeps claims alive and recovers, until the consumer has stopped.
pub(super) fn run(core: &Arc<Core>) {
    let interval = core.settings.lease / 3;
    let mut recover_at = instant();
    loop {
        if let Err(error) = extend(core) {
            core.store_failed("extend leases", &error);
        }
        core.attendance.dismiss();
        if instant() >= recover_at {
            recover(core);
            recover_at = within(core.settings.recover_interval);
        }
        let until = recover_at.min(within(interval));
        if core.roll.stops_by(until) {
            return;
        }
    }
}

/// Prolongs the claims, and lets go of those that were lost.
fn extend(core: &Core) -> Result<()> {
    let keys = claims(core);
    if keys.is_empty() {
        return Ok(());
    }
    let lost = core
        .store
        .extend(&keys, core.settings.lease, core.store.now()?)?;
    // By token: the same task may have been settled and claimed anew since the claims were listed.
    let lost = keys.iter().filter(|key| lost.contains(&key.task));
    let lost: BTreeSet<Token> = lost.map(|key| key.token).collect();
    core.backlog.remove(&lost);
    core.watch.stop_lost(&lost, core.settings.timeout_grace);
    Ok(())
}

/// Returns the claims, one for a task. A claim goes from the backlog to the watch to the settler; one that changes
/// hands just now may be overlooked, which the next round makes up for. Of two for the same task the first is the
/// newer.
fn claims(core: &Core) -> Vec<ClaimKey> {
    let mut keys = BTreeMap::new();
    for part in [core.backlog.keys(), core.watch.keys(), core.settler.keys()] {
        for key in part {
            keys.entry(key.task).or_insert(key);
        }
    }
    keys.into_values().collect()
}

fn recover(core: &Core) {
    let undecided = core.manager.settle_undecided();
    if undecided > 0 {
        tracing::warn!(
            undecided,
            "transactions of this process are still undecided"
        );
    }
    let interval = core.settings.recover_interval;
    match queue::recover_in_turn(&core.store, &core.manager, interval) {
        Ok(recovered) => tracing::debug!(?recovered, "recovered, or left it to others"),
        Err(error) => core.store_failed("recover", &error),
    }
}
