//! What is wrong with a store, a line each.

use super::claim::{claim_of_task, holds_task};
use super::error::Result;
use super::groups;
use super::keys::holds_own_key;
use super::line::run_of_task;
use super::row::column;
use super::session::Session;

/// Questions whose every answer is a complaint. What is asked about each task is a scalar subquery, which is always a
/// seek: a join of so many rows would be planned for tables that look empty.
const COMPLAINTS: [(&str, &str); 11] = [
    (
        "is neither waiting, scheduled, ready, claimed, done, dead nor cancelled",
        "SELECT encode(id, 'hex') FROM @.task WHERE state NOT IN (1, 2, 3, 5, 6, 7)",
    ),
    (
        "is claimed twice, or in another queue",
        concat!(
            "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.state = 3
             AND (SELECT count(*) > 1 OR min(c.queue) <> t.queue FROM @.claim c WHERE ",
            holds_task!(),
            ")"
        ),
    ),
    (
        "is in the line although it is not ready, or is in another place",
        concat!(
            "SELECT s.seq::text FROM @.ready r, pg_catalog.generate_series(r.first, r.last) AS s (seq)
             WHERE (SELECT 1 FROM @.task t WHERE t.seq = s.seq AND t.state = 3 AND t.queue = r.queue
                 AND t.rank = r.rank AND t.pinned IS NULL AND (t.hangs IN (0, 1) OR r.first = r.last)
                 AND (SELECT c.number FROM ",
            claim_of_task!(),
            ") IS NULL) IS NULL"
        ),
    ),
    (
        "is ready but not in the line",
        concat!(
            "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.state = 3 AND t.pinned IS NULL
             AND (SELECT r.first FROM ",
            run_of_task!(),
            ") IS NULL AND (SELECT c.number FROM ",
            claim_of_task!(),
            ") IS NULL"
        ),
    ),
    (
        "holds claims and has no lease",
        "SELECT DISTINCT c.holder::text FROM @.claim c
         WHERE NOT EXISTS (SELECT 1 FROM @.lease l WHERE l.incarnation = c.holder)",
    ),
    (
        "is pinned by a transaction that is not in doubt",
        "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.pinned IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = t.pinned AND s.state = 0)",
    ),
    (
        "is a unique key that several tasks hold",
        concat!(
            "SELECT t.unique_key FROM @.task t WHERE t.unique_key IS NOT NULL AND ",
            holds_own_key!(),
            " GROUP BY t.unique_key HAVING count(*) > 1"
        ),
    ),
    (
        "is reserved by a transaction that is not in doubt",
        "SELECT r.name FROM @.reservation r
         WHERE NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = r.txn AND s.state = 0)",
    ),
    (
        "is announced by a transaction that is not in doubt",
        "SELECT encode(a.id, 'hex') FROM @.staged_task a
         WHERE NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = a.txn AND s.state = 0)",
    ),
    (
        "waits for tasks but is not there",
        "SELECT encode(q.task, 'hex') FROM @.prerequisite q
         WHERE NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = q.task)",
    ),
    (
        "has objects but is not there",
        "SELECT DISTINCT a.seq::text FROM @.about a
         WHERE NOT EXISTS (SELECT 1 FROM @.task t WHERE t.seq = a.seq)",
    ),
];

/// What is wrong with a group.
const OVERFULL: &str = "is the name of a group of which more tasks may run than it has places";

/// Asks the tables about each other.
pub(super) fn check(session: &mut dyn Session) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (what, sql) in COMPLAINTS {
        for row in session.query(sql, Vec::new())? {
            let name: &str = column(&row, 0)?;
            complaints.push(format!("{name} {what}"));
        }
    }
    let overfull = groups::overfull(session)?.into_iter();
    complaints.extend(overfull.map(|name| format!("{name} {OVERFULL}")));
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use votive_testbed::{Postgres, or_skip, postgres};

    use super::*;
    use crate::store::postgres::fixture::{WRITE, blocks_of, explain};
    use crate::store::postgres::{Options, PostgresStore};

    /// A server for one test: while it fills tables, those of other tests could not be vacuumed.
    fn server() -> Option<Postgres> {
        or_skip(Postgres::start(postgres::Options::default()))
    }

    /// A store of 3,000 tasks that are ready, of which the first `claimed` are claimed one by one.
    fn filled(server: &Postgres, schema: &str, claimed: i64) -> PostgresStore {
        let options = Options::default().schema(schema);
        let store = PostgresStore::open(&server.url(), options).unwrap();
        let filled = store.write(WRITE, |session| {
            session.execute(
                "INSERT INTO @.task (seq, rank, enqueued_at, published_at, version, attempts, conflicts, reclaims,
                     state, format, hangs, id, queue, kind, options, payload)
                 SELECT n, n, 0, 0, 0, 0, 0, 0, 3, 2, 0, decode(lpad(to_hex(n), 32, '0'), 'hex'),
                     'default', 'kind', '', ''
                 FROM generate_series(1, 3000) n",
                Vec::new(),
            )?;
            session.execute(
                "INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
                 SELECT n, 1, n, n, n, 0, 'default', 'web' FROM generate_series(1, $1) n",
                vec![claimed.into()],
            )?;
            session.execute(
                "INSERT INTO @.lease (incarnation, expires_at) VALUES (1, 9000000000000000)",
                Vec::new(),
            )?;
            session.execute(
                "INSERT INTO @.ready (queue, rank, first, last)
                 SELECT queue, rank, seq, seq FROM @.task WHERE seq > $1",
                vec![claimed.into()],
            )
        });
        filled.unwrap();
        assert_eq!(store.read(|session| check(session)).unwrap(), [""; 0]);
        store
    }

    /// The blocks that all questions touch.
    fn blocks(store: &PostgresStore) -> u64 {
        // They are few, and leaked once for the test.
        let explained = COMPLAINTS.map(|(_, sql)| &*explain(sql).leak());
        let touched = explained.map(|sql| blocks_of(store, sql, Vec::new()));
        touched.iter().sum()
    }

    #[test]
    fn a_check_touches_as_many_blocks_however_many_are_claimed() {
        let Some(server) = server() else { return };
        let few = blocks(&filled(&server, "few", 10));
        let many = blocks(&filled(&server, "many", 2_000));
        eprintln!("blocks of a check: {few} with 10 claims, {many} with 2,000");
        assert!(few > 3_000 && many < few * 3, "{few} became {many}");
    }

    #[test]
    fn a_check_finds_what_is_wrong_with_claims_and_the_line() {
        let Some(server) = server() else { return };
        let store = filled(&server, "damaged", 10);
        let damages = [
            (
                "DELETE FROM @.ready WHERE first = 11",
                "is ready but not in the line",
            ),
            (
                "DELETE FROM @.task WHERE seq = 12",
                "is in the line although",
            ),
            (
                "INSERT INTO @.ready (queue, rank, first, last) VALUES ('default', 9, 9, 9)",
                "is in the line although",
            ),
            (
                "INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
                 VALUES (99, 1, 99, 8, 8, 0, 'default', 'web')",
                "is claimed twice",
            ),
            (
                "UPDATE @.claim SET queue = 'other' WHERE first = 7",
                "in another queue",
            ),
            ("DELETE FROM @.lease", "holds claims and has no lease"),
            (
                "UPDATE @.task SET unique_key = 'key', hangs = 1 WHERE seq IN (20, 21)",
                "several tasks hold",
            ),
        ];
        for (damage, complaint) in damages {
            let mut complaints = Vec::new();
            let undone: Result<()> = store.write(WRITE, |session| {
                session.execute(damage, Vec::new())?;
                complaints = check(session)?;
                Err(crate::store::Kind::Conflict.into())
            });
            assert!(undone.is_err());
            let found = complaints.iter().filter(|found| found.contains(complaint));
            assert_eq!(found.count(), 1, "{damage}: {complaints:?}");
        }
    }
}
