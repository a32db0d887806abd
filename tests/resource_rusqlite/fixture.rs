//! What the tests have in common.
#![cfg(test)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use votive::id::ResourceId;
use votive::resource::rusqlite::{Database, DatabaseError, Options};
use votive::txn::{
    Answer, BoxError, DataManager, PrepareInfo, Prepared, Role, TransactionManager, Vote, Work,
};

/// A database with one table, and a manager of transactions.
pub struct Fixture {
    pub folder: TempDir,
    pub manager: TransactionManager,
}

pub fn fixture() -> Fixture {
    let fixture = Fixture {
        folder: tempfile::tempdir().unwrap(),
        manager: TransactionManager::new(),
    };
    fixture
        .raw()
        .execute_batch("CREATE TABLE note (text)")
        .unwrap();
    fixture
}

impl Fixture {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// A connection that knows nothing of votive.
    pub fn raw(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        connection
    }

    pub fn open(&self, options: Options) -> Database {
        Database::open_with(self.path(), options).unwrap()
    }

    /// Opens the database without waiting for locks.
    pub fn impatient(&self) -> Database {
        self.open(impatience())
    }

    pub fn with_register(self) -> Self {
        Database::migrate(self.path()).unwrap();
        self
    }

    pub fn notes(&self) -> Vec<String> {
        let raw = self.raw();
        let mut select = raw.prepare("SELECT text FROM note ORDER BY rowid").unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.raw().query_row(&sql, [], |row| row.get(0)).unwrap()
    }
}

pub fn impatience() -> Options {
    Options::default()
        .busy_timeout(Duration::ZERO)
        .register_timeout(Duration::ZERO)
}

pub fn note(database: &Database, work: &mut Work, text: &str) -> Result<(), BoxError> {
    let session = database.join(work)?;
    session.execute("INSERT INTO note VALUES (?1)", [text])?;
    Ok(())
}

/// Another store, which promises whatever it is asked to.
pub struct Promising(ResourceId);

impl Promising {
    pub fn join(work: &mut Work) -> ResourceId {
        let id = ResourceId::random();
        work.join_with(id, |_| Ok(Self(id))).unwrap();
        id
    }
}

impl DataManager for Promising {
    fn role(&self) -> Role {
        Role::TwoPhase(self.0)
    }
    fn sort_key(&self) -> Result<String, BoxError> {
        Ok("promising".to_owned())
    }
    fn prepare(&mut self, _: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        Ok(Prepared::Work)
    }
    fn vote(&mut self, _: Vote<'_>) -> Answer {
        Answer::Ok
    }
    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    fn abort(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Finds the database's own error among what an error was caused by.
pub fn cause<'e>(error: &'e (dyn Error + 'static)) -> &'e DatabaseError {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
        .unwrap()
}
