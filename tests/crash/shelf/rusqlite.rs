//! A shelf in a SQLite file: that of the tasks, or another one.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use votive::failpoint;
use votive::queue::Queue;
use votive::resource::rusqlite::{Database, Options};
use votive::store::sqlite::SqliteStore;
use votive::txn::{TransactionManager, Work};

use super::Shelf;
use crate::answer::Answer;
use crate::store::CHECKPOINT_PAGES;
use crate::work::Ending;
use crate::world::Result;

/// `needs` refers to what is never there, and is looked after only at the COMMIT: whoever sets it is
/// refused then.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS nobody (id INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS note (
        name TEXT NOT NULL, needs INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE IF NOT EXISTS effect (
        name TEXT NOT NULL, needs INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED);";

pub(crate) struct SqliteShelf {
    database: Database,
    table: &'static str,
}

impl SqliteShelf {
    /// In the file of the tasks.
    pub(crate) fn sharing(
        store: Arc<SqliteStore>,
        table: &'static str,
        is_careless: bool,
    ) -> Result<Self> {
        Self::new(Database::sharing_with(store, options(is_careless))?, table)
    }

    /// In a file of its own, which is made if it is missing.
    pub(crate) fn open(path: &Path, table: &'static str, is_careless: bool) -> Result<Self> {
        Database::migrate(path)?;
        Self::new(Database::open_with(path, options(is_careless))?, table)
    }

    fn new(database: Database, table: &'static str) -> Result<Self> {
        Connection::open(database.path())?.execute_batch(TABLES)?;
        Ok(Self { database, table })
    }

    fn insert(&self, connection: &Connection, name: &str, is_refused: bool) -> Result<()> {
        let sql = format!("INSERT INTO {} VALUES (?1, ?2)", self.table);
        connection.execute(&sql, (name, is_refused.then_some(1)))?;
        Ok(())
    }
}

impl Shelf for SqliteShelf {
    fn write(&self, work: &mut Work, name: &str, is_refused: bool) -> Result<()> {
        self.insert(self.database.join(work)?, name, is_refused)
    }

    fn enqueue_by_itself(&self, queue: &Queue, task: &Answer, ending: Ending) -> Result<()> {
        let mut connection = Connection::open(self.database.path())?;
        connection.busy_timeout(Duration::from_secs(20))?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.insert(&transaction, &task.name(), ending == Ending::Refusal)?;
        queue.enlist(&transaction)?.enqueue(task)?;
        if ending == Ending::Abort {
            return Ok(transaction.rollback()?);
        }
        failpoint::hit("application.before_commit");
        let committed = transaction.commit();
        failpoint::hit("application.after_commit");
        match (committed, ending) {
            (Ok(()), Ending::Refusal) => Err("a COMMIT was not refused".into()),
            (Err(error), Ending::Commit) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        let connection = Connection::open(self.database.path())?;
        let sql = format!("SELECT name FROM {} ORDER BY name", self.table);
        let mut select = connection.prepare(&sql)?;
        let names = select.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    fn introduce(&self, manager: &TransactionManager) {
        manager.registers().insert(Arc::new(self.database.clone()));
    }
}

/// Checkpoints come often, so that crashes meet them.
fn options(is_careless: bool) -> Options {
    Options::default().setup(move |connection| {
        if is_careless {
            connection.pragma_update(None, "synchronous", "OFF")?;
        }
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
    })
}
