//! SQLite databases of the application, by way of rusqlite.
//!
//! | form | how | tier |
//! | --- | --- | --- |
//! | *enlisted, yours* | `queue.enlist(&transaction)` on a connection of your own to the store's file | enlisted |
//! | *enlisted, ours* | [`Database::sharing`] the store's file, then [`Database::join`] | enlisted |
//! | *prepared* | [`Database::open`] another file that holds a register, then [`Database::join`] | prepared |
//!
//! In the last two forms a [`Session`] owns a connection inside a transaction. Its `COMMIT` is the
//! decision: it writes the tasks that share its file and the outcome record, then commits, so all of
//! them are there or none.

mod alive;
mod database;
mod enlist;
mod error;
mod options;
mod pool;
mod register;
mod session;

pub use database::Database;
pub use error::DatabaseError;
pub use options::Options;
pub use session::Session;

pub use crate::store::sqlite::register::SCHEMA as REGISTER_SCHEMA;
