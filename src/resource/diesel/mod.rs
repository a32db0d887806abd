//! SQLite databases of an application that uses Diesel: its tasks are in Diesel's own transactions.
//!
//! `queue.enlist(&mut connection)` inside of `connection.immediate_transaction(…)`. What is written is what
//! the store [has rendered](crate::store::render), in a savepoint, so that after a refusal the transaction can
//! go on.
//!
//! ```
//! use diesel::connection::SimpleConnection;
//! use diesel::SqliteConnection;
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
//! type Error = Box<dyn std::error::Error>;
//!
//! fn sign_up(connection: &mut SqliteConnection, queue: &Queue, name: String) -> Result<(), Error> {
//!     connection.immediate_transaction(|connection| {
//!         connection.batch_execute("UPDATE total SET accounts = accounts + 1")?;
//!         queue.enlist(connection)?.enqueue(&Greet { name })?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Begin with `immediate_transaction`: a transaction that reads first and writes later is refused by SQLite
//! when another has written in between. Whoever waits for tasks in this process is told by the file's
//! change, or at once by [`SqliteStore::announce`](crate::store::sqlite::SqliteStore::announce).

mod enlist;
