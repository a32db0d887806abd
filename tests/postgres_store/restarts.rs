//! The server is killed and started again, again and again, while producers and consumers work.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use votive::id::{TaskId, TxnId};
use votive::register::{Decision, Register};
use votive::store::postgres::PostgresStore;
use votive::store::{Batch, Change, Dispatch, Inspect, Interest, Kind, Stage};
use votive_testbed::{Postgres, or_skip, postgres};

use crate::fixture::{Process, done, insert, options, record, request};

const KILLS: usize = 5;

/// What really happened, as the processes know it.
#[derive(Default)]
struct World {
    committed: Mutex<BTreeSet<TaskId>>,
    settled: Mutex<BTreeMap<TaskId, usize>>,
    over: AtomicBool,
    applied: AtomicU64,
}

/// Tries until the server is there again.
fn insist<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let late = crossbeam_channel::after(Duration::from_secs(120));
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(late.try_recv().is_err(), "{error:?}"),
        }
        std::thread::yield_now();
    }
}

/// Applies changes, and asks the register where the answer was lost. Returns whether they happened.
fn apply(store: &PostgresStore, txn: TxnId, changes: Vec<Change>) -> bool {
    let now = insist(|| store.now());
    match store.apply(txn, &Batch::new(changes), &[], now) {
        Ok(_) => true,
        Err(error) if error.kind == Kind::Unknown => {
            let answer = insist(|| store.decide(txn, Decision::Aborted, &[]));
            answer.as_owner() == Some(Decision::Committed)
        }
        Err(_) => false,
    }
}

fn produce(store: &PostgresStore, world: &World) {
    let mut process = insist_process(store);
    while !world.over.load(Ordering::SeqCst) {
        let record = insist(|| Ok::<_, ()>(try_record(store)));
        let Some(record) = record else { continue };
        let id = record.id;
        if apply(store, process.txn(), vec![insert(record)]) {
            world.committed.lock().unwrap().insert(id);
            world.applied.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn try_record(store: &PostgresStore) -> Option<votive::task::Record> {
    store.now().ok().map(|_| record(store))
}

/// The server may be killed before anybody has begun.
fn insist_process(store: &PostgresStore) -> Process<'_> {
    insist(|| Process::enrolled(store))
}

fn consume(store: &PostgresStore, world: &World, until_empty: bool) {
    let mut process = insist_process(store);
    let (consumer, _presence) = insist(|| process.attended("web-1"));
    let request = request(&consumer, 5);
    loop {
        let now = insist(|| store.now());
        let claims = store.claim(&request, now).unwrap_or_default();
        for claim in &claims {
            let id = claim.record.id;
            if apply(store, process.txn(), vec![done(claim)]) {
                *world.settled.lock().unwrap().entry(id).or_default() += 1;
            }
        }
        if claims.is_empty() {
            if until_empty {
                return;
            }
            if world.over.load(Ordering::SeqCst) {
                return;
            }
            let ready = [Interest::Ready("default".to_owned())];
            drop(store.wait(&ready, Duration::from_millis(50)));
        }
    }
}

/// Kills the server as soon as something was applied since the last time.
fn kill_again_and_again(server: &Postgres, world: &World) {
    let late = crossbeam_channel::after(Duration::from_secs(300));
    for _ in 0..KILLS {
        let before = world.applied.load(Ordering::SeqCst);
        while world.applied.load(Ordering::SeqCst) < before + 30 {
            assert!(late.try_recv().is_err(), "nothing is applied any more");
            std::thread::yield_now();
        }
        server.kill().unwrap();
        server.restart().unwrap();
    }
    world.over.store(true, Ordering::SeqCst);
}

#[test]
fn nothing_is_lost_or_doubled_when_the_server_is_killed() {
    let Some(server) = or_skip(Postgres::start(postgres::Options::default())) else {
        return;
    };
    let options = options("votive").answer_timeout(Duration::from_secs(20));
    let open = || PostgresStore::open(&server.url(), options.clone()).unwrap();
    let (world, stores) = (World::default(), [open(), open()]);
    std::thread::scope(|threads| {
        let [one, other] = &stores;
        threads.spawn(|| produce(one, &world));
        threads.spawn(|| produce(other, &world));
        threads.spawn(|| consume(one, &world, false));
        threads.spawn(|| consume(other, &world, false));
        kill_again_and_again(&server, &world);
    });
    // Whoever consumed has departed; what was claimed and not settled comes back.
    consume(&stores[0], &world, true);
    let settled = world.settled.into_inner().unwrap();
    let committed = world.committed.into_inner().unwrap();
    assert!(settled.values().all(|count| *count == 1), "doubled");
    assert_eq!(settled.into_keys().collect::<BTreeSet<_>>(), committed);
    assert!(stores[0].check().unwrap().is_empty());
    assert!(committed.len() >= KILLS * 30);
}
