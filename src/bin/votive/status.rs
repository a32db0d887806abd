//! Queues as operators see them: what was said of each, and what is in it.

use std::collections::BTreeMap;

use votive::queue::{Settings, Status, all_settings};
use votive::store::{self, QueueStats, Store};

/// A queue that holds tasks, or of which something was said.
pub(crate) struct QueueState {
    /// What is in it.
    pub(crate) counts: QueueStats,
    /// What was said of it.
    pub(crate) settings: Settings,
}

impl QueueState {
    /// Returns what the queue is good for.
    pub(crate) fn status(&self) -> Status {
        self.settings.status(&self.counts)
    }
}

/// Returns every queue, in the order of their names.
pub(crate) fn of_all_queues(store: &dyn Store) -> store::Result<Vec<QueueState>> {
    with(store, store.stats()?.queues)
}

/// Adds what was said of queues to their numbers, and the queues that are empty.
pub(crate) fn with(store: &dyn Store, counts: Vec<QueueStats>) -> store::Result<Vec<QueueState>> {
    let mut said: BTreeMap<String, Settings> = all_settings(store)?.into_iter().collect();
    let counted = counts.into_iter().map(|counts| QueueState {
        settings: said.remove(&counts.queue).unwrap_or_default(),
        counts,
    });
    let mut queues: Vec<QueueState> = counted.collect();
    queues.extend(said.into_iter().map(|(queue, settings)| QueueState {
        counts: QueueStats {
            queue,
            ..QueueStats::default()
        },
        settings,
    }));
    queues.sort_by(|one, other| one.counts.queue.cmp(&other.counts.queue));
    Ok(queues)
}
