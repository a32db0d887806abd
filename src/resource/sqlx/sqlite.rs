//! *Enlisted, yours*, on a SQLite connection.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, Database, Executor, Sqlite, SqliteConnection};
use sqlx_core::transaction::TransactionManager;

use super::execute::{Savepoint, execute_on};
use crate::queue::{EnlistAsync, EnlistError, as_own};
use crate::store::render::{Statement, Value};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::inside::{PROBE, is_inside};
use crate::store::{Batch, Store};

/// The connection is in a transaction that sqlx has begun: of one begun by a statement of the application's
/// own it does not know. One that SQLite has ended by itself is none any more.
///
/// Whether the commit waits for the disk is the connection's `synchronous` to say.
impl EnlistAsync for &mut SqliteConnection {
    async fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        let own: &SqliteStore = as_own(store)?;
        refuse_outside(self).await?;
        let found = main_file(self).await.map_err(EnlistError::driver)?;
        if own.is_at(Path::new(&found)) {
            return Ok(());
        }
        Err(EnlistError::OtherDatabase {
            found,
            store: own.path().display().to_string(),
        })
    }

    async fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<(), EnlistError> {
        // The transaction may have ended since it was checked; the connection is still the same.
        refuse_outside(self).await?;
        let rendered = store.render(&batch, store.now()?)?;
        // If this is dropped before it is ready, sqlx takes back the savepoint by itself.
        let begun = Manager::begin(self, None).await;
        begun.map_err(EnlistError::driver)?;
        let savepoint = Savepoint::<Sqlite>::new(self);
        for statement in &rendered.statements {
            execute(savepoint.connection, statement).await?;
        }
        let released = Manager::commit(savepoint.connection).await;
        released.map_err(EnlistError::driver)?;
        savepoint.forget();
        Ok(())
    }
}

type Manager = <Sqlite as Database>::TransactionManager;

/// Outside of a transaction what sqlx takes for a savepoint would be a transaction of its own.
async fn refuse_outside(connection: &mut SqliteConnection) -> Result<(), EnlistError> {
    if !connection.is_in_transaction() {
        return Err(EnlistError::NoTransaction);
    }
    let probed = connection.execute(sqlx::raw_sql(PROBE)).await.map(drop);
    let is_inside = is_inside(probed).map_err(EnlistError::driver)?;
    is_inside.then_some(()).ok_or(EnlistError::NoTransaction)
}

/// What is attached beside the main database does not count, since a commit over several files is not
/// atomic.
async fn main_file(connection: &mut SqliteConnection) -> sqlx::Result<String> {
    let sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

execute_on!(SqliteConnection);
