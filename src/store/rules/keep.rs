//! What follows from a change of a task: its key and its group go on.

use super::{Fault, Reservation, Result, RowOf, Tables};
use crate::id::TaskId;
use crate::store::life::holds_key_in;
use crate::store::lifecycle::{self, Fate, Turn};
use crate::task::{Record, State};
use crate::time::Timestamp;

/// Keeps what has become of a task that was in the state `before`, or deletes it.
pub(in crate::store) fn keep<T: Tables>(
    tables: &mut T,
    before: State,
    row: &RowOf<T>,
    fate: Fate,
    now: Timestamp,
) -> Result<(), T::Fault> {
    match fate {
        Fate::Stays => tables.update(row)?,
        Fate::Leaves => tables.delete(row)?,
    }
    let record = &row.record;
    let stays = fate == Fate::Stays;
    if record.options.unique.is_some() {
        keep_key(tables, before, record, (stays, now))?;
    }
    match &record.options.group {
        Some(group) => pass_on(tables, group, now),
        None => Ok(()),
    }
}

/// Has a task give up its unique key, or take it again, or leave it at rest.
fn keep_key<T: Tables>(
    tables: &mut T,
    before: State,
    record: &Record,
    (stays, now): (bool, Timestamp),
) -> Result<(), T::Fault> {
    let held = holds_key_in(before, &record.options);
    let holds = stays && lifecycle::holds_key(record);
    match (held, holds) {
        (true, false) => tables.free_key(record)?,
        (false, true) => take_key_again(tables, record)?,
        _ => {}
    }
    let has_ended = record.state.is_ended() && before != record.state;
    if has_ended && record.state != State::Cancelled {
        return rest(tables, record, now);
    }
    if has_ended || !stays {
        return tables.end_rest(record);
    }
    Ok(())
}

/// Has the unique key of a task rest, if it is to.
pub(in crate::store) fn rest<T: Tables>(
    tables: &mut T,
    record: &Record,
    now: Timestamp,
) -> Result<(), T::Fault> {
    match lifecycle::rests_until(record) {
        Some(until) if until > now => tables.rest(record, until, now),
        _ => Ok(()),
    }
}

/// A task that comes back after a claim goes on without its key if that is taken or reserved.
fn take_key_again<T: Tables>(tables: &mut T, record: &Record) -> Result<(), T::Fault> {
    match &record.options.unique {
        Some(unique) if tables.is_reserved(Reservation::UniqueKey, &unique.key, None)? => {
            tables.lose_key(record)
        }
        _ => tables.take_key(record),
    }
}

/// Gives the places of a group to those of its tasks that are first: lets the next go on for as long as there
/// is a place, or one that has it and is not claimed yet gives way to it.
pub(in crate::store) fn pass_on<T: Tables>(
    tables: &mut T,
    group: &str,
    now: Timestamp,
) -> Result<(), T::Fault> {
    while let Some(mut first) = tables.first_waiting(group)? {
        let places = first.record.options.places();
        let holders = tables.count_holders(group, places + 1)?;
        match lifecycle::turn(&first.record, holders, now) {
            Turn::GoesOn => {}
            Turn::Replaces => {
                let Some(mut last) = tables.last_ready_behind(group, &first)? else {
                    return Ok(());
                };
                lifecycle::give_way(&mut last.record)?;
                tables.update(&last)?;
            }
            Turn::Waits => return Ok(()),
        }
        lifecycle::unblock(&mut first.record, now)?;
        tables.update(&first)?;
    }
    Ok(())
}

/// Lets go of the tasks that a staged batch had pinned, and of what they held back: of all before any goes on, since
/// one may be to go on before another.
pub(in crate::store) fn let_go<T: Tables>(
    tables: &mut T,
    mut pinned: Vec<RowOf<T>>,
    now: Timestamp,
) -> Result<(), T::Fault> {
    for row in &mut pinned {
        tables.unpin(row)?;
    }
    for row in pinned {
        unblock(tables, row, now)?;
    }
    Ok(())
}

/// Notes that a prerequisite of a task is met, and lets the task go on after the last one.
pub(in crate::store) fn arrive<T: Tables>(
    tables: &mut T,
    task: TaskId,
    done: TaskId,
    now: Timestamp,
) -> Result<(), T::Fault> {
    if !tables.meet(task, done)? {
        return Ok(());
    }
    match tables.find(task) {
        Ok(Some(row)) => unblock(tables, row, now),
        Ok(None) => Ok(()),
        // The other has ended all the same, and if that were refused it would run again and again.
        Err(fault) if Fault::is_unreadable(&fault) => {
            tracing::error!(?fault, "a task that waits for others cannot be read");
            tables.unblock_unread(task, now)
        }
        Err(fault) => Err(fault),
    }
}

/// Lets a task go on that waits for nothing any more, and the first of its group if it has one.
pub(in crate::store) fn unblock<T: Tables>(
    tables: &mut T,
    mut row: RowOf<T>,
    now: Timestamp,
) -> Result<(), T::Fault> {
    if let Some(group) = &row.record.options.group {
        return pass_on(tables, group, now);
    }
    let free = row.record.state == State::Waiting
        && row.pinned.is_none()
        && !tables.has_prerequisites(row.record.id)?;
    if !free {
        return Ok(());
    }
    lifecycle::unblock(&mut row.record, now)?;
    tables.update(&row)
}
