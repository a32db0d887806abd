//! Groups: who holds their places, and who waits for one.

use rusqlite::{Connection, params};

use super::error::Result;
use super::row::{Bytes, Sql, TaskRow, columns};
use crate::codec;
use crate::task::{Options, Record};

/// The tasks of the group `?1` that nothing but the group holds back.
macro_rules! waiting {
    () => {
        " FROM votive_task WHERE group_key = ?1 AND state = 1 AND pinned IS NULL
          AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_task.id)"
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
                     SELECT 1 FROM votive_task WHERE group_key = ?1 AND state IN (3, 4) AND id <> ?2
                     LIMIT ?3)) >= ?3
             OR EXISTS (SELECT 1",
        waiting!(),
        ")"
    ))?;
    let values = params![group, Sql(record.id), record.options.places()];
    Ok(select.query_row(values, |row| row.get(0))?)
}

/// Returns the first that waits for nothing but the group.
pub(super) fn first_waiting(connection: &Connection, group: &str) -> Result<Option<TaskRow>> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        waiting!(),
        " ORDER BY rank, seq LIMIT 1"
    ))?;
    let mut rows = select.query([group])?;
    let first = rows.next()?;
    first.map(|row| TaskRow::read(row, Bytes::Left)).transpose()
}

/// Counts the tasks of a group that are Ready or Claimed, up to a limit.
pub(super) fn count_holders(connection: &Connection, group: &str, limit: u32) -> Result<usize> {
    let mut select = connection.prepare_cached(
        "SELECT count(*) FROM (
             SELECT 1 FROM votive_task WHERE group_key = ?1 AND state IN (3, 4) LIMIT ?2)",
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
        " FROM votive_task WHERE group_key = ?1 AND state = 3 AND pinned IS NULL
          AND (rank, seq) > (?2, ?3) ORDER BY rank DESC, seq DESC LIMIT 1"
    ))?;
    let mut rows = select.query(params![group, first.rank, first.seq])?;
    let last = rows.next()?;
    last.map(|row| TaskRow::read(row, Bytes::Left)).transpose()
}

/// Returns the groups of which more tasks are Ready or Claimed than any of these allows.
pub(super) fn overfull(connection: &Connection) -> Result<Vec<String>> {
    let mut overfull = Vec::new();
    let mut select = connection.prepare(
        "SELECT group_key FROM votive_task WHERE group_key IS NOT NULL AND state IN (3, 4)
         GROUP BY group_key HAVING count(*) > 1",
    )?;
    let groups = select.query_map([], |row| row.get::<_, String>(0))?;
    for group in groups {
        let group = group?;
        let mut select = connection.prepare_cached(
            "SELECT options FROM votive_task WHERE group_key = ?1 AND state IN (3, 4)",
        )?;
        let places = select.query_and_then([&group], |row| -> Result<_> {
            Ok(codec::decode::<Options>(&row.get::<_, Vec<u8>>(0)?)?.places())
        })?;
        let places = places.collect::<Result<Vec<_>>>()?;
        if places.iter().all(|most| places.len() > *most as usize) {
            overfull.push(group);
        }
    }
    Ok(overfull)
}
