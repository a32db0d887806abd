//! The SQLite store.

pub(crate) mod register;
