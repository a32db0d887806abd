//! Behind a pooler that hands connections round, nothing is lost but the speed of a wake-up.
#![cfg(test)]

use std::time::Duration;

use votive::store::postgres::{Pooler, PostgresStore};
use votive::store::{Dispatch, Inspect, Interest};
use votive_testbed::{PgBouncer, or_skip};

use crate::fixture::{Process, SERVER, claim, done, options, schema};

#[test]
fn nothing_is_prepared_and_nothing_set_for_longer_than_a_transaction() {
    let Some(server) = &*SERVER else { return };
    let options = options(&schema()).pooler(Pooler::Transaction);
    let url = format!("{}?application_name=pooled", server.url());
    let store = PostgresStore::open(&url, options).unwrap();
    let mut process = Process::new(&store);
    process.enqueue(3);
    let (consumer, _presence) = process.consumer("web-1");
    let claims = claim(&store, &consumer, 3);
    process.apply(claims.iter().map(done).collect()).unwrap();
    let prepared = "SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = 'pooled' AND query LIKE 'LISTEN%'";
    let count: i64 = server
        .client()
        .unwrap()
        .query_one(prepared, &[])
        .unwrap()
        .get(0);
    assert_eq!((claims.len(), count), (3, 0));
}

/// Has tasks go through a pooler that shares fewer sessions than there are threads.
#[test]
fn behind_a_pooler_that_shares_sessions_each_task_is_done_once() {
    const TASKS: usize = 40;
    let Some(server) = &*SERVER else { return };
    let Some(pooler) = or_skip(PgBouncer::start(server, 2)) else {
        return;
    };
    let options = options(&schema()).pooler(Pooler::Transaction);
    let store = PostgresStore::open(&pooler.url(), options).unwrap();
    let done: usize = std::thread::scope(|threads| {
        let work = || {
            let mut process = Process::new(&store);
            process.enqueue(TASKS / 4);
            let (consumer, _presence) = process.consumer("web-1");
            let mut count = 0;
            loop {
                let claims = claim(&store, &consumer, 3);
                if claims.is_empty() {
                    return count;
                }
                process.apply(claims.iter().map(done).collect()).unwrap();
                count += claims.len();
            }
        };
        let threads: Vec<_> = (0..4).map(|_| threads.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(done, TASKS);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn behind_a_pooler_who_waits_finds_out_by_polling() {
    let Some(server) = &*SERVER else { return };
    let Some(pooler) = or_skip(PgBouncer::start(server, 2)) else {
        return;
    };
    let schema = schema();
    let options = || options(&schema).pooler(Pooler::Transaction);
    let waiting = PostgresStore::open(&pooler.url(), options()).unwrap();
    let other = PostgresStore::open(&pooler.url(), options()).unwrap();
    let ready = [Interest::Ready("default".to_owned())];
    let waited = std::thread::scope(|threads| {
        let wait = threads.spawn(|| waiting.wait(&ready, Duration::from_secs(60)).unwrap());
        Process::new(&other).enqueue(1);
        wait.join().unwrap()
    });
    assert_eq!(waited, Some(ready[0].clone()));
}

#[test]
fn who_is_not_notified_finds_out_by_polling() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let waiting = options(&schema).pooler(Pooler::Transaction);
    let waiting = PostgresStore::open(&server.url(), waiting).unwrap();
    let other = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let ready = [Interest::Ready("default".to_owned())];
    let waited = std::thread::scope(|threads| {
        let wait = threads.spawn(|| waiting.wait(&ready, Duration::from_secs(60)).unwrap());
        Process::new(&other).enqueue(1);
        wait.join().unwrap()
    });
    assert_eq!(waited, Some(ready[0].clone()));
}

#[test]
fn another_process_is_told_of_a_commit_long_before_it_would_look() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let slow = || options(&schema).poll_interval(Duration::from_secs(3_000));
    let waiting = PostgresStore::open(&server.url(), slow()).unwrap();
    let other = PostgresStore::open(&server.url(), slow()).unwrap();
    let ready = [Interest::Ready("default".to_owned())];
    let mut process = Process::new(&other);
    let (consumer, _presence) = process.consumer("web-1");
    for _ in 0..20 {
        let late = crossbeam_channel::after(Duration::from_secs(100));
        let waited = std::thread::scope(|threads| {
            let wait = threads.spawn(|| waiting.wait(&ready, Duration::from_secs(200)).unwrap());
            process.enqueue(1);
            wait.join().unwrap()
        });
        assert!(waited.is_some() && late.try_recv().is_err());
        let claims = claim(&other, &consumer, 10);
        process.apply(claims.iter().map(done).collect()).unwrap();
    }
}
