//! What the mark of an entry says, as JSON: where the fleet is in its schedule, and what it is, for people.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What the mark of an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The schedule in its text form, with the time zone.
    pub(super) schedule: String,
    /// The kind of the tasks; for people, as are the next two.
    pub(super) kind: String,
    pub(super) queue: String,
    pub(super) catch_up: String,
    /// The times up to this instant have been dealt with.
    pub(super) dealt_until: Timestamp,
    /// The last time that a task was enqueued for.
    pub(super) fired_for: Option<Timestamp>,
    /// The incarnation that wrote this last; for people.
    pub(super) written_by: String,
}

/// Reads a mark; one that is damaged holds nobody up.
pub(super) fn read(mark: &[u8]) -> Option<Cursor> {
    let cursor = serde_json::from_slice(mark);
    cursor
        .inspect_err(
            |error| tracing::warn!(%error, "the mark of a periodic entry is damaged and replaced"),
        )
        .ok()
}
