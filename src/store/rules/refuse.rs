//! What refuses a change.

use super::{Fault, Reservation, Result, RowOf, Tables, TaskRow};
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::{Kind, Settlement};
use crate::task::{OnDuplicate, Unique};

/// Returns the row if the settlement's claim is the present one.
pub(super) fn claimed<K>(
    row: Option<TaskRow<K>>,
    settlement: &Settlement,
) -> Result<TaskRow<K>, Kind> {
    let lost = || Kind::ClaimLost(settlement.task);
    let row = row.ok_or_else(lost)?;
    let token = row.claim.as_ref().map(|claim| claim.token);
    if token == Some(settlement.token) {
        Ok(row)
    } else {
        Err(lost())
    }
}

/// Refuses to end a claim whose settlement is staged by another transaction than `txn`.
pub(super) fn refuse_pinned<K>(row: &TaskRow<K>, txn: Option<TxnId>) -> Result<(), Kind> {
    match row.pinned {
        Some(pinned) if Some(pinned) != txn => Err(Kind::Pinned(row.record.id)),
        _ => Ok(()),
    }
}

/// Refuses to merge into the holder of a key if the new task must not, or if the holder may be about to
/// leave.
pub(super) fn refuse_holder<K>(unique: &Unique, holder: &TaskRow<K>) -> Result<(), Kind> {
    if unique.on_duplicate == OnDuplicate::Refuse {
        return Err(not_unique(unique, holder.record.id));
    }
    if holder.pinned.is_some() {
        return Err(Kind::Conflict);
    }
    Ok(())
}

/// Refuses to amend what a staged batch was judged by: its task, or the holder of its key.
pub(super) fn refuse_busy<T: Tables>(tables: &mut T, row: &RowOf<T>) -> Result<(), T::Fault> {
    match row.pinned {
        Some(_) if row.claim.is_some() => return Err(Kind::Pinned(row.record.id).into()),
        Some(_) => return Err(Kind::Conflict.into()),
        None => {}
    }
    match &row.record.options.unique {
        Some(unique) if tables.holds_key(row.record.id, &unique.key)? => {
            refuse_reserved(tables, (Reservation::UniqueKey, &unique.key), None)
        }
        _ => Ok(()),
    }
}

/// Refuses a name that a staged transaction other than `txn` has reserved.
pub(super) fn refuse_reserved<T: Tables>(
    tables: &mut T,
    (what, name): (Reservation, &str),
    txn: Option<TxnId>,
) -> Result<(), T::Fault> {
    if tables.is_reserved(what, name, txn)? {
        return Err(Kind::Conflict.into());
    }
    Ok(())
}

/// Refuses a queue in which more tasks are pending than may be, with so many that are to come.
pub(super) fn refuse_full<T: Tables>(
    tables: &mut T,
    queue: &str,
    (coming, max): (u64, u64),
) -> Result<(), T::Fault> {
    let pending = tables.pending_count(queue, max.saturating_add(1))?;
    Ok(lifecycle::check_room(
        queue,
        pending.saturating_add(coming),
        max,
    )?)
}

pub(super) fn not_unique(unique: &Unique, holder: TaskId) -> Kind {
    let key = unique.key.clone();
    Kind::NotUnique { key, holder }
}

pub(super) fn missing(task: TaskId) -> Kind {
    Kind::StateChanged {
        task,
        found: "missing",
    }
}

/// Whether an error of a change that means nothing any more may be let go.
pub(super) fn is_verdict<T>(result: &Result<T, impl Fault>) -> bool {
    result.as_ref().is_err_and(Fault::is_verdict)
}
