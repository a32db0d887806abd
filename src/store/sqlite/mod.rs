//! The SQLite store.

pub(crate) mod gate;
pub(crate) mod register;
