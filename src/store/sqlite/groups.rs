//! Groups: who holds their places, and who waits for one.

use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Result;
use super::row::{Bytes, Sql, TaskRow, columns, options};
use super::statements::Statements;
use super::sweep::Table;
use crate::id::TaskId;
use crate::store::Settlement;
use crate::task::Record;
use crate::time::Timestamp;

/// The tasks of the group `?1` that nothing but the group holds back.
macro_rules! waiting {
    () => {
        " FROM votive_member WHERE group_name = ?1 AND place = 0 AND pinned IS NULL
          AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_member.id)"
    };
}

/// Whether a task that goes on now has to wait for its group: the places are taken, or somebody is before it,
/// or may be.
pub(super) fn is_busy(connection: &Connection, record: &Record) -> Result<bool> {
    let Some(group) = &record.options.group else {
        return Ok(false);
    };
    let mut select = connection.prepare_cached(concat!(
        "SELECT (SELECT count(*) FROM (
                     SELECT 1 FROM votive_member WHERE group_name = ?1 AND place = 1 AND id <> ?2
                     LIMIT ?3)) >= ?3
             OR EXISTS (SELECT 1",
        waiting!(),
        ")"
    ))?;
    let values = params![group, Sql(record.id), record.options.places()];
    Ok(select.query_row(values, |row| row.get(0))?)
}

/// Returns the first that waits for nothing but the group. One before it that is damaged is to be claimed, and
/// [set aside](super::claim), without its group.
pub(super) fn first_waiting(connection: &Connection, group: &str) -> Result<Option<TaskRow>> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        waiting!(),
        " ORDER BY rank, seq LIMIT 1"
    ))?;
    loop {
        let mut rows = select.query([group])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        match TaskRow::read(row, Bytes::Left) {
            Err(fault) if fault.is_damaged() => {
                tracing::error!(?fault, group, "a task that is damaged leaves its group");
                let leave =
                    "UPDATE votive_task SET state = 3, place = 1, group_id = NULL WHERE seq = ?1";
                connection.execute(leave, [row.get::<_, i64>(0)?])?;
            }
            read => return read.map(Some),
        }
    }
}

/// The group that a task is in.
pub(super) fn name_of_member(connection: &Connection, seq: i64) -> Result<Option<String>> {
    let mut select =
        connection.prepare_cached("SELECT group_name FROM votive_member WHERE seq = ?1")?;
    Ok(select.query_row([seq], |row| row.get(0)).optional()?)
}

/// Counts the tasks of a group that are Ready or Claimed, up to a limit.
pub(super) fn count_holders(connection: &Connection, group: &str, limit: u32) -> Result<usize> {
    let mut select = connection.prepare_cached(
        "SELECT count(*) FROM (
             SELECT 1 FROM votive_member WHERE group_name = ?1 AND place = 1 LIMIT ?2)",
    )?;
    Ok(select.query_row(params![group, limit], |row| row.get(0))?)
}

/// Returns the last task of a group that is Ready, if it comes after another one.
pub(super) fn last_ready_behind(
    connection: &Connection,
    group: &str,
    first: &TaskRow,
) -> Result<Option<TaskRow>> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM votive_member WHERE group_name = ?1 AND place = 1 AND state = 3 AND pinned IS NULL
          AND (rank, seq) > (?2, ?3) ORDER BY rank DESC, seq DESC LIMIT 1"
    ))?;
    let mut rows = select.query(params![group, first.rank, first.seq])?;
    let last = rows.next()?;
    last.map(|row| TaskRow::read(row, Bytes::Left)).transpose()
}

/// Has the group of a new task have an id, if it has none.
pub(super) fn open(connection: &Statements<'_>, record: &Record) -> Result<()> {
    if let Some(group) = &record.options.group {
        connection.run(OPEN, params![group, new_id(record.id, group)])?;
    }
    Ok(())
}

/// Gives the group `?1` the id `?2`, if it has none.
pub(super) const OPEN: &str =
    "INSERT INTO votive_group (name, id) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";

/// An id for a group that begins with this task. It sorts as the ids of tasks do, so that groups that begin together
/// are neighbours, and it is no other group's, even if the id of the task was used before.
pub(super) fn new_id(first: TaskId, name: &str) -> [u8; 16] {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (u128::from_be_bytes(first.to_bytes()) ^ u128::from(hasher.finish())).to_be_bytes()
}

/// Deletes a claimed task if nothing but its group, and no other name, hangs on it. `false`, and nothing is changed, if
/// it is not so, if the claim is not the present one, or if the task is pinned.
pub(super) fn finish(connection: &Statements<'_>, settlement: &Settlement) -> Result<bool> {
    let deleted = connection.run(
        "DELETE FROM votive_task WHERE id = ?1 AND state = 4 AND holder = ?2 AND token = ?3
         AND pinned IS NULL AND plain = 2
         AND NOT EXISTS (SELECT 1 FROM votive_alias WHERE task = ?1)",
        params![
            Sql(settlement.task),
            Sql(settlement.token.incarnation),
            settlement.token.count.cast_signed(),
        ],
    )?;
    Ok(deleted == 1)
}

/// Who goes on when a task gives up its place in its group.
pub(super) enum Heir {
    /// Nobody waits for it.
    Nobody,
    /// This one, and nothing else changes.
    First(i64),
    /// The rules have to say it.
    Unusual,
}

/// Returns who goes on when this task, which has a place in its group, gives that up.
///
/// The rules have nothing to do before: if all places are taken that the first says there are, nobody behind it is
/// Ready. So it goes on then, and nothing else does if the next one says that there are as many places: that one comes
/// later still.
pub(super) fn heir(connection: &Statements<'_>, task: TaskId, now: Timestamp) -> Result<Heir> {
    let mut select = connection.prepare_cached(FIRST_TWO)?;
    let mut rows = select.query(params![Sql(task), now.as_micros()])?;
    let mut heir = Heir::Nobody;
    while let Some(row) = rows.next()? {
        let is_usual: bool = row.get(1)?;
        if !is_usual {
            return Ok(Heir::Unusual);
        }
        if let Heir::Nobody = heir {
            heir = Heir::First(row.get(0)?);
        }
    }
    Ok(heir)
}

/// The first two that wait for nothing but the group of the task `?1`, and whether at `?2` they are as they usually
/// are.
const FIRST_TWO: &str = "\
SELECT seq, (not_before IS NULL OR not_before <= ?2) AND places = (
    SELECT count(*) FROM votive_task
    WHERE group_id = (SELECT group_id FROM votive_task WHERE id = ?1) AND place = 1)
FROM votive_task
WHERE group_id = (SELECT group_id FROM votive_task WHERE id = ?1) AND place = 0 AND pinned IS NULL
    AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_task.id)
ORDER BY rank, seq LIMIT 2";

/// Has a task that waited for a place in its group have it.
pub(super) fn go_on(connection: &Statements<'_>, seq: i64) -> Result<()> {
    let sql = "UPDATE votive_task SET state = 3, place = 1 WHERE seq = ?1";
    connection.run(sql, [seq])?;
    Ok(())
}

/// Has a task that cannot be read go on if it waits for nothing any more, and is the first of its group, if it has one,
/// and finds a place there: its columns tell that.
pub(super) fn go_on_unread(connection: &Statements<'_>, seq: i64, now: Timestamp) -> Result<()> {
    connection.run(GO_ON_UNREAD, [seq, now.as_micros()])?;
    Ok(())
}

const GO_ON_UNREAD: &str = "\
UPDATE votive_task SET state = iif(not_before > ?2, 2, 3), place = iif(not_before > ?2, 2, 1)
WHERE seq = ?1 AND state = 1 AND pinned IS NULL
    AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_task.id)
    AND (group_id IS NULL
        OR places > (SELECT count(*) FROM votive_task o WHERE o.group_id = votive_task.group_id AND o.place = 1)
        AND NOT EXISTS (
            SELECT 1 FROM votive_task o WHERE o.group_id = votive_task.group_id AND o.place = 0 AND o.pinned IS NULL
                AND (o.rank, o.seq) < (votive_task.rank, votive_task.seq)
                AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = o.id)))";

/// The groups, of which those mean nothing in which no task is.
pub(super) const TABLE: Table = Table {
    last: "SELECT max(name) FROM votive_group",
    last_of_step: "SELECT name FROM votive_group WHERE name > ?1 AND name <= ?3
                   ORDER BY name LIMIT 1 OFFSET ?2",
    delete: "DELETE FROM votive_group WHERE name > ?1 AND name <= ?2
             AND NOT EXISTS (SELECT 1 FROM votive_task WHERE group_id = votive_group.id)",
};

/// Returns the groups of which more tasks are Ready or Claimed than any of these allows.
pub(super) fn overfull(connection: &Connection) -> Result<Vec<String>> {
    let mut overfull = Vec::new();
    let mut select = connection.prepare(
        "SELECT group_id FROM votive_task WHERE group_id IS NOT NULL AND place = 1
         GROUP BY group_id HAVING count(*) > 1",
    )?;
    let groups = select.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    for group in groups {
        let mut select = connection
            .prepare_cached("SELECT options FROM votive_task WHERE group_id = ?1 AND place = 1")?;
        let holders = select.query_and_then([group?], |row| options(row, 0))?;
        let holders = holders.collect::<Result<Vec<_>>>()?;
        if holders
            .iter()
            .all(|options| holders.len() > options.places() as usize)
        {
            overfull.extend(holders.first().and_then(|options| options.group.clone()));
        }
    }
    Ok(overfull)
}
