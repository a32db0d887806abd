//! The timetable of a store, for people: what its marks say.

use std::sync::Arc;

use super::PERIODIC_PREFIX;
use super::cursor::{self, Cursor};
use crate::queue::apply;
use crate::queue::mark::Found;
use crate::schedule::Schedule;
use crate::store::{self, Batch, Store};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// What a store knows of a periodic entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeriodicInfo {
    /// The name.
    pub name: String,
    /// The text form of the schedule, with its time zone.
    pub schedule: String,
    /// The kind of the tasks.
    pub kind: String,
    /// The queue that they go to.
    pub queue: String,
    /// What becomes of times that nobody saw, as [`CatchUp`](super::CatchUp) writes it.
    pub catch_up: String,
    /// Up to when the times of the schedule have been dealt with.
    pub dealt_until: Timestamp,
    /// The last time that a task was enqueued for.
    pub fired_for: Option<Timestamp>,
    /// The incarnation that dealt with the entry last.
    pub written_by: String,
}

impl PeriodicInfo {
    /// Reads the schedule; `None` if this program does not know how, or does not know the time zone.
    #[must_use]
    pub fn parsed(&self) -> Option<Schedule> {
        self.schedule.parse().ok()
    }

    /// Returns the first time that has not been dealt with. If it is past, no consumer has the entry.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.parsed()?.next_after(self.dealt_until)
    }
}

/// Lists the periodic entries of a store in the order of their names, those too that no consumer has any more.
///
/// # Errors
/// Nothing changed.
pub fn periodic(store: &dyn Store) -> store::Result<Vec<PeriodicInfo>> {
    let marks = store.marks(PERIODIC_PREFIX)?.into_iter();
    let read = |(key, value): (String, Vec<u8>)| info(&key, cursor::read(&value)?);
    Ok(marks.filter_map(read).collect())
}

fn info(key: &str, cursor: Cursor) -> Option<PeriodicInfo> {
    Some(PeriodicInfo {
        name: key.strip_prefix(PERIODIC_PREFIX)?.to_owned(),
        schedule: cursor.schedule,
        kind: cursor.kind,
        queue: cursor.queue,
        catch_up: cursor.catch_up,
        dealt_until: cursor.dealt_until,
        fired_for: cursor.fired_for,
        written_by: cursor.written_by,
    })
}

/// Forgets a periodic entry; its tasks stay. A consumer that still has the entry begins it anew, without making
/// up for anything. Returns whether there was one.
///
/// # Errors
/// Nothing changed; or, after [`Kind::Unknown`](store::Kind::Unknown), perhaps the entry is gone.
pub fn remove_periodic(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    name: &str,
) -> store::Result<bool> {
    let found = Found::read(&**store, format!("{PERIODIC_PREFIX}{name}"))?;
    if found.value().is_none() {
        return Ok(false);
    }
    apply(store, manager, &Batch::new(vec![found.removed()])).map(|_| true)
}
