//! What is wrong with a store, a line each.

use super::error::Result;
use super::groups;
use super::row::column;
use super::session::Session;

/// Of the claims of a ready task `t`. How long a run may be bounds the search, which would else go through all claims
/// that are older.
macro_rules! of_claims {
    ($what:literal) => {
        concat!(
            "(SELECT ",
            $what,
            " FROM @.claim c WHERE c.first > t.seq - 256 AND c.first <= t.seq AND c.last >= t.seq
                 AND t.fence < c.number)"
        )
    };
}

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
            "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.state = 3 AND ",
            of_claims!("count(*) > 1 OR min(c.queue) <> t.queue")
        ),
    ),
    (
        "is in the line although it is not ready, or is in another place",
        concat!(
            "SELECT s.seq::text FROM @.ready r, pg_catalog.generate_series(r.first, r.last) AS s (seq)
             WHERE (SELECT 1 FROM @.task t WHERE t.seq = s.seq AND t.state = 3 AND t.queue = r.queue
                 AND t.rank = r.rank AND t.pinned IS NULL AND (t.hangs = 0 OR r.first = r.last)
                 AND ",
            of_claims!("max(1)"),
            " IS NULL) IS NULL"
        ),
    ),
    (
        "is ready but not in the line",
        concat!(
            "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.state = 3 AND t.pinned IS NULL
             AND (SELECT 1 FROM @.ready r WHERE r.queue = t.queue AND r.rank = t.rank
                  AND r.first > t.seq - 128 AND r.first <= t.seq AND r.last >= t.seq LIMIT 1) IS NULL
             AND ",
            of_claims!("max(1)"),
            " IS NULL"
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
        "is a unique key held by a task that is gone or has ended",
        "SELECT u.key FROM @.unique_key u
         WHERE NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = u.id AND t.state IN (1, 2, 3))",
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

    /// The blocks that all questions touch, with so many ready tasks behind a thousand that are claimed one by one.
    fn blocks(server: &Postgres, schema: &str, count: i64) -> u64 {
        let options = Options::default().schema(schema);
        let store = PostgresStore::open(&server.url(), options).unwrap();
        let filled = store.write(WRITE, |session| {
            session.execute(
                "INSERT INTO @.task (seq, rank, enqueued_at, published_at, version, attempts, conflicts, reclaims,
                     state, format, hangs, id, queue, kind, options, payload)
                 SELECT n, n, 0, 0, 0, 0, 0, 0, 3, 2, 0, decode(lpad(to_hex(n), 32, '0'), 'hex'),
                     'default', 'kind', '', ''
                 FROM generate_series(1, 1000 + $1) n",
                vec![count.into()],
            )?;
            session.execute(
                "INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
                 SELECT n, 1, n, n, n, 0, 'default', 'web' FROM generate_series(1, 1000) n",
                Vec::new(),
            )?;
            session.execute(
                "INSERT INTO @.lease (incarnation, expires_at) VALUES (1, 9000000000000000)",
                Vec::new(),
            )?;
            session.execute(
                "INSERT INTO @.ready (queue, rank, first, last)
                 SELECT queue, rank, seq, seq FROM @.task WHERE seq > 1000",
                Vec::new(),
            )
        });
        filled.unwrap();
        assert_eq!(store.read(|session| check(session)).unwrap(), [""; 0]);
        // They are few, and leaked once for the test.
        let explained = COMPLAINTS.map(|(_, sql)| &*explain(sql).leak());
        let touched = explained.map(|sql| blocks_of(&store, sql, Vec::new()));
        touched.iter().sum()
    }

    #[test]
    fn a_check_touches_as_many_blocks_for_a_task_whatever_is_claimed() {
        // Of its own: while it fills tables, those of other tests could not be vacuumed.
        let Some(server) = or_skip(Postgres::start(postgres::Options::default())) else {
            return;
        };
        let few = blocks(&server, "few", 1_000);
        let many = blocks(&server, "many", 9_000);
        eprintln!("blocks of a check: {few} with 2,000 tasks, {many} with 10,000");
        assert!(few > 2_000 && many < few * 6, "{few} became {many}");
    }
}
