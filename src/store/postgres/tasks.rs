//! The visible tasks: finding, locking, writing and deleting rows, with what hangs on them. Who changes
//! which task has a group or a key holds the lock of the name.
//!
//! Whoever waits for locks takes them in one order: names, in the order of their numbers; then tasks, and then
//! runs of the line, both in the order of sequences; then rows of what hangs on them. The row of a task is the only
//! one that decides who ends its claim, pins it or amends it, so a claim itself is never locked. Who claims waits
//! for none of these, and passes over what is locked.

use super::claim::claim_of_task;
use super::error::Result;
use super::line;
use super::row::{TaskRow, column, dead_number, id, state_number, tasks_with};
use super::session::Session;
use super::value::Value;
use crate::codec;
use crate::id::{TaskId, TxnId};
use crate::store::{self, Kind, lifecycle};
use crate::task::{Record, State};

/// Finds a visible task by its own id, without its payload.
pub(super) fn find(session: &mut dyn Session, id: TaskId) -> Result<Option<TaskRow>> {
    let row = session.first(
        concat!(tasks_with!("''::bytea"), "WHERE t.id = $1"),
        vec![id.into()],
    )?;
    row.map(|row| TaskRow::read(&row)).transpose()
}

/// Finds a visible task by its own id, or by that of a task that merged into it.
pub(super) fn follow(session: &mut dyn Session, id: TaskId) -> Result<Option<TaskRow>> {
    if let Some(row) = find(session, id)? {
        return Ok(Some(row));
    }
    let row = session.first(
        concat!(
            tasks_with!("''::bytea"),
            "WHERE t.id = (SELECT a.task FROM @.alias a WHERE a.id = $1)"
        ),
        vec![id.into()],
    )?;
    row.map(|row| TaskRow::read(&row)).transpose()
}

/// The sequences of the tasks of these ids, or of those that they merged into. From an id to its task,
/// whatever the server takes the tables for: asked for rows in the order of their sequences, it would rather
/// walk over all tasks than sort a few.
macro_rules! sequences {
    () => {
        "ARRAY(
             SELECT t.seq FROM (
                 SELECT n AS id FROM unnest($1::bytea[]) n
                 UNION ALL SELECT a.task FROM unnest($1::bytea[]) n
                 CROSS JOIN LATERAL (SELECT a.task FROM @.alias a WHERE a.id = n LIMIT 1) a) i
             CROSS JOIN LATERAL (SELECT t.seq FROM @.task t WHERE t.id = i.id LIMIT 1) t)"
    };
}

/// Locks tasks, then the runs of the line that they are in.
pub(super) const LOCK: [&str; 2] = [
    concat!(
        "SELECT 1 FROM @.task t WHERE t.seq = ANY (",
        sequences!(),
        ") ORDER BY t.seq FOR UPDATE"
    ),
    concat!(
        "SELECT 1 FROM @.task t
         JOIN @.ready r ON r.queue = t.queue AND r.rank = t.rank
             AND r.first > t.seq - 128 AND r.first <= t.seq AND r.last >= t.seq
         WHERE t.seq = ANY (",
        sequences!(),
        ") ORDER BY t.seq FOR UPDATE OF r"
    ),
];

/// Keeps tasks, or those that they merged into, from being changed and from being claimed. A claim that is
/// being made is waited for; statements that follow see it. If it leaves something of the run that the task was
/// in, another claim may still take it: who then wants to take it [out of the line](line::leave) finds out.
pub(super) fn lock(session: &mut dyn Session, ids: &[TaskId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
    for sql in LOCK {
        session.later(sql, vec![Value::Ids(ids.clone())])?;
    }
    Ok(())
}

/// Keeps a task from being changed, and from being claimed if it is in the line. Returns whether it is, so that what
/// was kept is where it stays.
pub(super) fn keep_in_line(session: &mut dyn Session, id: TaskId) -> Result<bool> {
    let [task, run] = LOCK;
    let ids = || vec![Value::Ids(vec![id.to_bytes()])];
    session.later(task, ids())?;
    session.exists(run, ids())
}

/// Refuses an id that a task, an alias, or a task that is staged has already.
pub(super) fn refuse_known(session: &mut dyn Session, id: TaskId) -> Result<()> {
    let is_known = session.exists(
        "SELECT 1 FROM @.alias a WHERE a.id = $1
         UNION ALL SELECT 1 FROM @.staged_task s WHERE s.id = $1
         UNION ALL SELECT 1 FROM @.task t WHERE t.id = $1 LIMIT 1",
        vec![id.into()],
    )?;
    if is_known {
        return Err(Kind::TaskExists(id).into());
    }
    Ok(())
}

/// Whether a staged batch will insert this task.
pub(super) fn is_staged(session: &mut dyn Session, id: TaskId) -> Result<bool> {
    session.exists("SELECT 1 FROM @.staged_task WHERE id = $1", vec![id.into()])
}

/// Announces tasks that `txn` will insert when it is published. Returns one that somebody else has.
pub(super) fn stage(
    session: &mut dyn Session,
    ids: &[TaskId],
    txn: TxnId,
) -> Result<Option<TaskId>> {
    let ids: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
    let row = session.first(
        "WITH new AS (
             INSERT INTO @.staged_task (id, txn) SELECT n, $2 FROM unnest($1) n
             ON CONFLICT DO NOTHING RETURNING id)
         SELECT n FROM unnest($1) n WHERE n NOT IN (SELECT id FROM new)
         UNION ALL SELECT a.id FROM @.alias a WHERE a.id = ANY ($1)
         UNION ALL SELECT t.id FROM @.task t WHERE t.id = ANY ($1) LIMIT 1",
        vec![Value::Ids(ids), txn.into()],
    )?;
    row.map(|row| Ok(TaskId::from_bytes(id(&row, 0)?)))
        .transpose()
}

/// Takes back all that [`stage`] announced for a transaction.
pub(super) fn unstage(session: &mut dyn Session, ids: &[TaskId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = ids.iter().map(|id| id.to_bytes()).collect();
    session.later(
        "DELETE FROM @.staged_task WHERE id = ANY ($1)",
        vec![Value::Ids(ids)],
    )
}

/// Writes what has become of a task.
pub(super) fn update(session: &mut dyn Session, row: &TaskRow) -> Result<()> {
    let record = &row.record;
    let rank = store::rank(record, record.visible_since());
    // What is Claimed is told from what is Ready by its claim.
    let state = match record.state {
        State::Claimed => State::Ready,
        state => state,
    };
    let account = record.account.as_ref().map(codec::encode).transpose()?;
    let ended = row.kept.claim.as_ref().filter(|_| row.claim.is_none());
    let pinned = row.pinned.map(|txn| txn.to_bytes().to_vec());
    session.later(
        "UPDATE @.task SET queue = $2, state = $3, rank = $4, not_before = $5, attempts = $6,
             conflicts = $7, reclaims = $8, account = $9, dead = $10, ended_at = $11,
             kept_until = $12, progress = $13, pinned = $14, fence = greatest(fence, $15)
         WHERE seq = $1",
        vec![
            row.seq.into(),
            (&*record.queue).into(),
            state_number(state).into(),
            rank.into(),
            record.not_before.into(),
            record.counts.attempts.into(),
            record.counts.conflicts.into(),
            record.counts.reclaims.into(),
            account.into(),
            record.dead.map(dead_number).into(),
            record.ended_at.into(),
            lifecycle::kept_until(record).into(),
            record.progress.clone().map(String::into_bytes).into(),
            pinned.into(),
            ended.map_or(0, |claim| claim.number).into(),
        ],
    )?;
    let is_ready = record.state == State::Ready && row.pinned.is_none();
    place(session, row, is_ready, rank)
}

/// Has the narrow tables agree with what has become of a task.
fn place(session: &mut dyn Session, row: &TaskRow, is_ready: bool, rank: i64) -> Result<()> {
    let (kept, record) = (&row.kept, &row.record);
    if let Some(claim) = kept.claim.as_ref().filter(|claim| claim.is_alone)
        && row.claim.is_none()
    {
        let (holder, token) = (claim.token.incarnation, claim.token.count.cast_signed());
        session.later(
            "DELETE FROM @.claim WHERE holder = $1 AND token = $2",
            vec![holder.into(), token.into()],
        )?;
    }
    let is_in_place = kept.is_ready && is_ready && kept.rank == rank && kept.queue == record.queue;
    if is_in_place {
        return Ok(());
    }
    if kept.is_ready {
        line::leave(session, row)?;
    }
    if is_ready {
        line::enter(session, row, rank)?;
    }
    Ok(())
}

/// Deletes a task with all that hangs on it, but for its unique key.
pub(super) fn delete(session: &mut dyn Session, row: &TaskRow) -> Result<()> {
    let options = &row.record.options;
    session.later("DELETE FROM @.task WHERE seq = $1", vec![row.seq.into()])?;
    let gone = TaskRow {
        claim: None,
        pinned: None,
        ..row.clone()
    };
    place(session, &gone, false, row.rank)?;
    if !options.about.is_empty() {
        session.later("DELETE FROM @.about WHERE seq = $1", vec![row.seq.into()])?;
    }
    drop_prerequisites(session, &row.record)?;
    if options.unique.is_some() {
        session.later(
            "DELETE FROM @.alias WHERE task = $1",
            vec![row.record.id.into()],
        )?;
    }
    Ok(())
}

/// Has a task wait for no other any more.
pub(super) fn drop_prerequisites(session: &mut dyn Session, record: &Record) -> Result<()> {
    if record.options.waits_for.is_empty() {
        return Ok(());
    }
    session.later(
        "DELETE FROM @.prerequisite WHERE task = $1",
        vec![record.id.into()],
    )
}

/// Pins a task for a staged transaction: nobody claims it or changes it until that has ended.
///
/// Somebody else's statement that began before may wait for the row that is changed here. It looks at that row
/// again when it is free, so the pin is in it.
pub(super) fn pin(session: &mut dyn Session, row: &mut TaskRow, txn: TxnId) -> Result<()> {
    session.later(
        "UPDATE @.task SET pinned = $2 WHERE seq = $1",
        vec![row.seq.into(), txn.into()],
    )?;
    if row.kept.is_ready {
        line::leave(session, row)?;
    }
    row.pinned = Some(txn);
    row.kept.is_ready = false;
    Ok(())
}

/// Unpins a task of which nothing has changed, and gives it back its place in the line.
pub(super) fn unpin(session: &mut dyn Session, row: &mut TaskRow) -> Result<()> {
    row.pinned = None;
    session.later(
        "UPDATE @.task SET pinned = NULL WHERE seq = $1",
        vec![row.seq.into()],
    )?;
    let is_ready = row.record.state == State::Ready;
    place(session, row, is_ready, row.rank)?;
    row.kept.is_ready = is_ready;
    Ok(())
}

/// Notes that a prerequisite of a task is met; `false` if it did not wait for that.
pub(super) fn meet(session: &mut dyn Session, task: TaskId, done: TaskId) -> Result<bool> {
    let met = session.execute(
        "DELETE FROM @.prerequisite WHERE task = $1 AND done = $2",
        vec![task.into(), done.into()],
    )?;
    Ok(met > 0)
}

/// Whether a task waits for another.
pub(super) fn has_prerequisites(session: &mut dyn Session, task: TaskId) -> Result<bool> {
    session.exists(
        "SELECT 1 FROM @.prerequisite WHERE task = $1 LIMIT 1",
        vec![task.into()],
    )
}

/// Reads a mark.
pub(super) fn mark(session: &mut dyn Session, key: &str) -> Result<Option<Vec<u8>>> {
    let row = session.first("SELECT value FROM @.mark WHERE key = $1", vec![key.into()])?;
    row.map(|row| column(&row, 0)).transpose()
}

/// Counts the pending tasks of a queue, up to about a limit.
pub(super) const PENDING_COUNT: &str = concat!(
    "SELECT coalesce(sum(n), 0)::bigint FROM (
         (SELECT r.last - r.first + 1 AS n FROM @.ready r WHERE r.queue = $1 LIMIT $2)
         UNION ALL (SELECT 1 FROM @.task t WHERE t.queue = $1 AND t.state = 2 LIMIT $2)
         UNION ALL (SELECT 1 FROM @.task t WHERE t.queue = $1 AND t.state = 1 LIMIT $2)
         UNION ALL (SELECT 1 FROM @.task t LEFT JOIN ",
    claim_of_task!(),
    "ON true
             WHERE t.pinned IS NOT NULL AND t.queue = $1 AND t.state = 3
                 AND c.number IS NULL LIMIT $2)) pending"
);

/// Counts the pending tasks of a queue, up to about `limit`.
pub(super) fn pending_count(session: &mut dyn Session, queue: &str, limit: u64) -> Result<u64> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = vec![queue.into(), limit.into()];
    let row = session.first(PENDING_COUNT, values)?;
    let count = row.map(|row| column::<i64>(&row, 0)).transpose()?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// Writes a mark, or removes it.
pub(super) fn set_mark(session: &mut dyn Session, key: &str, value: Option<&[u8]>) -> Result<()> {
    match value {
        Some(value) => session.later(
            "INSERT INTO @.mark (key, value) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
            vec![key.into(), value.to_vec().into()],
        ),
        None => session.later("DELETE FROM @.mark WHERE key = $1", vec![key.into()]),
    }
}
