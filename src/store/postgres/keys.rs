//! Unique keys, and the names that staged transactions have reserved.
//!
//! A key is held by at most one task, which is pending. Who changes that holds the lock of its name, but for
//! a claim, which only frees keys.

use super::error::Result;
use super::row::{TaskRow, id};
use super::session::Session;
use super::tasks::{find, lock};
use super::value::Value;
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::rules::Reservation;
use crate::task::Record;
use crate::time::Timestamp;

/// Returns the pending task that holds a unique key, and keeps it from being claimed meanwhile.
pub(super) fn key_holder(session: &mut dyn Session, key: &str) -> Result<Option<TaskRow>> {
    loop {
        let Some(holder) = holder(session, key)? else {
            return Ok(None);
        };
        lock(session, &[holder])?;
        let row = find(session, holder)?;
        // It may have been claimed while it was waited for, and then the key is free.
        if self::holder(session, key)? == Some(holder) {
            return Ok(row);
        }
    }
}

fn holder(session: &mut dyn Session, key: &str) -> Result<Option<TaskId>> {
    let row = session.first(
        "SELECT id FROM @.unique_key WHERE key = $1",
        vec![key.into()],
    )?;
    row.map(|row| Ok(TaskId::from_bytes(id(&row, 0)?)))
        .transpose()
}

/// Whether this task holds the key: one that came back may go on without.
pub(super) fn holds_key(session: &mut dyn Session, task: TaskId, key: &str) -> Result<bool> {
    Ok(holder(session, key)? == Some(task))
}

/// Takes the key of a task that may hold it, if nobody else holds it.
pub(super) fn take_key(session: &mut dyn Session, record: &Record) -> Result<()> {
    let Some(unique) = record
        .options
        .unique
        .as_ref()
        .filter(|_| lifecycle::holds_key(record))
    else {
        return Ok(());
    };
    session.later(
        "INSERT INTO @.unique_key (key, seq, id)
         SELECT $1, t.seq, t.id FROM @.task t WHERE t.id = $2 ON CONFLICT DO NOTHING",
        vec![unique.key.clone().into(), record.id.into()],
    )
}

/// Frees the task's key, if the task holds it.
pub(super) fn free_key(session: &mut dyn Session, record: &Record) -> Result<()> {
    let Some(unique) = &record.options.unique else {
        return Ok(());
    };
    session.later(
        "DELETE FROM @.unique_key WHERE key = $1 AND id = $2",
        vec![unique.key.clone().into(), record.id.into()],
    )
}

/// Frees the keys of tasks, of those that hold one.
pub(super) fn free_all(session: &mut dyn Session, records: &[&Record]) -> Result<()> {
    let key = |record: &&Record| Some(record.options.unique.as_ref()?.key.clone());
    let keys: Vec<_> = records.iter().map(key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let ids = records.iter().map(|record| record.id.to_bytes()).collect();
    session.later(
        "DELETE FROM @.unique_key k USING unnest($1::text[], $2::bytea[]) AS f (key, id)
         WHERE k.key = f.key AND k.id = f.id",
        vec![Value::Texts(keys), Value::Ids(ids)],
    )
}

/// Returns the task for whose sake a key rests; it may be gone.
pub(super) fn resting(
    session: &mut dyn Session,
    key: &str,
    now: Timestamp,
) -> Result<Option<TaskId>> {
    let row = session.first(
        "SELECT id FROM @.resting WHERE key = $1 AND until > $2",
        vec![key.into(), now.into()],
    )?;
    row.map(|row| Ok(TaskId::from_bytes(id(&row, 0)?)))
        .transpose()
}

/// Has the key of a task rest, unless it rests for longer already. Two of the rests that are over go for
/// each new one, so that they never pile up.
pub(super) fn rest(
    session: &mut dyn Session,
    record: &Record,
    until: Timestamp,
    now: Timestamp,
) -> Result<()> {
    let Some(unique) = &record.options.unique else {
        return Ok(());
    };
    session.later(
        "DELETE FROM @.resting WHERE key = ANY (ARRAY(
             SELECT r.key FROM @.resting r WHERE r.until <= $1 AND r.key <> $2
             ORDER BY r.until LIMIT 2 FOR UPDATE SKIP LOCKED))",
        vec![now.into(), unique.key.clone().into()],
    )?;
    session.later(
        "INSERT INTO @.resting AS r (key, id, until) VALUES ($1, $2, $3)
         ON CONFLICT (key) DO UPDATE SET id = EXCLUDED.id, until = EXCLUDED.until
         WHERE EXCLUDED.until > r.until",
        vec![unique.key.clone().into(), record.id.into(), until.into()],
    )
}

/// Ends the rest of the key of a task, if it rests for its sake.
pub(super) fn end_rest(session: &mut dyn Session, record: &Record) -> Result<()> {
    let Some(unique) = &record.options.unique else {
        return Ok(());
    };
    session.later(
        "DELETE FROM @.resting WHERE key = $1 AND id = $2",
        vec![unique.key.clone().into(), record.id.into()],
    )
}

/// Has the id of a merged task lead to the one that stays.
pub(super) fn merge(session: &mut dyn Session, id: TaskId, holder: TaskId) -> Result<()> {
    session.later(
        "INSERT INTO @.alias (id, task) VALUES ($1, $2)",
        vec![id.into(), holder.into()],
    )
}

/// Reserves a name for a staged transaction.
pub(super) fn reserve(
    session: &mut dyn Session,
    what: Reservation,
    name: &str,
    txn: TxnId,
) -> Result<()> {
    session.later(
        "INSERT INTO @.reservation (kind, name, txn) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        vec![(what as i64).into(), name.into(), txn.into()],
    )
}

/// Whether a staged transaction other than `txn` has reserved a name.
pub(super) fn is_reserved(
    session: &mut dyn Session,
    what: Reservation,
    name: &str,
    txn: Option<TxnId>,
) -> Result<bool> {
    let own = txn.map(|txn| txn.to_bytes().to_vec()).unwrap_or_default();
    session.exists(
        "SELECT 1 FROM @.reservation WHERE kind = $1 AND name = $2 AND txn <> $3 LIMIT 1",
        vec![(what as i64).into(), name.into(), own.into()],
    )
}

/// Gives up all that a transaction has reserved.
pub(super) fn release(session: &mut dyn Session, txn: TxnId) -> Result<()> {
    session.later("DELETE FROM @.reservation WHERE txn = $1", vec![txn.into()])
}
