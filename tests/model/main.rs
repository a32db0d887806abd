//! Whatever a program does: a task is visible if and only if its transaction committed, rolled back
//! exactly as far as its savepoint says, claimed in order, and never by two.
//!
//! Programs run against the library and against a model of it that is slow, plain and short.
#![cfg(test)]

mod database;
mod draft;
mod model;
mod program;
mod shelf;
mod stores;
mod transact;
mod world;

use proptest::prelude::*;
use proptest::test_runner::Config;

use program::programs;
use stores::Home;
use world::World;

/// At least this many programs; `PROPTEST_CASES` may ask for more, or for this part of more.
fn config(cases_min: u32, part: u32) -> Config {
    let config = Config::default();
    Config {
        cases: (config.cases / part).max(cases_min),
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config(2_000, 1))]

    #[test]
    fn memory_does_what_the_model_does(program in programs(40, 1)) {
        World::new(Home::Memory).run(&program)?;
    }
}

proptest! {
    #![proptest_config(config(200, 10))]

    #[test]
    fn sqlite_does_what_the_model_does(program in programs(30, 4)) {
        World::new(Home::Files(tempfile::tempdir().unwrap())).run(&program)?;
    }
}
