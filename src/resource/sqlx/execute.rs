//! How a batch is written: what differs between databases is in their own files.

use sqlx::Database;
use sqlx_core::transaction::TransactionManager;

/// A savepoint of sqlx's. When this is dropped the connection goes back to it, before it does anything else.
///
/// sqlx's own guard will not do: it begins before the savepoint has been made, so that a future which is dropped
/// while it is being made takes back the application's transaction instead.
pub(super) struct Savepoint<'c, DB: Database> {
    pub(super) connection: &'c mut DB::Connection,
    is_open: bool,
}

impl<'c, DB: Database> Savepoint<'c, DB> {
    /// Takes care of a savepoint that has been made.
    pub(super) fn new(connection: &'c mut DB::Connection) -> Self {
        Self {
            connection,
            is_open: true,
        }
    }

    /// Lets go of a savepoint that is there no more.
    #[cfg(feature = "sqlite")]
    pub(super) fn forget(mut self) {
        self.is_open = false;
    }
}

impl<DB: Database> Drop for Savepoint<'_, DB> {
    fn drop(&mut self) {
        if self.is_open {
            DB::TransactionManager::start_rollback(self.connection);
        }
    }
}

/// Defines how one statement is executed on connections of a type.
macro_rules! execute_on {
    ($connection:ty) => {
        async fn execute(
            connection: &mut $connection,
            statement: &Statement,
        ) -> Result<(), EnlistError> {
            let mut query = sqlx::query(AssertSqlSafe(statement.sql.as_str()));
            for value in &statement.parameters {
                query = match value {
                    Value::Integer(number) => query.bind(*number),
                    Value::Text(text) => query.bind(text.as_deref()),
                    Value::Bytes(bytes) => query.bind(bytes.as_deref()),
                };
            }
            let count = if statement.is_query {
                let rows = query.fetch_all(connection).await;
                rows.map_err(EnlistError::driver)?.len() as u64
            } else {
                let done = query.execute(connection).await;
                done.map_err(EnlistError::driver)?.rows_affected()
            };
            Ok(statement.judge(count)?)
        }
    };
}

pub(super) use execute_on;
