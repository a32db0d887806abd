//! An application that uses sqlx.

use std::future::Future;
use std::pin::Pin;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use tokio::runtime::Runtime;
use votive::queue::{EnlistError, Queue};

use crate::step::LOSE;
use crate::{
    Application, Does, Droppable, End, Losing, Ping, Place, Result, Step, Unguarded, dropped_after,
    ready,
};

/// Defines an application: the two databases differ by their types only.
macro_rules! application {
    ($application:ident, $connection:ident, $database:ident, $begin:literal) => {
        /// A connection of sqlx's.
        pub struct $application {
            connection: $connection,
            runtime: Runtime,
        }

        impl $application {
            fn perform<'t>(
                mut transaction: Transaction<'t, $database>,
                queue: &'t Queue,
                (steps, end): (&'t [Step], End),
                does: &'t mut Does,
            ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 't>> {
                Box::pin(async move {
                    for step in steps {
                        match step {
                            Step::Note => {
                                let insert = sqlx::query("INSERT INTO note VALUES (1)");
                                insert.execute(&mut *transaction).await?;
                            }
                            Step::Enqueue(options) | Step::Try(options) => {
                                let mut enlisted = queue.enlist_async(&mut *transaction).await?;
                                let done = enlisted.enqueue_with(&Ping(7), options.clone()).await;
                                does.note(done, matches!(step, Step::Try(_)))?;
                            }
                            Step::Within(steps, end) => {
                                let within = transaction.begin().await?;
                                Self::perform(within, queue, (steps, *end), does).await?;
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
        }

        impl Application for $application {
            fn connect(place: &Place) -> Result<Self> {
                let runtime = Runtime::new()?;
                let connection = ready(&runtime, async {
                    let mut connection = $database::open(&place.url).await?;
                    sqlx::query("CREATE TABLE IF NOT EXISTS note (n integer CHECK (n > 0))")
                        .execute(&mut connection)
                        .await?;
                    Ok(connection)
                })?;
                Ok(Self {
                    connection,
                    runtime,
                })
            }

            fn transact(&mut self, queue: &Queue, steps: &[Step], end: End) -> Result<Does> {
                ready(&self.runtime, async {
                    let mut does = Does::default();
                    let transaction = self.connection.begin_with($begin).await?;
                    Self::perform(transaction, queue, (steps, end), &mut does).await?;
                    Ok(does)
                })
            }

            fn enlist(&mut self, queue: &Queue) -> Result<std::result::Result<(), EnlistError>> {
                ready(&self.runtime, async {
                    let mut transaction = self.connection.begin_with($begin).await?;
                    Ok(queue.enlist_async(&mut *transaction).await.map(drop))
                })
            }

            fn notes(&mut self) -> Result<usize> {
                ready(&self.runtime, async {
                    let select = sqlx::query("SELECT n FROM note");
                    Ok(select.fetch_all(&mut self.connection).await?.len())
                })
            }
        }

        impl Unguarded for $application {
            fn enlist_outside(&mut self, queue: &Queue) -> std::result::Result<(), EnlistError> {
                let enlisted = queue.enlist_async(&mut self.connection);
                self.runtime.block_on(enlisted).map(drop)
            }
        }

        impl Droppable for $application {
            fn drop_halfway(&mut self, queue: &Queue) -> Result<usize> {
                ready(&self.runtime, async {
                    let mut transaction = self.connection.begin_with($begin).await?;
                    let insert = sqlx::query("INSERT INTO note VALUES (1)");
                    insert.execute(&mut *transaction).await?;
                    let mut waits = 0;
                    loop {
                        let mut enlisted = queue.enlist_async(&mut *transaction).await?;
                        if let Some(done) = dropped_after(waits, enlisted.enqueue(&Ping(7))).await {
                            done?;
                            break;
                        }
                        waits += 1;
                    }
                    transaction.commit().await?;
                    Ok(waits)
                })
            }
        }
    };
}

/// How connections to a database are opened.
trait Open: sqlx::Database {
    fn open(url: &str) -> impl Future<Output = sqlx::Result<Self::Connection>>;
}

impl Open for Sqlite {
    async fn open(url: &str) -> sqlx::Result<SqliteConnection> {
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(url)).await
    }
}

impl Open for Postgres {
    async fn open(url: &str) -> sqlx::Result<PgConnection> {
        PgConnection::connect(url).await
    }
}

application!(SqlxSqlite, SqliteConnection, Sqlite, "BEGIN IMMEDIATE");
application!(SqlxPostgres, PgConnection, Postgres, "BEGIN");

impl Losing for SqlxSqlite {
    fn lose(&mut self, queue: &Queue) -> Result<[std::result::Result<(), EnlistError>; 2]> {
        ready(&self.runtime, async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut enlisted = queue.enlist_async(&mut *transaction).await?;
            let lose = sqlx::query(LOSE);
            drop(lose.execute(&mut **enlisted.transaction()).await);
            let written = enlisted.enqueue(&Ping(7)).await.map(drop);
            let enlisted = queue.enlist_async(&mut *transaction).await.map(drop);
            Ok([written, enlisted])
        })
    }
}
