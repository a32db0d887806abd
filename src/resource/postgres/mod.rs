//! Postgres databases of the application, by way of the synchronous driver.
//!
//! | form | how | tier |
//! | --- | --- | --- |
//! | *enlisted, yours* | `queue.enlist(&mut transaction)` on a connection of your own to the store's database | enlisted |
//! | *enlisted, ours* | [`Database::sharing`] the store's database, then [`Database::join`] | enlisted |
//! | *prepared* | [`Database::open`] another database that holds a register, then [`Database::join`] | prepared |
//! | *preparing* | [`Database::preparing`] any number of databases, then [`Database::join`] | prepared |
//!
//! In the first form an [`EnlistingClient`] spares what a connection needs to be asked only once.
//!
//! In the last three forms a [`Session`] owns a connection inside a transaction. In the second and third
//! its `COMMIT` is the decision: it writes the tasks that share its database, then sends the outcome
//! record together with the `COMMIT`, so all of them are there or none. In the last it promises by
//! `PREPARE TRANSACTION`, a queue's store decides, and the tasks wait for `COMMIT PREPARED`.

mod commit;
mod database;
mod enlist;
mod enlisting;
mod error;
mod habit;
mod options;
mod pool;
mod prepared;
mod register;
mod session;

pub use database::Database;
pub use enlisting::{EnlistingClient, EnlistingTransaction};
pub use error::DatabaseError;
pub use options::{Isolation, Options};
pub use register::statements;
pub use session::Session;
