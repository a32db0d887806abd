//! The tables of a store, and how a file is recognised as one, or as somebody else's.
//!
//! The tables may share their file with an application's, so everything of ours is named `votive_…`,
//! and what belongs to the whole file is left to the application: `user_version` always, and
//! `application_id` in a file that was not empty. The version of our tables is in `votive_schema`.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Fault, Result};
use super::register;
use crate::store::Kind;

/// The version of the tables that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// "votv", in a file that votive made for itself.
pub(super) const APPLICATION_ID: i32 = 0x766f_7476;

/// What leads from each version to the next; the first makes the tables.
const MIGRATIONS: [&str; VERSION as usize] = [TABLES];

/// Version 1.
///
/// Each visible task is in one row of `votive_task` and in one of the partial indexes, so that a claim never meets a
/// task that cannot be claimed. `payload` comes last: what comes before it is read without it. `plain` is 1 if nothing
/// but the row and what merged into it goes when the task is done, 2 if its place in a group goes too, and `held_key`
/// is the number of the task's unique key as long as others are kept from it, else 0. `place` is 0 while a task is
/// Waiting, 1 while it is Ready or Claimed and so has a place in its group, else 2: a claim changes `state` and not
/// `place`. `places` is how many there are, as the task says.
const TABLES: &str = "\
CREATE TABLE votive_task (
    seq          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL,
    queue        TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    state        INTEGER NOT NULL,
    rank         INTEGER NOT NULL,
    not_before   INTEGER,
    pinned       BLOB,
    holder       INTEGER,
    token        INTEGER,
    holder_name  TEXT,
    claimed_at   INTEGER,
    attempts     INTEGER NOT NULL,
    conflicts    INTEGER NOT NULL,
    reclaims     INTEGER NOT NULL,
    account      BLOB,
    dead         INTEGER,
    ended_at     INTEGER,
    kept_until   INTEGER,
    progress     TEXT,
    enqueued_at  INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    group_id     BLOB,
    place        INTEGER NOT NULL,
    places       INTEGER NOT NULL,
    options      BLOB    NOT NULL,
    plain        INTEGER NOT NULL,
    held_key     INTEGER NOT NULL,
    format       INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    payload      BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX votive_task_id ON votive_task (id);
CREATE INDEX votive_task_ready ON votive_task (queue, rank)
    WHERE state = 3 AND pinned IS NULL;
CREATE INDEX votive_task_scheduled ON votive_task (queue, not_before)
    WHERE state = 2 AND pinned IS NULL;
CREATE INDEX votive_task_claimed ON votive_task (holder, queue, rank)
    WHERE state = 4;
-- OR, since with IN each insert of a row would build a table of the four numbers.
CREATE INDEX votive_task_other ON votive_task (queue, state)
    WHERE state = 1 OR state = 5 OR state = 6 OR state = 7;
CREATE INDEX votive_task_pinned ON votive_task (pinned, queue, state)
    WHERE pinned IS NOT NULL;
CREATE INDEX votive_task_group ON votive_task (group_id, place, rank)
    WHERE group_id IS NOT NULL;
CREATE INDEX votive_task_kept ON votive_task (kept_until)
    WHERE kept_until IS NOT NULL;

-- state: 0 staged, 1 published, 2 discarded. The last two are kept until they can be forgotten, so that
-- a second publish, or a late stage, is told from one that is unknown.
CREATE TABLE votive_staged (
    txn          BLOB    NOT NULL PRIMARY KEY,
    state        INTEGER NOT NULL,
    register     BLOB    NOT NULL,
    staged_at    INTEGER NOT NULL,
    change_count INTEGER NOT NULL,
    batch        BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX votive_staged_discarded ON votive_staged (staged_at) WHERE state = 2;

-- The tasks that staged batches will insert: nobody else may.
CREATE TABLE votive_staged_task (
    id  BLOB NOT NULL PRIMARY KEY,
    txn BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What staged transactions have reserved: unique keys (kind 0) and marks (kind 1).
CREATE TABLE votive_reservation (
    kind INTEGER NOT NULL,
    name TEXT    NOT NULL,
    txn  BLOB    NOT NULL,
    PRIMARY KEY (kind, name, txn)
) STRICT, WITHOUT ROWID;
CREATE INDEX votive_reservation_txn ON votive_reservation (txn);

-- The last task that took a key. Whether it holds the key is said by its row: a claim changes that and nothing here. The
-- number is some hash of the key, by which a task whose id was used before is told from the former one.
CREATE TABLE votive_unique (
    key    TEXT    NOT NULL PRIMARY KEY,
    task   BLOB    NOT NULL,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE VIEW votive_held (key, task) AS
    SELECT u.key, u.task FROM votive_unique u JOIN votive_task t ON t.id = u.task
    WHERE t.held_key = u.number;

-- Keys that rest: no new task gets one before its time, whatever has become of the task that had it.
CREATE TABLE votive_resting (
    key   TEXT    NOT NULL PRIMARY KEY,
    task  BLOB    NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX votive_resting_until ON votive_resting (until);

-- What stands for a group's name as long as it has a task. Groups that came one after another have ids that do so
-- too, so that their tasks are neighbours in the index, whatever the names are.
CREATE TABLE votive_group (
    name TEXT NOT NULL PRIMARY KEY,
    id   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE VIEW votive_member AS
    SELECT g.name AS group_name, t.* FROM votive_group g JOIN votive_task t ON t.group_id = g.id;

CREATE TABLE votive_alias (
    id   BLOB NOT NULL PRIMARY KEY,
    task BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX votive_alias_task ON votive_alias (task);

CREATE TABLE votive_prerequisite (
    task BLOB NOT NULL,
    done BLOB NOT NULL,
    PRIMARY KEY (task, done)
) STRICT, WITHOUT ROWID;

CREATE TABLE votive_about (
    object TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (object, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE votive_mark (
    key   TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What is in a file, as far as votive is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A store of this version of the tables.
    Store(u32),
    /// Nothing at all: the file was just made.
    Nothing,
    /// The tables of an application, to be shared.
    Application,
}

/// Looks what a file holds, and refuses what votive must not touch. Only reads.
pub(super) fn recognise(connection: &Connection) -> Result<Content> {
    if connection.table_exists(Some("main"), "votive_schema")? {
        let found = version(connection)?;
        return match found {
            1..=VERSION => Ok(Content::Store(found)),
            0 => Err(Fault::corrupt("the version of the tables is 0")),
            _ => Err(Kind::NewerVersion {
                found,
                known: VERSION,
            }
            .into()),
        };
    }
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application_id != 0 && application_id != APPLICATION_ID {
        let whose = format!("its application_id is {application_id:#010x}");
        return Err(Kind::Foreign(whose).into());
    }
    let tables = tables(connection)?;
    match foreign_queue(&tables) {
        Some(name) => Err(Kind::Foreign(format!("its tables are those of {name}")).into()),
        None if tables.is_empty() => Ok(Content::Nothing),
        None => Ok(Content::Application),
    }
}

fn version(connection: &Connection) -> Result<u32> {
    let version = connection
        .query_row("SELECT version FROM votive_schema", [], |row| row.get(0))
        .optional()?;
    version.ok_or_else(|| Fault::corrupt("the version of the tables is missing"))
}

fn tables(connection: &Connection) -> Result<Vec<String>> {
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = names.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Other task queues keep a file of their own, where ours would be a stranger.
fn foreign_queue(tables: &[String]) -> Option<&'static str> {
    let has = |names: &[&str]| {
        let found = |name: &&str| tables.iter().any(|table| table == name);
        names.iter().all(found)
    };
    if has(&["kv", "schedule", "task"]) {
        Some("Huey")
    } else if has(&["celery_taskmeta"]) || has(&["kombu_message", "kombu_queue"]) {
        Some("Celery")
    } else {
        None
    }
}

/// Brings the tables to [`VERSION`], in the caller's write transaction.
pub(super) fn migrate(connection: &Connection, content: &Content) -> Result<()> {
    let from = match content {
        Content::Store(version) => *version,
        Content::Nothing => {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            0
        }
        Content::Application => 0,
    };
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS votive_schema (version INTEGER NOT NULL) STRICT",
    )?;
    for step in MIGRATIONS.iter().skip(from as usize) {
        connection.execute_batch(step)?;
    }
    if from != VERSION {
        connection.execute("DELETE FROM votive_schema", [])?;
        connection.execute("INSERT INTO votive_schema VALUES (?1)", params![VERSION])?;
    }
    register::create(connection)?;
    Ok(())
}
