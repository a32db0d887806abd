//! What is wrong with a store, a line each.

use rusqlite::Connection;

use super::error::Result;
use super::groups;

/// Questions whose every answer is a complaint.
const COMPLAINTS: [(&str, &str); 9] = [
    (
        "is neither waiting, scheduled, ready, claimed, done, dead nor cancelled",
        "SELECT hex(id) FROM votive_task WHERE state NOT BETWEEN 1 AND 7",
    ),
    (
        "is claimed by nobody, or held although it is not claimed",
        "SELECT hex(id) FROM votive_task WHERE (state = 4) <> (holder IS NOT NULL)",
    ),
    (
        "is pinned by a transaction that is not in doubt",
        "SELECT hex(id) FROM votive_task WHERE pinned IS NOT NULL
         AND pinned NOT IN (SELECT txn FROM votive_staged WHERE state = 0)",
    ),
    (
        "holds a unique key although it has ended, or one of which others do not know",
        "SELECT hex(id) FROM votive_task WHERE held_key <> 0
         AND (state NOT BETWEEN 1 AND 4 OR id NOT IN (SELECT task FROM votive_unique))",
    ),
    (
        "is reserved by a transaction that is not in doubt",
        "SELECT name FROM votive_reservation
         WHERE txn NOT IN (SELECT txn FROM votive_staged WHERE state = 0)",
    ),
    (
        "is announced by a transaction that is not in doubt",
        "SELECT hex(id) FROM votive_staged_task
         WHERE txn NOT IN (SELECT txn FROM votive_staged WHERE state = 0)",
    ),
    (
        "has a place in a group, or waits for one, although its state says otherwise",
        "SELECT hex(id) FROM votive_task
         WHERE place <> CASE WHEN state = 1 THEN 0 WHEN state IN (3, 4) THEN 1 ELSE 2 END",
    ),
    (
        "belongs to a group that has no name",
        "SELECT hex(id) FROM votive_task WHERE group_id IS NOT NULL
         AND group_id NOT IN (SELECT id FROM votive_group)",
    ),
    (
        "waits for tasks but is not there",
        "SELECT hex(task) FROM votive_prerequisite
         WHERE task NOT IN (SELECT id FROM votive_task)",
    ),
];

/// What is wrong with a group.
const OVERFULL: &str = "is the name of a group of which more tasks may run than it has places";

/// Asks SQLite about its pages, then the tables about each other.
pub(super) fn check(connection: &Connection) -> Result<Vec<String>> {
    let mut complaints = answers(connection, "PRAGMA integrity_check")?;
    complaints.retain(|answer| answer != "ok");
    if !complaints.is_empty() {
        return Ok(complaints);
    }
    for (what, sql) in COMPLAINTS {
        let about = answers(connection, sql)?.into_iter();
        complaints.extend(about.map(|name| format!("{name} {what}")));
    }
    let overfull = groups::overfull(connection)?.into_iter();
    complaints.extend(overfull.map(|name| format!("{name} {OVERFULL}")));
    Ok(complaints)
}

fn answers(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::store::lifecycle;
    use crate::store::sqlite::statements::Statements;
    use crate::store::sqlite::{self, SqliteStore, tasks};
    use crate::task::{Format, Options, Payload, Record, Unique};
    use crate::time::Timestamp;

    /// A store with a task that has a unique key and is in a group.
    fn store() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        drop(SqliteStore::open(&path, sqlite::Options::default()).unwrap());
        let connection = Connection::open(path).unwrap();
        let now = Timestamp::from_micros(7);
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let options = Options {
            unique: Some(Unique::new("key")),
            group: Some("group".to_owned()),
            ..Options::default()
        };
        let record = Record::new(TaskId::new(now), "default", "noop", payload, now);
        let mut record = record.with_options(options);
        lifecycle::publish(&mut record, false, now).unwrap();
        tasks::insert(&Statements::new(&connection), &record).unwrap();
        (folder, connection)
    }

    #[test]
    fn a_sound_store_has_nothing_to_complain_about() {
        let (_folder, connection) = store();
        assert_eq!(check(&connection).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn names_that_do_not_lead_to_their_tasks_are_found() {
        let damages = [
            (
                "DELETE FROM votive_unique",
                "one of which others do not know",
            ),
            (
                "UPDATE votive_task SET state = 7, place = 2",
                "although it has ended",
            ),
            ("DELETE FROM votive_group", "a group that has no name"),
            (
                "UPDATE votive_task SET place = 0",
                "although its state says otherwise",
            ),
        ];
        for (damage, complaint) in damages {
            let (_folder, connection) = store();
            connection.execute_batch(damage).unwrap();
            let found = check(&connection).unwrap();
            assert_eq!(found.len(), 1, "{damage}: {found:?}");
            assert!(found[0].contains(complaint), "{damage}: {found:?}");
        }
    }
}
