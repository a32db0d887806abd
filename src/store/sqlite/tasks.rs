//! The visible tasks: finding, writing and deleting rows, with what hangs on them.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Result;
use super::groups;
use super::keys;
use super::row::{Bytes, Found, Sql, TaskRow, columns, not_newer};
use super::statements::Statements;
use crate::codec;
use crate::id::{TaskId, TxnId};
use crate::store::rules::Reservation;
use crate::store::{self, Kind, Settlement, lifecycle};
use crate::task::{Hold, Options, Record, State, Unique, encoded_options};
use crate::time::Timestamp;

/// Finds a visible task by its own id.
pub(super) fn find(connection: &Connection, id: TaskId, bytes: Bytes) -> Result<Option<TaskRow>> {
    let sql = match bytes {
        Bytes::Left => concat!("SELECT ", columns!(), " FROM votive_task WHERE id = ?1"),
        Bytes::Read => concat!(
            "SELECT ",
            columns!(),
            ", payload FROM votive_task WHERE id = ?1"
        ),
    };
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([Sql(id)])?;
    rows.next()?
        .map(|row| TaskRow::read(row, bytes))
        .transpose()
}

/// Finds a visible task by its own id, or by that of a task that merged into it.
pub(super) fn follow(connection: &Connection, id: TaskId, bytes: Bytes) -> Result<Option<TaskRow>> {
    if let Some(row) = find(connection, id, bytes)? {
        return Ok(Some(row));
    }
    let mut select = connection.prepare_cached("SELECT task FROM votive_alias WHERE id = ?1")?;
    let holder = select.query_row([Sql(id)], |row| row.get::<_, Sql<TaskId>>(0));
    match holder.optional()? {
        Some(holder) => find(connection, holder.0, bytes),
        None => Ok(None),
    }
}

/// Refuses an id that a task, an alias, or a task that is staged has already.
pub(super) fn refuse_known(connection: &Statements<'_>, id: TaskId) -> Result<()> {
    refuse_reserved_id(connection, id)?;
    let mut select =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM votive_task WHERE id = ?1)")?;
    if select.query_row([Sql(id)], |row| row.get(0))? {
        return Err(Kind::TaskExists(id).into());
    }
    Ok(())
}

/// Refuses an id that an alias or a task that is staged has already.
pub(super) fn refuse_reserved_id(connection: &Statements<'_>, id: TaskId) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM votive_alias WHERE id = ?1)
             OR EXISTS (SELECT 1 FROM votive_staged_task WHERE id = ?1)";
    if connection.ask(sql, [Sql(id)], |row| row.get(0))? {
        return Err(Kind::TaskExists(id).into());
    }
    Ok(())
}

/// Whether a staged batch will insert this task.
pub(super) fn is_staged(connection: &Connection, id: TaskId) -> Result<bool> {
    let mut select = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM votive_staged_task WHERE id = ?1)")?;
    Ok(select.query_row([Sql(id)], |row| row.get(0))?)
}

/// Announces a task that `txn` will insert when it is published.
pub(super) fn stage(connection: &Connection, id: TaskId, txn: TxnId) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO votive_staged_task (id, txn) VALUES (?1, ?2)")?
        .execute(params![Sql(id), Sql(txn)])?;
    Ok(())
}

/// Takes back what [`stage`] announced.
pub(super) fn unstage(connection: &Connection, id: TaskId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM votive_staged_task WHERE id = ?1")?
        .execute([Sql(id)])?;
    Ok(())
}

/// Inserts a task that was just published, with its objects and prerequisites.
pub(super) fn insert(connection: &Statements<'_>, record: &Record) -> Result<()> {
    let options = &record.options;
    let published_at = record.visible_since();
    let held_key = if lifecycle::holds_key(record) {
        keys::enter(connection, record)?
    } else {
        keys::NONE
    };
    groups::open(connection, record)?;
    let inserted = connection.run(
            "INSERT INTO votive_task (id, queue, kind, state, rank, not_before, attempts, conflicts,
                reclaims, enqueued_at, published_at, group_id, place, places,
                options, plain, held_key, format, version, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                (SELECT id FROM votive_group WHERE name = ?12), ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
             ON CONFLICT (id) DO NOTHING",
        params![
            Sql(record.id),
            &*record.queue,
            &*record.kind,
            Sql(record.state),
            store::rank(record, published_at),
            record.not_before.map(Timestamp::as_micros),
            record.counts.attempts,
            record.counts.conflicts,
            record.counts.reclaims,
            record.enqueued_at.as_micros(),
            published_at.as_micros(),
            options.group,
            place(record.state),
            options.places(),
            encoded_options(options)?,
            plainness(options),
            held_key,
            Sql(record.payload.format),
            record.payload.version,
            record.payload.bytes,
        ])?;
    if inserted == 0 {
        return Err(Kind::TaskExists(record.id).into());
    }
    let seq = connection.last_insert_rowid();
    for object in &options.about {
        connection
            .prepare_cached("INSERT OR IGNORE INTO votive_about (object, seq) VALUES (?1, ?2)")?
            .execute(params![object, seq])?;
    }
    for done in &options.waits_for {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO votive_prerequisite (task, done) VALUES (?1, ?2)",
            )?
            .execute([Sql(record.id), Sql(*done)])?;
    }
    if has_history(record) {
        let row = TaskRow {
            seq,
            rank: 0,
            record: record.clone(),
            pinned: None,
            claim: None,
            kept: (),
        };
        update(connection, &row)?;
    }
    Ok(())
}

/// What goes with a task when it is done, beside its row and what merged into it: the column `plain`.
mod plain {
    pub(super) const MORE: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const ITS_PLACE_IN_A_GROUP: u8 = 2;
}

/// Tells how plain a task is.
pub(super) fn plainness(options: &Options) -> u8 {
    let keeps_key = |unique: &Unique| unique.hold != Hold::default();
    let hangs_on = !options.about.is_empty() || !options.waits_for.is_empty();
    let stays = options.retention.is_some();
    if hangs_on || stays || options.unique.as_ref().is_some_and(keeps_key) {
        plain::MORE
    } else if options.group.is_some() {
        plain::ITS_PLACE_IN_A_GROUP
    } else {
        plain::NOTHING
    }
}

/// Whether a task in this state waits for a place in its group, or has one: the column `place`.
pub(super) fn place(state: State) -> u8 {
    match state {
        State::Waiting => 0,
        State::Ready | State::Claimed => 1,
        _ => 2,
    }
}

/// Whether a new task comes from elsewhere with more than a new one has.
pub(super) fn has_history(record: &Record) -> bool {
    record.state.is_ended() || record.account.is_some() || record.progress.is_some()
}

/// Writes what has become of a task.
pub(super) fn update(connection: &Connection, row: &TaskRow) -> Result<()> {
    let record = &row.record;
    let account = record.account.as_ref().map(codec::encode).transpose()?;
    let claim = row.claim.as_ref();
    connection
        .prepare_cached(
            "UPDATE votive_task SET queue = ?2, state = ?3, rank = ?4, not_before = ?5, pinned = ?6,
                holder = ?7, token = ?8, holder_name = ?9, claimed_at = ?10, attempts = ?11,
                conflicts = ?12, reclaims = ?13, account = ?14, dead = ?15, ended_at = ?16,
                kept_until = ?17, progress = ?18, place = ?19
             WHERE seq = ?1",
        )?
        .execute(params![
            row.seq,
            &*record.queue,
            Sql(record.state),
            store::rank(record, record.visible_since()),
            record.not_before.map(Timestamp::as_micros),
            row.pinned.map(Sql),
            claim.map(|claim| Sql(claim.token.incarnation)),
            claim.map(|claim| claim.token.count.cast_signed()),
            claim.map(|claim| &claim.name),
            claim.map(|claim| claim.at.as_micros()),
            record.counts.attempts,
            record.counts.conflicts,
            record.counts.reclaims,
            account,
            record.dead.map(Sql),
            record.ended_at.map(Timestamp::as_micros),
            lifecycle::kept_until(record).map(Timestamp::as_micros),
            record.progress,
            place(record.state),
        ])?;
    Ok(())
}

/// Deletes a claimed task if it is plain and nothing has merged into it: then nothing of it is in other tables.
/// `false` if it is not so, if the claim is not the present one, or if it is pinned by another transaction
/// than `txn`.
pub(super) fn finish_plain(
    connection: &Statements<'_>,
    settlement: &Settlement,
    txn: Option<TxnId>,
) -> Result<bool> {
    let deleted = connection.run(
        "DELETE FROM votive_task WHERE id = ?1 AND state = 4 AND holder = ?2 AND token = ?3
                 AND (pinned IS NULL OR pinned = ?4) AND plain = 1
                 AND NOT EXISTS (SELECT 1 FROM votive_alias WHERE task = ?1)",
        params![
            Sql(settlement.task),
            Sql(settlement.token.incarnation),
            settlement.token.count.cast_signed(),
            txn.map(Sql),
        ],
    )?;
    Ok(deleted == 1)
}

/// Deletes a task with all that hangs on it, but for its unique key.
pub(super) fn delete(connection: &Connection, row: &TaskRow) -> Result<()> {
    let options = &row.record.options;
    connection
        .prepare_cached("DELETE FROM votive_task WHERE seq = ?1")?
        .execute([row.seq])?;
    for object in &options.about {
        connection
            .prepare_cached("DELETE FROM votive_about WHERE object = ?1 AND seq = ?2")?
            .execute(params![object, row.seq])?;
    }
    drop_prerequisites(connection, &row.record)?;
    if options.unique.is_some() {
        connection
            .prepare_cached("DELETE FROM votive_alias WHERE task = ?1")?
            .execute([Sql(row.record.id)])?;
    }
    Ok(())
}

/// Has a task wait for no other any more.
pub(super) fn drop_prerequisites(connection: &Connection, record: &Record) -> Result<()> {
    if !record.options.waits_for.is_empty() {
        connection
            .prepare_cached("DELETE FROM votive_prerequisite WHERE task = ?1")?
            .execute([Sql(record.id)])?;
    }
    Ok(())
}

/// Pins a task for a staged transaction, or unpins it.
pub(super) fn pin(connection: &Connection, seq: i64, txn: Option<TxnId>) -> Result<()> {
    connection
        .prepare_cached("UPDATE votive_task SET pinned = ?2 WHERE seq = ?1")?
        .execute(params![seq, txn.map(Sql)])?;
    Ok(())
}

/// Notes that a prerequisite of a task is met; `false` if it did not wait for that.
pub(super) fn meet(connection: &Connection, task: TaskId, done: TaskId) -> Result<bool> {
    let met = connection
        .prepare_cached("DELETE FROM votive_prerequisite WHERE task = ?1 AND done = ?2")?
        .execute([Sql(task), Sql(done)])?;
    Ok(met > 0)
}

/// Whether a task waits for another.
pub(super) fn has_prerequisites(connection: &Connection, task: TaskId) -> Result<bool> {
    let mut select = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = ?1)")?;
    Ok(select.query_row([Sql(task)], |row| row.get(0))?)
}

/// Has the id of a merged task lead to the one that stays.
pub(super) fn merge(connection: &Connection, id: TaskId, holder: TaskId) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO votive_alias (id, task) VALUES (?1, ?2)")?
        .execute([Sql(id), Sql(holder)])?;
    Ok(())
}

/// Reserves a name for a staged transaction.
pub(super) fn reserve(
    connection: &Connection,
    what: Reservation,
    name: &str,
    txn: TxnId,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO votive_reservation (kind, name, txn) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![what as u8, name, Sql(txn)])?;
    Ok(())
}

/// Whether a staged transaction other than `txn` has reserved a name.
pub(super) fn is_reserved(
    connection: &Connection,
    what: Reservation,
    name: &str,
    txn: Option<TxnId>,
) -> Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM votive_reservation
         WHERE kind = ?1 AND name = ?2 AND txn IS NOT ?3)",
    )?;
    Ok(select.query_row(params![what as u8, name, txn.map(Sql)], |row| row.get(0))?)
}

/// Gives up all that a transaction has reserved.
pub(super) fn release(connection: &Connection, txn: TxnId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM votive_reservation WHERE txn = ?1")?
        .execute([Sql(txn)])?;
    Ok(())
}

/// The records whose retention has passed, but those by which a staged batch was judged, and those of a newer version.
const EXPIRED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM votive_task WHERE kept_until <= ?1 AND pinned IS NULL AND ",
    not_newer!(),
    " ORDER BY kept_until LIMIT ?2"
);

/// Drops a few of the records whose retention has passed, those that are damaged too.
pub(super) fn drop_expired(connection: &Connection, now: Timestamp) -> Result<()> {
    const AT_ONCE: usize = 16;
    let mut select = connection.prepare_cached(EXPIRED)?;
    let mut expired = Found::default();
    expired.add(
        select.query(params![now.as_micros(), AT_ONCE])?,
        Bytes::Left,
    )?;
    for row in &expired.rows {
        delete(connection, row)?;
    }
    let mut damaged = expired.unread.iter().filter(|task| task.is_damaged);
    damaged.try_for_each(|task| delete_damaged(connection, task.seq))
}

/// Deletes a task that does not say what hangs on it, with all that does.
fn delete_damaged(connection: &Connection, seq: i64) -> Result<()> {
    let deletions = [
        // No index has the sequences, but damage is rare; and a sequence may be another task's later.
        "DELETE FROM votive_about WHERE seq = ?1",
        "DELETE FROM votive_prerequisite WHERE task = (SELECT id FROM votive_task WHERE seq = ?1)",
        "DELETE FROM votive_alias WHERE task = (SELECT id FROM votive_task WHERE seq = ?1)",
        "DELETE FROM votive_task WHERE seq = ?1",
    ];
    for deletion in deletions {
        connection.execute(deletion, [seq])?;
    }
    Ok(())
}

/// Reads a mark.
pub(super) fn mark(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached("SELECT value FROM votive_mark WHERE key = ?1")?;
    Ok(select.query_row([key], |row| row.get(0)).optional()?)
}

/// Counts the pending tasks of a queue, up to a limit: each in the index of its state, or of those that
/// are pinned.
pub(super) const PENDING_COUNT: &str = "\
SELECT count(*) FROM (
    SELECT 1 FROM votive_task INDEXED BY votive_task_ready
        WHERE queue = ?1 AND state = 3 AND pinned IS NULL
    UNION ALL SELECT 1 FROM votive_task INDEXED BY votive_task_scheduled
        WHERE queue = ?1 AND state = 2 AND pinned IS NULL
    UNION ALL SELECT 1 FROM votive_task INDEXED BY votive_task_other
        WHERE queue = ?1 AND state = 1
    UNION ALL SELECT 1 FROM votive_task INDEXED BY votive_task_pinned
        WHERE pinned IS NOT NULL AND queue = ?1 AND state IN (2, 3)
    LIMIT ?2)";

/// Counts the pending tasks of a queue, up to `limit`.
pub(super) fn pending_count(connection: &Connection, queue: &str, limit: u64) -> Result<u64> {
    let mut select = connection.prepare_cached(PENDING_COUNT)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(select.query_row(params![queue, limit], |row| row.get(0))?)
}

/// Writes a mark, or removes it.
pub(super) fn set_mark(connection: &Connection, key: &str, value: Option<&[u8]>) -> Result<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO votive_mark (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])?,
        None => connection
            .prepare_cached("DELETE FROM votive_mark WHERE key = ?1")?
            .execute([key])?,
    };
    Ok(())
}
