//! Application databases as participants.
//!
//! A participant owns its connection for as long as its transaction lives, and nobody else can end
//! that transaction: it is committed by the vote, with the outcome record in it, or rolled back.

#[cfg(feature = "diesel")]
pub mod diesel;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod rusqlite;
#[cfg(feature = "seaorm")]
pub mod seaorm;
#[cfg(feature = "sqlx")]
pub mod sqlx;
