//! Every store answers as the memory store does, whatever is done in whatever order.
#![cfg(test)]

mod pair;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use votive::store::file::{self, FileStore};
use votive::store::postgres::{self, PostgresStore};
use votive::store::redis::{self, RedisStore};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{Filter, Inspect};
use votive::task::{Record, State};
use votive::time::ManualClock;
use votive_testbed::{Postgres, Redis, or_skip};

use pair::{run, run_watched};
use steps::program;

/// At least this many programs; `PROPTEST_CASES` may ask for more.
fn config(cases_min: u32) -> Config {
    let config = Config::default();
    let asked = std::env::var_os("PROPTEST_CASES").map_or(0, |_| config.cases);
    Config {
        cases: asked.max(cases_min),
        failure_persistence: None,
        ..config
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

/// Fewer programs than in a file, because each step is a trip to the server. What the server has written
/// down is read again in the end, by a server that was killed: claims may be gone, and nothing else.
#[test]
fn redis_answers_as_memory_does() {
    answers_as_memory_does(votive_testbed::redis::Options::default());
}

#[test]
fn valkey_answers_as_memory_does() {
    answers_as_memory_does(votive_testbed::redis::Options::valkey());
}

fn answers_as_memory_does(options: votive_testbed::redis::Options) {
    let Some(server) = or_skip(Redis::start(options)) else {
        return;
    };
    let open = |name: &str, clock: Option<&ManualClock>| {
        let address = server.address();
        let options = redis::Options::tcp(address.ip().to_string(), address.port());
        let options = options
            .name(name)
            .response_timeout(Duration::from_secs(120));
        RedisStore::open(match clock {
            Some(clock) => options.clock(clock.clone()),
            None => options,
        })
    };
    let tasks = Mutex::new(Vec::new());
    let agreed = TestRunner::new(config(300)).run(&program(), |steps| {
        let name = format!("program-{}", tasks.lock().len());
        if tasks.lock().len() % 50 == 25 {
            rewrite(&server);
        }
        run(&steps, |clock| Arc::new(open(&name, Some(clock)).unwrap()))?;
        tasks.lock().push(known(&open(&name, None).unwrap()));
        Ok(())
    });
    agreed.unwrap();
    server.restart().unwrap();
    for (number, before) in tasks.into_inner().into_iter().enumerate() {
        let store = open(&format!("program-{number}"), None).unwrap();
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        assert_eq!(known(&store), before);
    }
}

/// Has the server write down what is in its memory, claims included.
fn rewrite(server: &Redis) {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    ::redis::cmd("BGREWRITEAOF").exec(&mut connection).unwrap();
}

/// The tasks of a store, without what a claim changes.
fn known(store: &RedisStore) -> Vec<Record> {
    let page = store.scan(&Filter::default(), None, 1_000).unwrap();
    let unclaimed = |record: Record| match record.state {
        State::Claimed => Record {
            state: State::Ready,
            ..record
        },
        _ => record,
    };
    let records = page.tasks.into_iter().map(|listed| listed.record);
    records.map(unclaimed).collect()
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
