//! *Enlisted, yours*: tasks are written in the application's own transaction.

#[cfg(feature = "sqlite")]
use std::path::Path;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use sea_orm::DbBackend;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, TransactionTrait};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::queue::as_own;
use crate::queue::{EnlistAsync, EnlistError};
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
use crate::store::render::{Statement, Value};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::inside::{PROBE, is_inside};
use crate::store::{Batch, Store};

/// Whether the commit waits for the disk is the connection's to say: `synchronous` on SQLite,
/// `synchronous_commit` on Postgres.
impl EnlistAsync for &DatabaseTransaction {
    async fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        refuse_other(self, store).await?;
        #[cfg(feature = "sqlite")]
        refuse_ended(self).await?;
        // An empty batch asks no more than whether this is the store's database.
        let rendered = store.render(&Batch::default(), store.now()?)?;
        for statement in &rendered.statements {
            execute(self, statement).await?;
        }
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<(), EnlistError> {
        #[cfg(feature = "sqlite")]
        refuse_ended(self).await?;
        let rendered = store.render(&batch, store.now()?)?;
        let savepoint = self.begin().await.map_err(EnlistError::driver)?;
        for statement in &rendered.statements {
            if let Err(error) = execute(&savepoint, statement).await {
                savepoint.rollback().await.map_err(EnlistError::driver)?;
                return Err(error);
            }
        }
        savepoint.commit().await.map_err(EnlistError::driver)
    }
}

/// Refuses a transaction that SQLite has ended by itself, without the driver's knowing: what that takes for a savepoint
/// would be a transaction of its own.
#[cfg(feature = "sqlite")]
async fn refuse_ended(transaction: &DatabaseTransaction) -> Result<(), EnlistError> {
    if transaction.get_database_backend() != DbBackend::Sqlite {
        return Ok(());
    }
    let probed = transaction.execute_unprepared(PROBE).await.map(drop);
    let is_inside = is_inside(probed).map_err(EnlistError::driver)?;
    is_inside.then_some(()).ok_or(EnlistError::NoTransaction)
}

/// Refuses a store of another kind of database, and of another SQLite file.
#[cfg_attr(
    not(feature = "sqlite"),
    expect(clippy::unused_async, reason = "only a file is asked for")
)]
async fn refuse_other(
    transaction: &DatabaseTransaction,
    store: &dyn Store,
) -> Result<(), EnlistError> {
    match transaction.get_database_backend() {
        #[cfg(feature = "postgres")]
        DbBackend::Postgres => as_own::<PostgresStore>(store).map(drop),
        #[cfg(feature = "sqlite")]
        DbBackend::Sqlite => refuse_other_file(transaction, as_own(store)?).await,
        _ => Err(EnlistError::OtherBackend {
            backend: store.capabilities().backend,
        }),
    }
}

/// What is attached beside the main database does not count, since a commit over several files is not atomic.
#[cfg(feature = "sqlite")]
async fn refuse_other_file(
    transaction: &DatabaseTransaction,
    store: &SqliteStore,
) -> Result<(), EnlistError> {
    let sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let ask = sea_orm::Statement::from_string(DbBackend::Sqlite, sql);
    let row = transaction.query_one_raw(ask).await;
    let row = row.map_err(EnlistError::driver)?;
    let found = row.map(|row| row.try_get_by_index::<String>(0)).transpose();
    let found = found.map_err(EnlistError::driver)?.unwrap_or_default();
    if store.is_at(Path::new(&found)) {
        return Ok(());
    }
    Err(EnlistError::OtherDatabase {
        found,
        store: store.path().display().to_string(),
    })
}

async fn execute(
    transaction: &DatabaseTransaction,
    statement: &Statement,
) -> Result<(), EnlistError> {
    let count = count(transaction, statement).await;
    Ok(statement.judge(count.map_err(EnlistError::driver)?)?)
}

async fn count(transaction: &DatabaseTransaction, statement: &Statement) -> Result<u64, DbErr> {
    let values = statement.parameters.iter().map(|value| match value {
        Value::Integer(number) => sea_orm::Value::BigInt(*number),
        Value::Text(text) => sea_orm::Value::String(text.clone()),
        Value::Bytes(bytes) => sea_orm::Value::Bytes(bytes.clone()),
    });
    let backend = transaction.get_database_backend();
    let ready = sea_orm::Statement::from_sql_and_values(backend, &statement.sql, values);
    if statement.is_query {
        Ok(transaction.query_all_raw(ready).await?.len() as u64)
    } else {
        Ok(transaction.execute_raw(ready).await?.rows_affected())
    }
}
