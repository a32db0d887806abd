//! Databases of an application that uses sqlx: its tasks are in sqlx's own transactions.
//!
//! `queue.enlist_async(&mut *transaction)`, with the transaction of a SQLite or a Postgres pool or connection,
//! where this crate has the feature `sqlite` or `postgres`. What is written is what the store
//! [has rendered](crate::store::render), in a savepoint of sqlx's, so that after a refusal the transaction can go
//! on. So it can after a future that was dropped halfway: the task is written as a whole or not at all.
//!
//! On SQLite begin with `pool.begin_with("BEGIN IMMEDIATE")`: a transaction that reads first and writes later
//! is refused when another has written in between.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod application {
//! use sqlx::{Connection, SqliteConnection};
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
//!     connection: &mut SqliteConnection,
//!     queue: &Queue,
//!     name: String,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
//!     let insert = sqlx::query("INSERT INTO account (name) VALUES (?1)");
//!     insert.bind(&name).execute(&mut *transaction).await?;
//!     let mut enlisted = queue.enlist_async(&mut *transaction).await?;
//!     enlisted.enqueue(&Greet { name }).await?;
//!     transaction.commit().await?;
//!     Ok(())
//! }
//! # }
//! ```
//!
//! # Blocking
//! The statements are awaited. The store is asked for the time, and for what operators say of a queue where
//! that is not known from before, by calls that block: for microseconds on SQLite, for a round trip or two a
//! second on Postgres. A Postgres store refuses to be asked on the thread of a tokio runtime that has only
//! one; see [`store::postgres`](crate::store).

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod execute;
#[cfg(feature = "postgres")]
mod leaked;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
