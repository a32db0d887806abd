//! Changes of one sort that come one after the other: they are made together.

use std::collections::VecDeque;

use super::insert;
use crate::store::{Change, Settlement, Verdict};
use crate::task::Record;

/// A new task on which nothing hangs, or the change that is none.
pub(super) fn plain_insert(change: Change) -> Result<Record, Change> {
    match change {
        Change::Insert(record) if insert::is_plain(&record) => Ok(*record),
        change => Err(change),
    }
}

/// A new task on which nothing hangs but its unique key, or the change that is none.
pub(super) fn keyed_insert(change: Change) -> Result<Record, Change> {
    match change {
        Change::Insert(record) if insert::has_only_key(&record) => Ok(*record),
        change => Err(change),
    }
}

/// A settlement that ends well, or the change that is none.
pub(super) fn done(change: Change) -> Result<Settlement, Change> {
    match change {
        Change::Settle(settlement) if settlement.verdict == Verdict::Done => Ok(settlement),
        change => Err(change),
    }
}

/// Takes from the front for as long as `take` takes.
pub(super) fn take_while<T>(
    changes: &mut VecDeque<Change>,
    take: impl Fn(Change) -> Result<T, Change>,
) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some(change) = changes.pop_front() {
        match take(change) {
            Ok(fits) => taken.push(fits),
            Err(change) => {
                changes.push_front(change);
                break;
            }
        }
    }
    taken
}
