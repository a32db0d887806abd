//! An application that uses `SeaORM`, on SQLite or on Postgres.

use std::future::Future;
use std::pin::Pin;

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait,
};
use tokio::runtime::Runtime;
use votive::queue::{EnlistError, Queue};

use crate::step::LOSE;
use crate::{Application, Does, End, Losing, Ping, Place, Result, Step, ready};

/// A pool of `SeaORM`'s.
pub struct SeaOrm {
    database: DatabaseConnection,
    runtime: Runtime,
}

impl SeaOrm {
    async fn begin(&self) -> std::result::Result<DatabaseTransaction, sea_orm::DbErr> {
        let is_sqlite = self.database.get_database_backend() == sea_orm::DbBackend::Sqlite;
        self.database
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
            .await
    }
}

fn perform<'t>(
    transaction: DatabaseTransaction,
    queue: &'t Queue,
    (steps, end): (&'t [Step], End),
    does: &'t mut Does,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 't>> {
    Box::pin(async move {
        for step in steps {
            match step {
                Step::Note => {
                    let insert = "INSERT INTO note VALUES (1)";
                    transaction.execute_unprepared(insert).await?;
                }
                Step::Enqueue(options) | Step::Try(options) => {
                    let mut enlisted = queue.enlist_async(&transaction).await?;
                    let done = enlisted.enqueue_with(&Ping(7), options.clone()).await;
                    does.note(done, matches!(step, Step::Try(_)))?;
                }
                Step::Within(steps, end) => {
                    let within = transaction.begin().await?;
                    perform(within, queue, (steps, *end), does).await?;
                }
            }
        }
        match end {
            End::Commit => transaction.commit().await?,
            End::RollBack => transaction.rollback().await?,
        }
        Ok(())
    })
}

impl Application for SeaOrm {
    fn connect(place: &Place) -> Result<Self> {
        let runtime = Runtime::new()?;
        let is_file = place.url.starts_with('/');
        let url = if is_file {
            format!("sqlite://{}", place.url)
        } else {
            place.url.clone()
        };
        let database = ready(&runtime, async {
            let database = Database::connect(url).await?;
            let create = "CREATE TABLE IF NOT EXISTS note (n integer CHECK (n > 0))";
            database.execute_unprepared(create).await?;
            Ok(database)
        })?;
        Ok(Self { database, runtime })
    }

    fn transact(&mut self, queue: &Queue, steps: &[Step], end: End) -> Result<Does> {
        ready(&self.runtime, async {
            let mut does = Does::default();
            perform(self.begin().await?, queue, (steps, end), &mut does).await?;
            Ok(does)
        })
    }

    fn enlist(&mut self, queue: &Queue) -> Result<std::result::Result<(), EnlistError>> {
        ready(&self.runtime, async {
            let transaction = self.begin().await?;
            Ok(queue.enlist_async(&transaction).await.map(drop))
        })
    }

    fn notes(&mut self) -> Result<usize> {
        ready(&self.runtime, async {
            let backend = self.database.get_database_backend();
            let select = Statement::from_string(backend, "SELECT n FROM note");
            Ok(self.database.query_all_raw(select).await?.len())
        })
    }
}

impl Losing for SeaOrm {
    fn lose(&mut self, queue: &Queue) -> Result<[std::result::Result<(), EnlistError>; 2]> {
        ready(&self.runtime, async {
            let transaction = self.begin().await?;
            let mut enlisted = queue.enlist_async(&transaction).await?;
            drop(transaction.execute_unprepared(LOSE).await);
            let written = enlisted.enqueue(&Ping(7)).await.map(drop);
            let enlisted = queue.enlist_async(&transaction).await.map(drop);
            Ok([written, enlisted])
        })
    }
}
