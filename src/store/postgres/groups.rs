//! Groups: who holds their places, and who waits for one. Who changes that holds the lock of the group's name.
//! A claim takes none: it makes a Ready task a Claimed one, which holds the same place.

use super::error::Result;
use super::row::{TaskRow, column, id};
use super::session::Session;
use super::tasks;
use super::value::Value;
use crate::codec;
use crate::id::TaskId;
use crate::task::{Options, Record, State};

/// The tasks of the group `$1` that nothing but the group holds back.
macro_rules! waiting {
    () => {
        " FROM @.task t WHERE t.group_key = $1 AND t.state = 1 AND t.pinned IS NULL
              AND NOT EXISTS (SELECT 1 FROM @.prerequisite q WHERE q.task = t.id)"
    };
}

/// Whether a task that goes on now has to wait for its group: the places are taken, or somebody is before it,
/// or may be.
pub(super) fn is_busy(session: &mut dyn Session, record: &Record) -> Result<bool> {
    let Some(group) = &record.options.group else {
        return Ok(false);
    };
    session.exists(
        concat!(
            "SELECT 1 WHERE (SELECT count(*) FROM (
                     SELECT 1 FROM @.task h WHERE h.group_key = $1 AND h.state = 3 AND h.id <> $2
                     LIMIT $3) holders) >= $3
                 OR EXISTS (SELECT 1",
            waiting!(),
            ")"
        ),
        vec![
            group.clone().into(),
            record.id.into(),
            record.options.places().into(),
        ],
    )
}

/// Returns the first that waits for nothing but the group, and keeps it from others.
pub(super) fn first_waiting(session: &mut dyn Session, group: &str) -> Result<Option<TaskRow>> {
    loop {
        let row = session.first(
            concat!("SELECT t.id", waiting!(), " ORDER BY t.rank, t.seq LIMIT 1"),
            vec![group.into()],
        )?;
        let Some(row) = row else { return Ok(None) };
        let first = TaskId::from_bytes(id(&row, 0)?);
        tasks::lock(session, &[first])?;
        match tasks::find(session, first)? {
            // Somebody who does not hold the group's name may have removed it meanwhile.
            Some(row) if row.record.state == State::Waiting => return Ok(Some(row)),
            _ => {}
        }
    }
}

/// Counts the tasks of a group that are Ready or Claimed, up to a limit.
pub(super) fn count_holders(session: &mut dyn Session, group: &str, limit: u32) -> Result<usize> {
    let row = session.first(
        "SELECT count(*) FROM (
             SELECT 1 FROM @.task t WHERE t.group_key = $1 AND t.state = 3 LIMIT $2) holders",
        vec![group.into(), limit.into()],
    )?;
    let count = row.map(|row| column::<i64>(&row, 0)).transpose()?;
    Ok(usize::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// Finds the last task of a group that is Ready, if it comes after another one, and keeps it from being
/// claimed. One that is being claimed is passed over.
pub(super) fn last_ready_behind(
    session: &mut dyn Session,
    group: &str,
    first: &TaskRow,
) -> Result<Option<TaskRow>> {
    let row = session.first(
        "SELECT t.id FROM @.task t CROSS JOIN LATERAL (
             SELECT 1 FROM @.ready r WHERE r.queue = t.queue AND r.rank = t.rank AND r.first = t.seq
             LIMIT 1 FOR UPDATE SKIP LOCKED) r
         WHERE t.group_key = $1 AND t.state = 3 AND (t.rank, t.seq) > ($2, $3)
         ORDER BY t.rank DESC, t.seq DESC LIMIT 1",
        vec![group.into(), first.rank.into(), first.seq.into()],
    )?;
    match row {
        Some(row) => tasks::find(session, TaskId::from_bytes(id(&row, 0)?)),
        None => Ok(None),
    }
}

/// Returns the groups of which more tasks are Ready or Claimed than any of these allows.
pub(super) fn overfull(session: &mut dyn Session) -> Result<Vec<String>> {
    let groups = session.query(
        "SELECT group_key FROM @.task WHERE group_key IS NOT NULL AND state = 3
         GROUP BY group_key HAVING count(*) > 1",
        Vec::new(),
    )?;
    let mut overfull = Vec::new();
    for row in &groups {
        let group: String = column(row, 0)?;
        let rows = session.query(
            "SELECT options FROM @.task WHERE group_key = $1 AND state = 3",
            vec![Value::from(group.as_str())],
        )?;
        let places = rows.iter().map(|row| {
            let options = codec::decode::<Options>(column::<&[u8]>(row, 0)?)?;
            Ok(options.places() as usize)
        });
        let places = places.collect::<Result<Vec<_>>>()?;
        if places.iter().all(|most| places.len() > *most) {
            overfull.push(group);
        }
    }
    Ok(overfull)
}
