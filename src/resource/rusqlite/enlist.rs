//! *Enlisted, yours*: tasks are written on the application's own connection, in its transaction.

use std::path::Path;

use rusqlite::{Connection, Savepoint, Transaction};

use crate::queue::{Enlist, EnlistError, as_own};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{self, Applied, Batch, Error, Kind, Store};

/// The connection is in a transaction that was begun with `BEGIN` or `SAVEPOINT`.
///
/// Whether the commit waits for the disk is the connection's `synchronous` to say.
impl Enlist for &Connection {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        let store: &SqliteStore = as_own(store)?;
        if self.is_autocommit() {
            return Err(EnlistError::NoTransaction);
        }
        if is_to_file_of(self, store) {
            return Ok(());
        }
        Err(EnlistError::OtherDatabase {
            found: self.path().unwrap_or_default().to_owned(),
            store: store.path().display().to_string(),
        })
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        // The transaction may have ended since it was checked; the connection is still the same.
        if self.is_autocommit() {
            return Err(EnlistError::NoTransaction);
        }
        let now = store.now()?;
        if sqlite::is_one_insert(&batch) {
            return Ok(sqlite::write_batch(self, batch, now)?);
        }
        Ok(whole(self, || sqlite::write_batch(self, batch, now))?)
    }
}

impl Enlist for &Transaction<'_> {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        (&***self).check(store)
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        (&***self).write(store, batch)
    }
}

impl Enlist for &Savepoint<'_> {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        (&***self).check(store)
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        (&***self).write(store, batch)
    }
}

/// Compares the main database: what is attached beside it does not count, since a commit over several
/// files is not atomic.
fn is_to_file_of(connection: &Connection, store: &SqliteStore) -> bool {
    let path = connection.path().map(Path::new);
    path.is_some_and(|path| store.is_at(path))
}

/// Does all that `write` does, or nothing of it.
fn whole<T>(connection: &Connection, write: impl FnOnce() -> store::Result<T>) -> store::Result<T> {
    execute(connection, "SAVEPOINT votive_enlist")?;
    let written = write();
    // After some errors SQLite rolls back the whole transaction by itself.
    if written.is_err() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK TO votive_enlist")?;
    }
    if !connection.is_autocommit() {
        execute(connection, "RELEASE votive_enlist")?;
    }
    written
}

fn execute(connection: &Connection, sql: &str) -> store::Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(|error| {
            Error::new(Kind::Unknown, "sqlite", "keep a write whole").with_source(error)
        })
}
