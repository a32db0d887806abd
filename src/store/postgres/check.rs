//! What is wrong with a store, a line each.

use super::error::Result;
use super::groups;
use super::row::column;
use super::session::Session;

/// Questions whose every answer is a complaint.
const COMPLAINTS: [(&str, &str); 11] = [
    (
        "is neither waiting, scheduled, ready, claimed, done, dead nor cancelled",
        "SELECT encode(id, 'hex') FROM @.task WHERE state NOT IN (1, 2, 3, 5, 6, 7)",
    ),
    (
        "is claimed twice, or in another queue",
        "SELECT encode(t.id, 'hex') FROM @.claim c
         JOIN @.task t ON t.seq BETWEEN c.first AND c.last AND t.fence < c.number AND t.state = 3
         GROUP BY t.id, t.queue HAVING count(*) > 1 OR min(c.queue) <> t.queue",
    ),
    (
        "is in the line although it is not ready, or is in another place",
        "SELECT s.seq::text FROM @.ready r, pg_catalog.generate_series(r.first, r.last) AS s (seq)
         WHERE NOT EXISTS (
             SELECT 1 FROM @.task t WHERE t.seq = s.seq AND t.state = 3 AND t.queue = r.queue
                 AND t.rank = r.rank AND t.pinned IS NULL AND (t.hangs = 0 OR r.first = r.last)
                 AND NOT EXISTS (SELECT 1 FROM @.claim c WHERE t.seq BETWEEN c.first AND c.last
                                 AND t.fence < c.number))",
    ),
    (
        "is ready but not in the line",
        "SELECT encode(t.id, 'hex') FROM @.task t WHERE t.state = 3 AND t.pinned IS NULL
         AND NOT EXISTS (SELECT 1 FROM @.ready r WHERE r.queue = t.queue AND r.rank = t.rank
                         AND t.seq BETWEEN r.first AND r.last)
         AND NOT EXISTS (SELECT 1 FROM @.claim c WHERE t.seq BETWEEN c.first AND c.last
                         AND t.fence < c.number)",
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
