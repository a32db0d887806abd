//! *Enlisted, yours*: tasks are written on the application's own connection, in its transaction.

use postgres::error::SqlState;
use postgres::{Client, GenericClient, Transaction};

use crate::queue::{Enlist, EnlistError, as_own};
use crate::store::postgres::session::Foreign;
use crate::store::postgres::{
    BACKEND, PostgresStore, enlist, is_one_insert, write_batch, write_one,
};
use crate::store::{self, Applied, Batch, Error, Kind, Store};

/// Tasks are in the transaction, or in the savepoint that a nested one is, and those who wait are told
/// when it commits.
///
/// Whether the commit waits for the disk is the connection's `synchronous_commit` to say.
impl Enlist for &mut Transaction<'_> {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        check_database(*self, as_own(store)?)
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        let store: &PostgresStore = as_own(store)?;
        // A refusal comes before anything is written, unless there are several statements to write.
        if is_one_insert(&batch) {
            return Ok(write(*self, store, batch)?);
        }
        let mut savepoint = self.savepoint(SAVEPOINT).map_err(failed)?;
        let applied = write(&mut savepoint, store, batch)?;
        savepoint.commit().map_err(failed)?;
        Ok(applied)
    }
}

/// The connection is in a transaction that was begun with `BEGIN`.
impl Enlist for &mut Client {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        let store: &PostgresStore = as_own(store)?;
        begin_savepoint(self)?;
        end_savepoint(self, "RELEASE")?;
        check_database(*self, store)
    }

    /// Every write is in a savepoint, which cannot be where the transaction has ended meanwhile.
    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        let store: &PostgresStore = as_own(store)?;
        begin_savepoint(self)?;
        // It may have gone back to a savepoint since it was checked, and told nobody.
        let written = check_database(*self, store).and_then(|()| Ok(write(*self, store, batch)?));
        if written.is_err() {
            end_savepoint(self, "ROLLBACK TO")?;
        }
        end_savepoint(self, "RELEASE")?;
        written
    }
}

pub(super) const SAVEPOINT: &str = "votive_enlist";

fn begin_savepoint(client: &mut Client) -> Result<(), EnlistError> {
    let begun = client.batch_execute(&format!("SAVEPOINT {SAVEPOINT}"));
    begun.map_err(|error| match error.code() {
        Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION) => EnlistError::NoTransaction,
        _ => failed(error).into(),
    })
}

fn end_savepoint(client: &mut Client, how: &str) -> store::Result<()> {
    let ended = client.batch_execute(&format!("{how} {SAVEPOINT}"));
    ended.map_err(failed)
}

/// Compares cluster, database and schema: a schema of this name in another database does not count. Has
/// those who wait be told of the commit.
pub(super) fn check_database<C: GenericClient>(
    client: &mut C,
    store: &PostgresStore,
) -> Result<(), EnlistError> {
    let mut session = Foreign::new(client, store.tables(), None);
    let found = enlist(&mut session, store)?;
    if found.as_deref() == Some(store.fingerprint()) {
        return Ok(());
    }
    Err(EnlistError::OtherDatabase {
        found: found.unwrap_or_else(|| "one without the schema".to_owned()),
        store: store.fingerprint().to_owned(),
    })
}

fn write<C: GenericClient>(
    client: &mut C,
    store: &PostgresStore,
    batch: Batch,
) -> store::Result<Applied> {
    let now = store::Inspect::now(store)?;
    let mut session = Foreign::new(client, store.tables(), None);
    if is_one_insert(&batch) {
        return write_one(&mut session, &batch, now);
    }
    write_batch(&mut session, batch, now)
}

pub(super) fn failed(error: postgres::Error) -> Error {
    Error::new(Kind::Unknown, BACKEND, "keep a write whole").with_source(error)
}
