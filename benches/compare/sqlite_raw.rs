//! SQLite by hand: the rows that votive writes, by plain rusqlite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use votive::id::{Incarnation, ResourceId, TxnId};
use votive::store::{Stage, Store};
use votive::txn::TransactionManager;

use crate::group;
use crate::setting::{Result, insert, preload};
use crate::sqlite::store;
use crate::template::Template;

/// The application's own table, and its own row.
pub(crate) const APP: &str =
    "CREATE TABLE IF NOT EXISTS app (id INTEGER PRIMARY KEY, v TEXT NOT NULL)";
pub(crate) const ROW: &str = "INSERT INTO app (v) VALUES ('row')";

/// Opens a connection with the pragmas of a careful application.
pub(crate) fn connect(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A file with votive's own tables, and the rows that votive writes into them.
pub(crate) struct Tables {
    /// The connection of the loop.
    pub connection: Connection,
    /// A task.
    pub task: Template,
    next: u128,
}

impl Tables {
    /// Lets votive make the file and write one task, which is read and then removed.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let made: Arc<dyn Store> = store(folder)?;
        preload(&made, &TransactionManager::new(), 1)?;
        drop(made);
        let connection = connect(&folder.join("queue.db"))?;
        let task = Template::read(&connection, "votive_task", "id", Some("seq"))?;
        connection.execute_batch("DELETE FROM votive_task")?;
        connection.execute_batch(APP)?;
        Ok(Self {
            connection,
            task,
            next: 1 << 100,
        })
    }

    /// Inserts a task.
    pub(crate) fn insert_task(&mut self) -> Result<()> {
        self.next += 1;
        self.task
            .insert(&self.connection, self.next.to_be_bytes())?;
        Ok(())
    }

    /// Runs one statement, prepared once.
    pub(crate) fn run(&self, sql: &str) -> Result<()> {
        run(&self.connection, sql)
    }

    /// Inserts `count` tasks, untimed.
    pub(crate) fn fill(&mut self, count: u64) -> Result<()> {
        self.run("BEGIN IMMEDIATE")?;
        for _ in 0..count {
            self.insert_task()?;
        }
        self.run("COMMIT")
    }

    /// Claims up to `count` tasks, and removes them, in one transaction.
    fn drain(&self, count: u64) -> Result<u64> {
        self.run("BEGIN IMMEDIATE")?;
        let claimed = self.claim(count)?;
        claimed.iter().try_for_each(|seq| self.remove(*seq))?;
        self.run("COMMIT")?;
        Ok(claimed.len() as u64)
    }

    /// Claims up to `count` tasks in one transaction; then removes each in one of its own, with the application's row.
    fn drain_with_rows(&self, count: u64) -> Result<u64> {
        self.run("BEGIN IMMEDIATE")?;
        let claimed = self.claim(count)?;
        self.run("COMMIT")?;
        for seq in &claimed {
            self.run("BEGIN IMMEDIATE")?;
            self.run(ROW)?;
            self.remove(*seq)?;
            self.run("COMMIT")?;
        }
        Ok(claimed.len() as u64)
    }

    /// Claims one task and removes it, each in a transaction of its own.
    fn drain_one(&self) -> Result<u64> {
        self.run("BEGIN IMMEDIATE")?;
        let claimed = self.claim(1)?;
        self.run("COMMIT")?;
        self.run("BEGIN IMMEDIATE")?;
        claimed.iter().try_for_each(|seq| self.remove(*seq))?;
        self.run("COMMIT")?;
        Ok(claimed.len() as u64)
    }

    fn claim(&self, count: u64) -> Result<Vec<i64>> {
        let mut claim = self.connection.prepare_cached(
            "UPDATE votive_task SET state = 4, holder = 1, token = 1 WHERE seq IN (
                 SELECT seq FROM votive_task WHERE queue = 'default' AND state = 3 AND pinned IS NULL
                 ORDER BY rank LIMIT ?1) RETURNING seq, payload",
        )?;
        let rows = claim.query_map([count], |row| {
            let _payload: Vec<u8> = row.get(1)?;
            row.get(0)
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn remove(&self, seq: i64) -> Result<()> {
        let remove = "DELETE FROM votive_task WHERE seq = ?1 AND token = 1";
        self.connection.prepare_cached(remove)?.execute([seq])?;
        Ok(())
    }
}

/// Runs one statement, prepared once.
pub(crate) fn run(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// One transaction that inserts the application's row and a task row in the same file.
pub(crate) fn enlisted(tables: &mut Tables, count: u64) -> Result<()> {
    for _ in 0..count {
        tables.run("BEGIN IMMEDIATE")?;
        tables.run(ROW)?;
        tables.insert_task()?;
        tables.run("COMMIT")?;
    }
    Ok(())
}

/// Transactions of `size` tasks each.
pub(crate) fn batches(tables: &mut Tables, count: u64, size: u64) -> Result<()> {
    for _ in 0..count / size {
        tables.run("BEGIN IMMEDIATE")?;
        for _ in 0..size {
            tables.insert_task()?;
        }
        tables.run("COMMIT")?;
    }
    Ok(())
}

/// Claims and removes in batches of 100, until `count` tasks are gone.
pub(crate) fn drain(tables: &Tables, count: u64) -> Result<()> {
    until_gone(count, || tables.drain(100))
}

/// The same, with a row and a transaction for each.
pub(crate) fn drain_with_rows(tables: &Tables, count: u64) -> Result<()> {
    until_gone(count, || tables.drain_with_rows(100))
}

/// The same one by one.
pub(crate) fn drain_singly(tables: &Tables, count: u64) -> Result<()> {
    until_gone(count, || tables.drain_one())
}

fn until_gone(count: u64, mut drain: impl FnMut() -> Result<u64>) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let drained = drain()?;
        if drained == 0 {
            return Err("the tasks ran out".into());
        }
        left = left.saturating_sub(drained);
    }
    Ok(())
}

/// Producers of which one commits what is there for all.
pub(crate) fn group_commit(mut tables: Tables, producers: u64, count: u64) -> Result<()> {
    group::commit(producers, count, |members| {
        tables.run("BEGIN IMMEDIATE")?;
        (0..members).try_for_each(|_| tables.insert_task())?;
        tables.run("COMMIT")
    })
}

/// The three writes of a prepared transaction, in two files.
pub(crate) struct Prepared {
    queue: Tables,
    staged: Template,
    application: Connection,
    outcome: Template,
    next: u128,
}

impl Prepared {
    /// Lets votive stage and decide once, to have the rows.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let incarnation = Incarnation::random();
        let txn = TxnId {
            incarnation,
            sequence: 1,
        };
        let made = store(folder)?;
        let now = votive::store::Inspect::now(&*made)?;
        let batch = std::iter::once(insert(&*made)?).collect();
        made.stage(txn, ResourceId::random(), &batch, now)?;
        let queue = connect(&folder.join("queue.db"))?;
        let staged = Template::read(&queue, "votive_staged", "txn", None)?;
        queue.execute_batch("DELETE FROM votive_staged")?;
        drop((made, queue));
        let file = folder.join("application.db");
        votive::resource::rusqlite::Database::migrate(&file)?;
        let application = connect(&file)?;
        application.execute_batch(APP)?;
        application.execute(
            "INSERT INTO votive_incarnation (id, host, started_at) VALUES (1, 'bench', 0)",
            [],
        )?;
        application.execute(
            "INSERT INTO votive_outcome (txn, incarnation, outcome, stores) VALUES (x'00', 1, 'commit', x'')",
            [],
        )?;
        let outcome = Template::read(&application, "votive_outcome", "txn", None)?;
        Ok(Self {
            queue: Tables::new(folder)?,
            staged,
            application,
            outcome,
            next: 0,
        })
    }

    /// Stages, decides and publishes `count` times.
    pub(crate) fn run(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.next += 1;
            let id = self.next.to_be_bytes();
            self.queue.run("BEGIN IMMEDIATE")?;
            self.staged.insert(&self.queue.connection, id)?;
            self.queue.run("COMMIT")?;
            run(&self.application, "BEGIN IMMEDIATE")?;
            run(&self.application, ROW)?;
            self.outcome.insert(&self.application, id)?;
            run(&self.application, "COMMIT")?;
            self.queue
                .connection
                .execute_batch("PRAGMA synchronous = NORMAL")?;
            self.queue.run("BEGIN IMMEDIATE")?;
            self.queue
                .connection
                .prepare_cached("DELETE FROM votive_staged WHERE txn = ?1")?
                .execute([id])?;
            self.queue.insert_task()?;
            self.queue.run("COMMIT")?;
            self.queue
                .connection
                .execute_batch("PRAGMA synchronous = FULL")?;
        }
        Ok(())
    }
}
