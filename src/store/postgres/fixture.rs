//! A server for the tests inside of the backend, and a store on it.

use std::sync::LazyLock;

use votive_testbed::{Postgres, or_skip, postgres};

use super::pool::{Durability, Write};
use super::{Options, PostgresStore};

/// A write without a point to die at.
pub(super) const WRITE: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: false,
};

/// The server; `None` where its program is not installed.
pub(super) static SERVER: LazyLock<Option<Postgres>> =
    LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));

/// Opens a store in a schema of its own.
pub(super) fn open(schema: &str) -> Option<PostgresStore> {
    let options = Options::default().schema(schema);
    Some(PostgresStore::open(&SERVER.as_ref()?.url(), options).unwrap())
}
