//! *Enlisted, yours*, on a Postgres connection.

use sqlx::{AssertSqlSafe, Connection, Database, Executor, PgConnection, Postgres};
use sqlx_core::transaction::TransactionManager;

use super::execute::{Savepoint, execute_on};
use super::leaked::Leaked;
use crate::queue::{EnlistAsync, EnlistError, as_own};
use crate::store::postgres::PostgresStore;
use crate::store::render::{Statement, Value};
use crate::store::{Batch, Store};

/// The connection is in a transaction that sqlx has begun: of one begun by a statement of the application's
/// own it does not know. Those who wait are told when it commits.
///
/// Whether the commit waits for the disk is the connection's `synchronous_commit` to say.
impl EnlistAsync for &mut PgConnection {
    async fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        as_own::<PostgresStore>(store)?;
        if !self.is_in_transaction() {
            return Err(EnlistError::NoTransaction);
        }
        // An empty batch asks no more than whether this is the store's database.
        let rendered = store.render(&Batch::default(), store.now()?)?;
        for statement in &rendered.statements {
            execute(self, statement).await?;
        }
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<(), EnlistError> {
        // The transaction may have ended since it was checked; the connection is still the same.
        if !self.is_in_transaction() {
            return Err(EnlistError::NoTransaction);
        }
        let rendered = store.render(&batch, store.now()?)?;
        // If sqlx's future is dropped it takes back the transaction; if not, an empty savepoint is left.
        let begun = Leaked::new(Manager::begin(self, None)).await;
        begun.map_err(EnlistError::driver)?;
        let savepoint = Savepoint::<Postgres>::new(self);
        for statement in &rendered.statements {
            execute(savepoint.connection, statement).await?;
        }
        keep(savepoint).await.map_err(EnlistError::driver)
    }
}

type Manager = <Postgres as Database>::TransactionManager;

/// Releases a savepoint, and makes an empty one of the same name in the same breath: that is what
/// the connection then goes back to, even if the future is dropped and nobody knows how far it came.
async fn keep(savepoint: Savepoint<'_, Postgres>) -> sqlx::Result<()> {
    let number = Manager::get_transaction_depth(savepoint.connection) - 1;
    let name = format!("_sqlx_savepoint_{number}");
    let both = format!("RELEASE SAVEPOINT {name}; SAVEPOINT {name}");
    let connection = &mut *savepoint.connection;
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(both)))
        .await
        .map(drop)
}

execute_on!(PgConnection);
