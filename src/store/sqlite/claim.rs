//! Claims: which tasks, in which order, and how they become the claimer's.
//!
//! Everything here is an index seek: what a claim costs depends on what it takes, not on what waits. Only what is due
//! and of a newer version is walked over.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::error::{Fault, Result};
use super::groups;
use super::row::{Bytes, Found, Sql, TaskRow, Unread, columns, limit, not_newer};
use super::statements::Statements;
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::lifecycle::{self, Fate};
use crate::store::rules;
use crate::store::{Arrival, Claim, ClaimRequest, Want};
use crate::task::State;
use crate::time::Timestamp;

/// How many tasks whose time has come one claim makes Ready at least: a bound on how long it takes.
const DUE_MAX: usize = 1_000;

/// The first tasks of a queue that may be claimed.
pub(super) const READY: &str = concat!(
    "SELECT ",
    columns!(),
    ", payload FROM votive_task INDEXED BY votive_task_ready
      WHERE queue = ?1 AND state = 3 AND pinned IS NULL ORDER BY rank, seq LIMIT ?2"
);

/// The tasks of a queue whose time has come, but those of a newer version.
macro_rules! due {
    () => {
        concat!(
            " FROM votive_task INDEXED BY votive_task_scheduled
              WHERE queue = ?1 AND state = 2 AND pinned IS NULL AND not_before <= ?2 AND ",
            not_newer!()
        )
    };
}

/// The same, those first that have waited longest.
pub(super) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    due!(),
    " ORDER BY not_before, seq LIMIT ?3"
);

const HELD: &str = concat!(
    "SELECT ",
    columns!(),
    ", payload FROM votive_task INDEXED BY votive_task_claimed
      WHERE holder = ?1 AND queue = ?2 AND state = 4 AND pinned IS NULL
      ORDER BY rank, seq LIMIT ?3"
);

const TAKE: &str = "UPDATE votive_task SET state = ?2, holder = ?3, token = ?4, holder_name = ?5,
    claimed_at = ?6, reclaims = ?7, held_key = CASE WHEN ?8 THEN held_key ELSE 0 END WHERE seq = ?1";

/// Takes the first `?2` that are Ready in a queue. Their tokens count from `?4` by their sequences.
const TAKE_ALL: &str =
    "UPDATE votive_task SET state = 4, holder = ?3, token = ?4 + seq, holder_name = ?5,
    claimed_at = ?6, held_key = 0
    WHERE seq IN (SELECT seq FROM votive_task INDEXED BY votive_task_ready
        WHERE queue = ?1 AND state = 3 AND pinned IS NULL ORDER BY rank, seq LIMIT ?2)";

const SET_ASIDE: &str =
    "UPDATE votive_task SET state = 4, place = 1, holder = ?2, token = ?3, holder_name = ?4,
    claimed_at = ?5 WHERE seq = ?1";

const GIVE_UP: &str = "UPDATE votive_task SET held_key = 0, group_id = NULL WHERE seq = ?1";

/// Whether a claim on a queue would find something, but for what the departed hold.
pub(super) fn is_ready(connection: &Connection, queue: &str, now: Timestamp) -> Result<bool> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT EXISTS (SELECT 1 FROM votive_task INDEXED BY votive_task_ready
                        WHERE queue = ?1 AND state = 3 AND pinned IS NULL)
             OR EXISTS (SELECT 1",
        due!(),
        ")"
    ))?;
    Ok(select.query_row(params![queue, now.as_micros()], |row| row.get(0))?)
}

/// Returns when the next scheduled task of a queue becomes due. One that is due already is ready, or left for a newer
/// version.
pub(super) fn next_due_at(
    connection: &Connection,
    queue: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let mut select = connection.prepare_cached(
        "SELECT min(not_before) FROM votive_task INDEXED BY votive_task_scheduled
         WHERE queue = ?1 AND state = 2 AND pinned IS NULL AND not_before > ?2",
    )?;
    let values = params![queue, now.as_micros()];
    let micros: Option<i64> = select.query_row(values, |row| row.get(0))?;
    Ok(micros.map(Timestamp::from_micros))
}

/// Returns who holds claims, by skipping from one holder to the next.
pub(super) fn holders(connection: &Connection) -> Result<BTreeSet<Incarnation>> {
    let mut select = connection.prepare_cached(
        "SELECT min(holder) FROM votive_task INDEXED BY votive_task_claimed
         WHERE state = 4 AND holder > ?1",
    )?;
    let mut holders = BTreeSet::new();
    let mut after = Some(i64::MIN);
    while let Some(last) = after {
        let next: Option<i64> = select.query_row([last], |row| row.get(0))?;
        holders.extend(next.map(|holder| Incarnation::from_u64(holder.cast_unsigned())));
        after = next;
    }
    Ok(holders)
}

/// Whether one of `holders` has a claim on a task of this queue that could be taken back.
pub(super) fn any_holds(
    connection: &Connection,
    holders: &BTreeSet<Incarnation>,
    queue: &str,
) -> Result<bool> {
    for holder in holders {
        if holds(connection, *holder, queue)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds(connection: &Connection, holder: Incarnation, queue: &str) -> Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM votive_task INDEXED BY votive_task_claimed
         WHERE holder = ?1 AND queue = ?2 AND state = 4 AND pinned IS NULL)",
    )?;
    Ok(select.query_row(params![Sql(holder), queue], |row| row.get(0))?)
}

/// Claims what `request` wants, taking back what the `departed` hold.
pub(super) fn claim(
    connection: &Statements<'_>,
    request: &ClaimRequest,
    departed: &BTreeSet<Incarnation>,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for want in &request.wants {
        let mut unread = make_due_ready(connection, want, now)?;
        let mut found = candidates(connection, want, departed)?;
        unread.append(&mut found.unread);
        for task in &unread {
            set_aside(connection, task, &request.consumer, now)?;
        }
        // A place in a group that was given up may have had others go on, or give way.
        if unread.iter().any(|task| task.is_damaged) {
            found = candidates(connection, want, departed)?;
        }
        begin(&mut found.rows)?;
        // What still cannot be read is left to the next claim, and is among the first.
        let span = span(&found.rows).filter(|_| found.unread.is_empty());
        let tokens = match span {
            Some(span) => take_together(connection, &found.rows, span, &request.consumer, now)?,
            None => take_one_by_one(connection, &found.rows, &request.consumer, now)?,
        };
        let found = found.rows.into_iter().zip(tokens);
        claims.extend(found.map(|(row, token)| claimed(row, token, now)));
    }
    Ok(claims)
}

/// Has the scheduled tasks whose time has come go on. Returns those that are damaged; what a newer version wrote stays
/// for that, which knows of its group: neither this nor a [look](is_ready) finds it.
fn make_due_ready(connection: &Statements<'_>, want: &Want, now: Timestamp) -> Result<Vec<Unread>> {
    let limit = limit(want.count.max(DUE_MAX));
    let mut select = connection.prepare_cached(DUE)?;
    let mut due = Found::default();
    due.add(
        select.query(params![want.queue, now.as_micros(), limit])?,
        Bytes::Left,
    )?;
    let mut tables = connection;
    for mut row in due.rows {
        let group_busy = groups::is_busy(connection, &row.record)?;
        lifecycle::due(&mut row.record, group_busy, now)?;
        rules::keep(&mut tables, State::Scheduled, &row, Fate::Stays, now)?;
    }
    Ok(due.unread)
}

/// Returns the first of those that are Ready and those that the departed hold, in one order.
fn candidates(
    connection: &Connection,
    want: &Want,
    departed: &BTreeSet<Incarnation>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut ready = connection.prepare_cached(READY)?;
    found.add(
        ready.query(params![want.queue, limit(want.count)])?,
        Bytes::Read,
    )?;
    for holder in departed {
        let mut held = connection.prepare_cached(HELD)?;
        let values = params![Sql(*holder), want.queue, limit(want.count)];
        found.add(held.query(values)?, Bytes::Read)?;
    }
    found.rows.sort_by_key(|row| (row.rank, row.seq));
    found.rows.truncate(want.count);
    Ok(found)
}

/// Claims a task that cannot be read, so that it does not keep those behind it from being run. It stays claimed, which
/// is known of it, until its consumer has departed and a newer one can read it; if it is damaged nobody ever can, and
/// others get its key and its place in a group.
fn set_aside(
    mut connection: &Statements<'_>,
    task: &Unread,
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<()> {
    let token = Token::next(consumer.incarnation);
    connection.prepare_cached(SET_ASIDE)?.execute(params![
        task.seq,
        Sql(token.incarnation),
        token.count.cast_signed(),
        consumer.name,
        now.as_micros(),
    ])?;
    if !task.is_damaged {
        return Ok(());
    }
    let group = groups::name_of_member(connection, task.seq)?;
    connection.prepare_cached(GIVE_UP)?.execute([task.seq])?;
    match group {
        Some(group) => rules::pass_on(&mut connection, &group, now),
        None => Ok(()),
    }
}

/// Has tasks that were found be Claimed, as far as their records go.
fn begin(rows: &mut [TaskRow]) -> Result<()> {
    for row in rows {
        if row.claim.is_some() {
            lifecycle::reclaim(&mut row.record)?;
        }
        lifecycle::claim(&mut row.record)?;
    }
    Ok(())
}

fn claimed(row: TaskRow, token: Token, now: Timestamp) -> Claim {
    Claim {
        arrival: Arrival::at_claim(&row.record.options, row.claim.is_some(), now),
        record: row.record,
        token,
    }
}

/// The sequences from the first to the last of tasks, if one statement claims them all: if they are several, none of
/// them is taken back from somebody or keeps its key, and a token for each number between is not too many.
fn span(rows: &[TaskRow]) -> Option<RangeInclusive<i64>> {
    const TOKENS_MAX: u64 = 1 << 20;
    let is_usual = |row: &TaskRow| row.claim.is_none() && !lifecycle::holds_key(&row.record);
    let first = rows.iter().map(|row| row.seq).min()?;
    let last = rows.iter().map(|row| row.seq).max()?;
    let is_possible =
        rows.len() > 1 && rows.iter().all(is_usual) && last.abs_diff(first) < TOKENS_MAX;
    is_possible.then_some(first..=last)
}

/// Claims tasks that are the first of their queue, and returns their tokens.
fn take_together(
    connection: &Statements<'_>,
    rows: &[TaskRow],
    span: RangeInclusive<i64>,
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<Vec<Token>> {
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let (first, last) = span.into_inner();
    let tokens = Token::next_of(consumer.incarnation, last.abs_diff(first) + 1);
    let count = connection.run(
        TAKE_ALL,
        params![
            &*row.record.queue,
            limit(rows.len()),
            Sql(tokens.incarnation),
            tokens.count.cast_signed() - first,
            consumer.name,
            now.as_micros(),
        ],
    )?;
    if count != rows.len() {
        let found = format!("{count} tasks are claimed where {} were found", rows.len());
        return Err(Fault::corrupt(found));
    }
    let token = |row: &TaskRow| Token {
        count: tokens.count + row.seq.abs_diff(first),
        ..tokens
    };
    Ok(rows.iter().map(token).collect())
}

fn take_one_by_one(
    connection: &Statements<'_>,
    rows: &[TaskRow],
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<Vec<Token>> {
    let take = |row: &TaskRow| {
        let token = Token::next(consumer.incarnation);
        connection.run(
            TAKE,
            params![
                row.seq,
                Sql(row.record.state),
                Sql(token.incarnation),
                token.count.cast_signed(),
                consumer.name,
                now.as_micros(),
                row.record.counts.reclaims,
                lifecycle::holds_key(&row.record),
            ],
        )?;
        Ok(token)
    };
    rows.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::sqlite::{Options, SqliteStore};

    /// A database with as many ready, scheduled, waiting and dead tasks each.
    fn backlog(count: u32) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA synchronous = OFF;
                 WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}),
                      s (s) AS (VALUES (1), (2), (3), (6))
                 INSERT INTO votive_task (id, queue, kind, state, rank, not_before, attempts,
                    conflicts, reclaims, enqueued_at, published_at, place, places, options, plain, held_key, format,
                    version, payload)
                 SELECT CAST(printf('%016d', 10 * n + s) AS BLOB), 'default', 'noop', s, n, 1000 + n, 0,
                    0, 0, 0, 0, CASE s WHEN 1 THEN 0 WHEN 3 THEN 1 ELSE 2 END, 1, x'{options}', 1, 0, 0, 0, zeroblob(100) FROM n, s",
                options = hex(&crate::codec::encode(&crate::task::Options::default()).unwrap()),
            ))
            .unwrap();
        (folder, connection)
    }

    fn hex(bytes: &[u8]) -> String {
        let digits =
            |byte: &u8| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]);
        String::from_utf8(bytes.iter().flat_map(digits).collect()).unwrap()
    }

    fn request() -> ClaimRequest {
        ClaimRequest {
            consumer: ConsumerId {
                incarnation: Incarnation::random(),
                name: "web-1".to_owned(),
            },
            wants: vec![Want {
                queue: "default".to_owned(),
                count: 10,
            }],
            lease: std::time::Duration::MAX,
        }
    }

    /// The steps of SQLite's virtual machine that a claim of ten tasks takes, five of which are due.
    fn steps(connection: &Connection) -> i32 {
        let now = Timestamp::from_micros(1_005);
        let statements = Statements::new(connection);
        let claims = claim(&statements, &request(), &BTreeSet::new(), now).unwrap();
        drop(statements);
        assert_eq!(claims.len(), 10);
        let steps = |sql| {
            let statement = connection.prepare_cached(sql).unwrap();
            statement.get_status(StatementStatus::VmStep)
        };
        steps(READY) + steps(DUE) + steps(TAKE_ALL)
    }

    /// From the root to the leaves of each index and of the table.
    fn depths(connection: &Connection) -> Vec<(String, i64)> {
        let mut select = connection
            .prepare(
                "SELECT name, max(length(path) - length(replace(path, '/', ''))) FROM dbstat
                 WHERE name LIKE 'votive_task%' GROUP BY name ORDER BY name",
            )
            .unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(|row| row.unwrap()).collect()
    }

    #[test]
    fn what_is_due_already_wakes_nobody_again() {
        let (_folder, connection) = backlog(10);
        let next = |now| next_due_at(&connection, "default", Timestamp::from_micros(now));
        let expected = Timestamp::from_micros(1_006);
        assert_eq!(next(1_005).unwrap(), Some(expected));
        assert_eq!(next(1_010).unwrap(), None);
    }

    #[test]
    fn a_claim_takes_the_same_steps_whatever_the_backlog() {
        let (_few, few) = backlog(1_000);
        let (_many, many) = backlog(250_000);
        assert_eq!(steps(&few), steps(&many));
        for ((name, low), (_, high)) in depths(&few).iter().zip(depths(&many)) {
            assert!(high - low <= 2, "{name} grew from {low} to {high} levels");
        }
    }
}
