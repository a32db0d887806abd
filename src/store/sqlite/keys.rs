//! Unique keys: which task holds one, and which rest.
//!
//! Owns one invariant: a key is held by the task that its entry names, if that is there and says that it holds this
//! key. So a claim frees a key where it changes the task anyway. What is left is an entry that means nothing, on a page
//! that nobody else has a reason to write: the next task with the key takes it over, or a [sweep](super::sweep) deletes
//! it.

use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Result;
use super::row::{Bytes, Sql, TaskRow};
use super::statements::Statements;
use super::sweep::Table;
use super::tasks;
use crate::id::TaskId;
use crate::task::{Record, Unique};
use crate::time::Timestamp;

/// Returns the pending task that holds a unique key.
pub(super) fn holder(connection: &Connection, key: &str) -> Result<Option<TaskRow>> {
    let mut select = connection.prepare_cached("SELECT task FROM votive_held WHERE key = ?1")?;
    let holder = select.query_row([key], |row| row.get::<_, Sql<TaskId>>(0));
    match holder.optional()? {
        Some(holder) => tasks::find(connection, holder.0, Bytes::Left),
        None => Ok(None),
    }
}

/// Whether this task holds the key: one that came back may go on without.
pub(super) fn is_held_by(connection: &Connection, id: TaskId, key: &str) -> Result<bool> {
    let mut select = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM votive_held WHERE key = ?1 AND task = ?2)")?;
    Ok(select.query_row(params![key, Sql(id)], |row| row.get(0))?)
}

/// The number of no key.
pub(super) const NONE: i64 = 0;

/// The number of a task's key, or [`NONE`]. Nothing relies on it but that an entry and a row which were written
/// together have the same, and that keys seldom share one.
pub(super) fn number_of(record: &Record) -> i64 {
    let number = |unique: &Unique| {
        let mut hasher = DefaultHasher::new();
        unique.key.hash(&mut hasher);
        hasher.finish().cast_signed() | 1
    };
    record.options.unique.as_ref().map_or(NONE, number)
}

/// Names the task in the entry of its key, if nobody else holds that. Returns the number by which the task has yet to
/// say that it does, or [`NONE`].
pub(super) fn enter(connection: &Statements<'_>, record: &Record) -> Result<i64> {
    let Some(unique) = &record.options.unique else {
        return Ok(NONE);
    };
    let number = number_of(record);
    let entered = connection.run(
        "INSERT INTO votive_unique (key, task, number) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET task = excluded.task, number = excluded.number WHERE NOT EXISTS (
             SELECT 1 FROM votive_task WHERE id = votive_unique.task AND held_key = votive_unique.number)",
        params![unique.key, Sql(record.id), number],
    )?;
    Ok(if entered == 1 { number } else { NONE })
}

/// Takes the key of a task that is in the table, if nobody else holds it.
pub(super) fn take(connection: &Statements<'_>, record: &Record) -> Result<()> {
    match enter(connection, record)? {
        NONE => Ok(()),
        number => set_held_key(connection, record.id, number),
    }
}

/// Frees the key of a task, if the task holds it.
pub(super) fn free(connection: &Connection, record: &Record) -> Result<()> {
    if let Some(unique) = &record.options.unique {
        connection
            .prepare_cached("DELETE FROM votive_unique WHERE key = ?1 AND task = ?2")?
            .execute(params![unique.key, Sql(record.id)])?;
        set_held_key(connection, record.id, NONE)?;
    }
    Ok(())
}

fn set_held_key(connection: &Connection, id: TaskId, number: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE votive_task SET held_key = ?2 WHERE id = ?1")?
        .execute(params![Sql(id), number])?;
    Ok(())
}

/// Returns the task for whose sake a key rests; it may be gone.
pub(super) fn resting(
    connection: &Connection,
    key: &str,
    now: Timestamp,
) -> Result<Option<TaskId>> {
    let mut select = connection
        .prepare_cached("SELECT task FROM votive_resting WHERE key = ?1 AND until > ?2")?;
    let found = select.query_row(params![key, now.as_micros()], |row| {
        row.get::<_, Sql<TaskId>>(0)
    });
    Ok(found.optional()?.map(|task| task.0))
}

/// Has the key of a task rest, unless it rests for longer already. Two of the rests that are over go for
/// each new one, so that they never pile up.
pub(super) fn rest(
    connection: &Connection,
    record: &Record,
    until: Timestamp,
    now: Timestamp,
) -> Result<()> {
    let Some(unique) = &record.options.unique else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "DELETE FROM votive_resting WHERE key IN (
                 SELECT key FROM votive_resting WHERE until <= ?1 ORDER BY until LIMIT 2)",
        )?
        .execute([now.as_micros()])?;
    connection
        .prepare_cached(
            "INSERT INTO votive_resting (key, task, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET task = excluded.task, until = excluded.until
             WHERE excluded.until > until",
        )?
        .execute(params![unique.key, Sql(record.id), until.as_micros()])?;
    Ok(())
}

/// Ends the rest of the key of a task, if it rests for its sake.
pub(super) fn end_rest(connection: &Connection, record: &Record) -> Result<()> {
    if let Some(unique) = &record.options.unique {
        connection
            .prepare_cached("DELETE FROM votive_resting WHERE key = ?1 AND task = ?2")?
            .execute(params![unique.key, Sql(record.id)])?;
    }
    Ok(())
}

/// The entries, of which those mean nothing whose task is gone.
pub(super) const TABLE: Table = Table {
    last: "SELECT max(key) FROM votive_unique",
    last_of_step: "SELECT key FROM votive_unique WHERE key > ?1 AND key <= ?3
                   ORDER BY key LIMIT 1 OFFSET ?2",
    delete: "DELETE FROM votive_unique WHERE key > ?1 AND key <= ?2
             AND NOT EXISTS (SELECT 1 FROM votive_task WHERE id = votive_unique.task)",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lifecycle;
    use crate::store::sqlite::sweep::{STEP, Sweep};
    use crate::store::sqlite::{Options, SqliteStore};
    use crate::task::{Format, Payload};

    const NOW: Timestamp = Timestamp::from_micros(7);

    fn keyed(key: String) -> Record {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let options = crate::task::Options {
            unique: Some(Unique::new(key)),
            ..crate::task::Options::default()
        };
        Record::new(TaskId::new(NOW), "default", "noop", payload, NOW).with_options(options)
    }

    /// A store with so many keys that tasks hold, and so many entries of tasks that are gone.
    fn keys(held: usize, gone: usize) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        let statements = Statements::new(&connection);
        for number in 0..held {
            let mut record = keyed(format!("held/{number}"));
            lifecycle::publish(&mut record, false, NOW).unwrap();
            tasks::insert(&statements, &record).unwrap();
        }
        for number in 0..gone {
            assert_ne!(
                enter(&statements, &keyed(format!("gone/{number}"))).unwrap(),
                NONE
            );
        }
        drop(statements);
        connection.execute_batch("COMMIT").unwrap();
        (folder, connection)
    }

    fn entries(connection: &Connection, like: &str) -> usize {
        let count = "SELECT count(*) FROM votive_unique WHERE key LIKE ?1";
        connection
            .query_row(count, [like], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn entries_of_tasks_that_are_gone_are_swept() {
        let (_folder, connection) = keys(STEP, 4 * STEP);
        let sweep = Sweep::of(&TABLE);
        for _ in 0..8 {
            sweep.after_as_many_as(STEP, &connection).unwrap();
        }
        assert_eq!(entries(&connection, "gone/%"), 0);
        assert_eq!(entries(&connection, "held/%"), STEP);
    }

    #[test]
    fn an_entry_that_means_nothing_is_taken_over() {
        let (_folder, connection) = keys(1, 1);
        let statements = Statements::new(&connection);
        assert_ne!(
            enter(&statements, &keyed("gone/0".to_owned())).unwrap(),
            NONE
        );
        let other = keyed("held/0".to_owned());
        assert_eq!(enter(&statements, &other).unwrap(), NONE);
        let holder = holder(&connection, "held/0").unwrap().unwrap();
        free(&connection, &holder.record).unwrap();
        assert_ne!(enter(&statements, &other).unwrap(), NONE);
        assert!(!is_held_by(&connection, other.id, "held/0").unwrap());
    }

    #[test]
    fn a_task_whose_id_was_used_before_does_not_hold_the_key_of_the_former_one() {
        let (_folder, connection) = keys(0, 0);
        let statements = Statements::new(&connection);
        let insert = |mut record: Record| {
            lifecycle::publish(&mut record, false, NOW).unwrap();
            tasks::insert(&statements, &record).unwrap();
            record
        };
        let former = insert(keyed("former".to_owned()));
        connection.execute_batch("DELETE FROM votive_task").unwrap();
        let mut record = keyed("latter".to_owned());
        record.id = former.id;
        insert(record);
        assert!(holder(&connection, "former").unwrap().is_none());
        assert!(holder(&connection, "latter").unwrap().is_some());
    }
}
