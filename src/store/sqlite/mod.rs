//! The SQLite store.

pub(crate) mod gate;
