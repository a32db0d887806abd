//! Unique keys, and the names that staged transactions have reserved.
//!
//! A key is held by at most one task. Whether a task holds its key its own row says, and of one that may be claimed the
//! claims. There is no other record of it, so who claims a task or ends it has nothing to do about its key. Whoever
//! takes a key, for a new task or one that comes back, holds the [lock of its name](super::names) until that is
//! committed, and takes its turn: nobody else does so meanwhile, and what a claim may do meanwhile is to make the key
//! free.

use std::collections::BTreeSet;

use super::error::Result;
use super::row::{TaskRow, column, id, optional_id};
use super::session::Session;
use super::tasks::{self, find, keep_in_line};
use super::value::Value;
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::rules::Reservation;
use crate::task::Record;
use crate::time::Timestamp;

/// Whether a task `t` that has a unique key holds it: it has not come back without, and it is pending, or claimed
/// and has asked to hold its key until it has ended.
macro_rules! holds_own_key {
    () => {
        concat!(
            "t.state IN (1, 2, 3) AND t.hangs & 8 = 0 AND (t.state <> 3 OR t.hangs & 1 = 0
                 OR (SELECT 1 FROM @.claim c WHERE ",
            $crate::store::postgres::claim::holds_task!(),
            " LIMIT 1) IS NULL)"
        )
    };
}
pub(super) use holds_own_key;

/// Returns the task that holds a unique key, and keeps it from being claimed meanwhile.
pub(super) fn key_holder(session: &mut dyn Session, key: &str) -> Result<Option<TaskRow>> {
    let row = session.first(
        concat!(
            "SELECT t.id FROM @.task t WHERE t.unique_key = $1 AND ",
            holds_own_key!(),
            " LIMIT 1"
        ),
        vec![key.into()],
    )?;
    let Some(row) = row else { return Ok(None) };
    let holder = TaskId::from_bytes(id(&row, 0)?);
    loop {
        let is_kept = keep_in_line(session, holder)?;
        // It may have been claimed while it was waited for, and then the key is free.
        let row = find(session, holder)?;
        let row = row.filter(|row| lifecycle::holds_key(&row.record));
        // Or another of its run, and then what is left of that is a run that is not kept.
        if is_kept || row.as_ref().is_none_or(|row| !row.kept.is_ready) {
            return Ok(row);
        }
    }
}

/// Returns those of the keys that cannot be taken just so: another task holds them, or a staged transaction has
/// reserved them, or they rest. Keeps the holders from being claimed meanwhile, all in one order: keys share runs.
pub(super) fn not_free(
    session: &mut dyn Session,
    keys: Vec<Option<String>>,
    now: Timestamp,
) -> Result<BTreeSet<String>> {
    let rows = session.query(
        concat!(
            "SELECT k.key, k.holder FROM (
                 SELECT k AS key, (SELECT t.id FROM @.task t WHERE t.unique_key = k AND ",
            holds_own_key!(),
            " LIMIT 1) AS holder FROM unnest($1::text[]) k) AS k
             WHERE k.holder IS NOT NULL
                 OR (SELECT 1 FROM @.resting s WHERE s.key = k.key AND s.until > $2 LIMIT 1) IS NOT NULL
                 OR (SELECT 1 FROM @.reservation r WHERE r.kind = 0 AND r.name = k.key LIMIT 1) IS NOT NULL"
        ),
        vec![Value::Texts(keys), now.into()],
    )?;
    let (mut taken, mut holders) = (BTreeSet::new(), Vec::new());
    for row in &rows {
        taken.insert(column(row, 0)?);
        holders.extend(optional_id(row, 1)?.map(TaskId::from_bytes));
    }
    tasks::lock(session, &holders)?;
    Ok(taken)
}

/// Whether this task holds the key: one that came back may go on without.
pub(super) fn holds_key(session: &mut dyn Session, task: TaskId, key: &str) -> Result<bool> {
    session.exists(
        concat!(
            "SELECT 1 FROM @.task t WHERE t.id = $1 AND t.unique_key = $2 AND ",
            holds_own_key!()
        ),
        vec![task.into(), key.into()],
    )
}

/// Has a task that comes back hold its key again, unless another does.
pub(super) fn take_key(session: &mut dyn Session, record: &Record) -> Result<()> {
    let Some(unique) = &record.options.unique else {
        return Ok(());
    };
    session.later(
        concat!(
            "UPDATE @.task own SET hangs = own.hangs # 8
             WHERE own.id = $1 AND (own.hangs & 8 = 0) = EXISTS (
                 SELECT 1 FROM @.task t WHERE t.unique_key = $2 AND t.id <> $1 AND ",
            holds_own_key!(),
            ")"
        ),
        vec![record.id.into(), unique.key.clone().into()],
    )
}

/// Has a task that comes back go on without its key.
pub(super) fn lose_key(session: &mut dyn Session, record: &Record) -> Result<()> {
    session.later(
        "UPDATE @.task SET hangs = hangs | 8 WHERE id = $1 AND hangs & 8 = 0",
        vec![record.id.into()],
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
