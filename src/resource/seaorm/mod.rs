//! Databases of an application that uses `SeaORM`: its tasks are in `SeaORM`'s own transactions.
//!
//! `queue.enlist_async(&transaction)`, with a transaction of a SQLite or a Postgres database, where this crate
//! has the feature `sqlite` or `postgres`. What is written is what the store
//! [has rendered](crate::store::render), in a savepoint, so that after a refusal the transaction can go on.
//!
//! After a future that was dropped halfway, drop the transaction too. `SeaORM` 2.0 on sqlx 0.9 may take the whole
//! transaction back when a future is dropped while it makes or releases a savepoint, and `commit` does not say so.
//!
//! On SQLite begin with `begin_with_options` and `SqliteTransactionMode::Immediate`: a transaction that reads
//! first and writes later is refused when another has written in between.
//!
//! ```
//! use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
//! use votive::Queue;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl votive::Task for Greet {
//!     const KIND: &'static str = "greet";
//! }
//!
//! async fn sign_up(
//!     database: &DatabaseConnection,
//!     queue: &Queue,
//!     name: String,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let transaction = database.begin().await?;
//!     transaction.execute_unprepared("UPDATE total SET accounts = accounts + 1").await?;
//!     let mut enlisted = queue.enlist_async(&transaction).await?;
//!     enlisted.enqueue(&Greet { name }).await?;
//!     transaction.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! # Blocking
//! The statements are awaited. The store is asked for the time, and for what operators say of a queue where
//! that is not known from before, by calls that block: for microseconds on SQLite, for a round trip or two a
//! second on Postgres. A Postgres store refuses to be asked on the thread of a tokio runtime that has only
//! one; see [`store::postgres`](crate::store).

mod enlist;
