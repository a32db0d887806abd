//! Every store answers as the memory store does, whatever is done in whatever order.
#![cfg(test)]

mod pair;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use votive::store::file::{self, FileStore};
use votive::store::postgres::{self, PostgresStore};
use votive::store::redis::{self, RedisStore};
use votive::store::sqlite::{self, SqliteStore};
use votive_testbed::{Postgres, Redis, or_skip};

use pair::{run, run_watched};
use steps::program;

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn sqlite_answers_as_memory_does(steps in program()) {
        let folder = tempfile::tempdir().unwrap();
        run(&steps, |clock| {
            let options = sqlite::Options::default().clock(clock.clone());
            Arc::new(SqliteStore::open(folder.path().join("tasks.db"), options).unwrap())
        })?;
    }
}

proptest! {
    #![proptest_config(config(150))]

    /// Segments are so short that the journal is cleaned all the time.
    #[test]
    fn file_answers_as_memory_does(steps in program()) {
        let folder = tempfile::tempdir().unwrap();
        run_watched(&steps, |clock| {
            let options = file::Options::default().clock(clock.clone()).segment_size(3_000);
            Arc::new(FileStore::open(folder.path().join("tasks"), options).unwrap())
        })?;
    }
}

/// Fewer programs than in a file, because each step is a trip to the server.
#[test]
fn redis_answers_as_memory_does() {
    let Some(server) = or_skip(Redis::start(votive_testbed::redis::Options::default())) else {
        return;
    };
    let (address, names) = (server.address(), AtomicU32::new(0));
    let agreed = TestRunner::new(config(300)).run(&program(), |steps| {
        let name = format!("program-{}", names.fetch_add(1, Ordering::Relaxed));
        run(&steps, |clock| {
            let options = redis::Options::tcp(address.ip().to_string(), address.port());
            let options = options.name(name).clock(clock.clone());
            Arc::new(RedisStore::open(options).unwrap())
        })
    });
    agreed.unwrap();
}

/// Fewer still, because each has tables of its own.
#[test]
fn postgres_answers_as_memory_does() {
    let server = Postgres::start(votive_testbed::postgres::Options::default());
    let Some(server) = or_skip(server) else {
        return;
    };
    let names = AtomicU32::new(0);
    let agreed = TestRunner::new(config(100)).run(&program(), |steps| {
        let schema = format!("program_{}", names.fetch_add(1, Ordering::Relaxed));
        run(&steps, |clock| {
            let options = postgres::Options::default().schema(schema);
            let options = options.clock(clock.clone());
            Arc::new(PostgresStore::open(&server.url(), options).unwrap())
        })
    });
    agreed.unwrap();
}
