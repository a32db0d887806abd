//! Claims: which tasks, in which order, and how they become the claimer's.
//!
//! Everything here is an index seek: what a claim costs depends on what it takes, not on what waits.

use std::collections::BTreeSet;

use rusqlite::{Connection, Statement, params};

use super::error::Result;
use super::groups;
use super::look::{self, Seen};
use super::row::{Bytes, Sql, TaskRow, columns, limit};
use super::statements::Statements;
use super::tasks;
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::lifecycle::{self, Fate};
use crate::store::rules;
use crate::store::{Arrival, Claim, ClaimRequest, Want};
use crate::task::{Record, State};
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

/// The tasks of a queue whose time has come, those first that have waited longest.
pub(super) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM votive_task INDEXED BY votive_task_scheduled
      WHERE queue = ?1 AND state = 2 AND pinned IS NULL AND not_before <= ?2
      ORDER BY not_before, seq LIMIT ?3"
);

const HELD: &str = concat!(
    "SELECT ",
    columns!(),
    ", payload FROM votive_task INDEXED BY votive_task_claimed
      WHERE holder = ?1 AND queue = ?2 AND state = 4 AND pinned IS NULL
      ORDER BY rank, seq LIMIT ?3"
);

const TAKE: &str = "UPDATE votive_task SET state = ?2, holder = ?3, token = ?4, holder_name = ?5,
    claimed_at = ?6, reclaims = ?7 WHERE seq = ?1";

/// Whether a claim on a queue would find something, but for what the departed hold.
pub(super) fn is_ready(connection: &Connection, queue: &str, now: Timestamp) -> Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM votive_task INDEXED BY votive_task_ready
                        WHERE queue = ?1 AND state = 3 AND pinned IS NULL)",
    )?;
    Ok(select.query_row([queue], |row| row.get(0))? || is_due(connection, queue, now)?)
}

/// Whether the time of a task of a queue has come.
pub(super) fn is_due(connection: &Connection, queue: &str, now: Timestamp) -> Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM votive_task INDEXED BY votive_task_scheduled
                        WHERE queue = ?1 AND state = 2 AND pinned IS NULL AND not_before <= ?2)",
    )?;
    Ok(select.query_row(params![queue, now.as_micros()], |row| row.get(0))?)
}

/// Returns the first tasks of a queue that may be claimed.
pub(super) fn ready(connection: &Connection, queue: &str, count: usize) -> Result<Vec<TaskRow>> {
    let mut select = connection.prepare_cached(READY)?;
    let rows = select.query_and_then(params![queue, limit(count)], |row| {
        TaskRow::read(row, Bytes::Read)
    })?;
    rows.collect()
}

/// Returns when the next scheduled task of a queue is due.
pub(super) fn next_due_at(connection: &Connection, queue: &str) -> Result<Option<Timestamp>> {
    let mut select = connection.prepare_cached(
        "SELECT min(not_before) FROM votive_task INDEXED BY votive_task_scheduled
         WHERE queue = ?1 AND state = 2 AND pinned IS NULL",
    )?;
    let micros: Option<i64> = select.query_row([queue], |row| row.get(0))?;
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

/// Claims what `request` wants, taking back what the `departed` hold. What was `seen` spares reading.
pub(super) fn claim(
    connection: &Statements<'_>,
    request: &ClaimRequest,
    seen: &Seen,
    departed: &BTreeSet<Incarnation>,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for (want, head) in request.wants.iter().zip(seen.heads()) {
        // Those whose time has come, and those of the departed, have their places among the others.
        let is_head = !make_due_ready(connection, want, now)? && departed.is_empty();
        let head = if is_head { head } else { &[] };
        let mut taken = look::take(connection, head, &request.consumer, now)?;
        let rest = Want {
            count: want.count - taken.len(),
            ..want.clone()
        };
        taken.extend(take(connection, &rest, departed, (&request.consumer, now))?);
        for claim in &taken {
            if !lifecycle::holds_key(&claim.record) {
                tasks::free_key(connection, &claim.record)?;
            }
        }
        claims.append(&mut taken);
    }
    Ok(claims)
}

/// Makes those Ready whose time has come; returns whether there were any.
fn make_due_ready(connection: &Statements<'_>, want: &Want, now: Timestamp) -> Result<bool> {
    let limit = limit(want.count.max(DUE_MAX));
    let due = connection
        .prepare_cached(DUE)?
        .query_and_then(params![want.queue, now.as_micros(), limit], |row| {
            TaskRow::read(row, Bytes::Left)
        })?
        .collect::<Result<Vec<_>>>()?;
    let any = !due.is_empty();
    let mut tables = connection;
    for mut row in due {
        let group_busy = groups::is_busy(connection, &row.record)?;
        lifecycle::due(&mut row.record, group_busy, now)?;
        rules::keep(&mut tables, State::Scheduled, &row, Fate::Stays, now)?;
    }
    Ok(any)
}

/// Takes the first of those that are Ready and those that the departed hold, in one order.
fn take(
    connection: &Connection,
    want: &Want,
    departed: &BTreeSet<Incarnation>,
    (consumer, now): (&ConsumerId, Timestamp),
) -> Result<Vec<Claim>> {
    if want.count == 0 {
        return Ok(Vec::new());
    }
    let mut update = connection.prepare_cached(TAKE)?;
    let rows = candidates(connection, want, departed)?.into_iter();
    rows.map(|row| take_row(&mut update, row, consumer, now))
        .collect()
}

fn candidates(
    connection: &Connection,
    want: &Want,
    departed: &BTreeSet<Incarnation>,
) -> Result<Vec<TaskRow>> {
    let mut rows = ready(connection, &want.queue, want.count)?;
    for holder in departed {
        let held = params![Sql(*holder), want.queue, limit(want.count)];
        let mut select = connection.prepare_cached(HELD)?;
        for row in select.query_and_then(held, |row| TaskRow::read(row, Bytes::Read))? {
            rows.push(row?);
        }
    }
    rows.sort_by_key(|row| (row.rank, row.seq));
    rows.truncate(want.count);
    Ok(rows)
}

fn take_row(
    update: &mut Statement<'_>,
    mut row: TaskRow,
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<Claim> {
    let reclaimed = row.claim.is_some();
    let record = &mut row.record;
    if reclaimed {
        lifecycle::reclaim(record)?;
    }
    lifecycle::claim(record)?;
    let token = Token::next(consumer.incarnation);
    update.execute(params![
        row.seq,
        Sql(record.state),
        Sql(token.incarnation),
        token.count.cast_signed(),
        consumer.name,
        now.as_micros(),
        record.counts.reclaims,
    ])?;
    Ok(claimed(row.record, token, reclaimed, now))
}

/// Says how a task comes that was claimed.
pub(super) fn claimed(record: Record, token: Token, reclaimed: bool, now: Timestamp) -> Claim {
    let expired = record.options.expires_at.is_some_and(|at| at <= now);
    let arrival = match (expired, reclaimed) {
        (true, _) => Arrival::Expired,
        (false, true) => Arrival::Reclaimed,
        (false, false) => Arrival::Fresh,
    };
    Claim {
        record,
        token,
        arrival,
    }
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
                    conflicts, reclaims, enqueued_at, published_at, options, plain, format, version, payload)
                 SELECT CAST(printf('%016d', 10 * n + s) AS BLOB), 'default', 'noop', s, n, 1000 + n, 0,
                    0, 0, 0, 0, x'{options}', 1, 0, 0, zeroblob(100) FROM n, s",
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

    /// Claims ten tasks; `meanwhile` something happens between looking and taking.
    fn claim_at(connection: &Connection, micros: i64, meanwhile: &str) -> Vec<Claim> {
        let (request, departed) = (request(), BTreeSet::new());
        let now = Timestamp::from_micros(micros);
        let seen = look::look(connection, &request, &departed, now).unwrap();
        connection.execute_batch(meanwhile).unwrap();
        let statements = Statements::new(connection);
        claim(&statements, &request, &seen.unwrap(), &departed, now).unwrap()
    }

    /// The steps of SQLite's virtual machine that a claim of ten tasks takes, five of which are due, and one of ten
    /// that are not.
    fn steps(connection: &Connection) -> i32 {
        for micros in [1_005, 0] {
            assert_eq!(claim_at(connection, micros, "").len(), 10);
        }
        let steps = |sql| {
            let statement = connection.prepare_cached(sql).unwrap();
            statement.get_status(StatementStatus::VmStep)
        };
        steps(READY) + steps(DUE) + steps(TAKE) + steps(look::TAKE)
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
    fn what_has_changed_since_it_was_seen_is_read_again() {
        const FIRST: &str = "WHERE rank = 1 AND state = 3";
        for change in [
            "UPDATE votive_task SET attempts = 1, progress = 'half' ",
            "UPDATE votive_task SET conflicts = 1 ",
            "UPDATE votive_task SET reclaims = 1 ",
            "UPDATE votive_task SET progress = 'half' ",
            "UPDATE votive_task SET not_before = 7 ",
            "UPDATE votive_task SET queue = 'other' ",
            "UPDATE votive_task SET pinned = zeroblob(16) ",
            "UPDATE votive_task SET state = 6 ",
            "UPDATE votive_task SET id = zeroblob(16) ",
            "DELETE FROM votive_task ",
        ] {
            let (_folder, connection) = backlog(20);
            connection
                .execute("UPDATE votive_task SET not_before = NULL", [])
                .unwrap();
            let claims = claim_at(&connection, 0, &[change, FIRST].concat());
            assert_eq!(claims.len(), 10, "{change}");
            for Claim { record, token, .. } in claims {
                let row = tasks::find(&connection, record.id, Bytes::Read)
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    (&row.record, &*record.queue),
                    (&record, "default"),
                    "{change}"
                );
                assert_eq!(row.claim.unwrap().token, token);
            }
        }
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
