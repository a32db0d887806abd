//! A server for the tests inside of the backend, and a store on it.

use std::sync::LazyLock;

use votive_testbed::{Postgres, or_skip, postgres};

use super::error::Result;
use super::pool::{Durability, Write};
use super::row::column;
use super::session::Session;
use super::value::Value;
use super::{Options, PostgresStore};

/// A write without a point to die at.
pub(super) const WRITE: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: None,
};

/// The server; `None` where its program is not installed.
pub(super) static SERVER: LazyLock<Option<Postgres>> =
    LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));

/// Opens a store in a schema of its own.
pub(super) fn open(schema: &str) -> Option<PostgresStore> {
    let options = Options::default().schema(schema);
    Some(PostgresStore::open(&SERVER.as_ref()?.url(), options).unwrap())
}

pub(super) fn explain(sql: &str) -> String {
    format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sql}")
}

/// The blocks that an explained statement touches; it is taken back.
pub(super) fn blocks_of(store: &PostgresStore, explain: &'static str, values: Vec<Value>) -> u64 {
    let mut lines = Vec::new();
    let explained: Result<()> = store.write(WRITE, |session| {
        for row in session.query(explain, values)? {
            lines.push(column::<String>(&row, 0)?);
        }
        Err(crate::store::Kind::Conflict.into())
    });
    assert!(explained.is_err() && !lines.is_empty(), "{explained:?}");
    total(&lines)
}

/// Adds up the whole and the part that the whole does not contain: who inserts claims.
fn total(lines: &[String]) -> u64 {
    let starts = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| *at == 0 || line.contains("Insert on"));
    let of = |at: usize| {
        // One that touched nothing says nothing, and what follows is of another.
        let own = lines[at + 1..].iter();
        let mut own = own.take_while(|line| !line.contains("->") && !line.contains("CTE"));
        let counts = own.find(|line| line.contains("Buffers: shared"));
        let counts = counts.into_iter().flat_map(|line| line.split_whitespace());
        let numbers =
            counts.filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")));
        numbers
            .map(|number| number.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    starts.map(|(at, _)| of(at)).sum()
}
