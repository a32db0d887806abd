//! Upkeep: claims are kept alive where leases are timed, and what crashes left in doubt is settled.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::Core;
use super::timer::{instant, within};
use crate::id::Token;
use crate::queue;
use crate::store::Result;

/// Keeps claims alive and recovers, until the consumer has stopped.
pub(super) fn run(core: &Arc<Core>) {
    let interval = core.settings.lease / 3;
    let mut recover_at = instant();
    loop {
        if let Err(error) = extend(core) {
            core.store_failed("extend leases", &error);
        }
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

fn extend(core: &Core) -> Result<()> {
    let mut keys = core.backlog.keys();
    keys.extend(core.watch.keys());
    keys.extend(core.settler.keys());
    if keys.is_empty() {
        return Ok(());
    }
    let lost = core
        .store
        .extend(&keys, core.settings.lease, core.store.now()?)?;
    // By token: the same task may have been settled and claimed anew since the keys were listed.
    let lost_keys = keys.iter().filter(|key| lost.contains(&key.task));
    let lost_tokens: BTreeSet<Token> = lost_keys.map(|key| key.token).collect();
    core.backlog.remove(&lost_tokens);
    core.watch
        .stop_lost(&lost_tokens, core.settings.timeout_grace);
    Ok(())
}

fn recover(core: &Core) {
    let undecided = core.manager.settle_undecided();
    if undecided > 0 {
        tracing::warn!(
            undecided,
            "transactions of this process are still undecided"
        );
    }
    match queue::recover(&core.store, &core.manager) {
        Ok(recovered) => tracing::debug!(?recovered, "recovered"),
        Err(error) => core.store_failed("recover", &error),
    }
}
