//! Turns: what a fleet does once, whoever does it. There is no leader: for each piece of work a mark in
//! the store says when it is due again, and whoever sets it forward first does the work this time. One
//! that dies over its turn is followed by whoever takes the next.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::apply;
use crate::queue::mark::Found;
use crate::store::{self, Batch, Change, Kind, Store};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// The marks under which turns are kept: this, then the name of the work.
pub(crate) const PREFIX: &str = "turn/";

/// For how many intervals a turn that nobody takes any more is kept.
const INTERVALS_KEPT: u32 = 1_000;

/// How many of those are removed at once.
const REMOVED_MAX: usize = 16;

/// What the mark of a turn says, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    /// When the next turn may be taken.
    next_at: Timestamp,
    /// The incarnation that took the last one; for people.
    taken_by: String,
}

/// Takes the next turn at the work called `name`, of which the whole fleet takes one for each
/// `interval`, by the store's clock. Returns whether it is the caller's to do now.
///
/// The work must be harmless if it is done twice at the same time, because a turn that takes longer than
/// the interval overlaps the next. Where callers name different intervals the shortest one counts.
///
/// # Errors
/// The turn was not taken, or, after [`Kind::Unknown`], perhaps it was.
///
/// # Durability
/// A turn that was taken is on disk; one that is not due costs one read.
pub fn take_turn(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    name: &str,
    interval: Duration,
) -> store::Result<bool> {
    let (key, now) = (format!("{PREFIX}{name}"), store.now()?);
    let found = Found::read(&**store, key)?;
    if !is_due(found.value(), now, interval) {
        return Ok(false);
    }
    let turn = Turn {
        next_at: now.saturating_add(interval),
        taken_by: manager.incarnation().to_string(),
    };
    let mut changes = given_up(&**store, found.key(), now, interval)?;
    changes.push(found.saying(&turn, &**store, "write a turn")?);
    match apply(store, manager, &Batch::new(changes)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind, Kind::MarkChanged(_) | Kind::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a turn may be taken: never taken, its time has come, or it was set further ahead than this
/// interval reaches, by who has a longer one or before the clock was set back.
fn is_due(mark: Option<&[u8]>, now: Timestamp, interval: Duration) -> bool {
    let turn: Option<Turn> = mark.and_then(read);
    turn.is_none_or(|turn| turn.next_at <= now || turn.next_at > now.saturating_add(interval))
}

/// Reads a mark; one that is damaged holds nobody up.
fn read(mark: &[u8]) -> Option<Turn> {
    let turn = serde_json::from_slice(mark);
    turn.inspect_err(|error| tracing::warn!(%error, "the mark of a turn is damaged and replaced"))
        .ok()
}

/// Removes turns that nobody has taken for long.
fn given_up(
    store: &dyn Store,
    key: &str,
    now: Timestamp,
    interval: Duration,
) -> store::Result<Vec<Change>> {
    let before = now.saturating_sub(interval.saturating_mul(INTERVALS_KEPT));
    let marks = store.marks(PREFIX)?.into_iter();
    let old = marks.filter(|(other, value)| {
        other != key && read(value).is_some_and(|turn| turn.next_at < before)
    });
    let remove = |(key, value)| Change::Mark {
        key,
        expect: Some(value),
        value: None,
    };
    Ok(old.take(REMOVED_MAX).map(remove).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn mark(next_at: Timestamp) -> Vec<u8> {
        let taken_by = "somebody".to_owned();
        serde_json::to_vec(&Turn { next_at, taken_by }).unwrap()
    }

    #[test]
    fn a_turn_is_due_when_its_time_has_come() {
        assert!(is_due(None, NOW, INTERVAL));
        assert!(is_due(Some(&mark(NOW)), NOW, INTERVAL));
        let later = NOW.saturating_add(Duration::from_secs(1));
        assert!(!is_due(Some(&mark(later)), NOW, INTERVAL));
    }

    #[test]
    fn a_turn_set_too_far_ahead_or_damaged_holds_nobody_up() {
        let far = NOW.saturating_add(INTERVAL * 2);
        assert!(is_due(Some(&mark(far)), NOW, INTERVAL));
        assert!(is_due(Some(b"no turn"), NOW, INTERVAL));
    }
}
