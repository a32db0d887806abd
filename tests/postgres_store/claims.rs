//! Claims: whoever else claims, and while an old snapshot is held.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Barrier;

use votive::store::Inspect;

use crate::fixture::{Process, SERVER, claim, done};

#[test]
fn two_consumers_share_the_work() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let enqueued: BTreeSet<_> = process.enqueue(200).into_iter().collect();
    let both = Barrier::new(2);
    let drain = || {
        let process = Process::new(&store);
        let (consumer, presence) = process.consumer("web");
        both.wait();
        let claims = std::iter::from_fn(|| {
            let claims = claim(&store, &consumer, 2);
            both.wait();
            (!claims.is_empty()).then_some(claims)
        });
        let ids: Vec<_> = claims
            .take(50)
            .flatten()
            .map(|claim| claim.record.id)
            .collect();
        (ids, presence)
    };
    let drained: Vec<_> = std::thread::scope(|threads| {
        let threads = [threads.spawn(drain), threads.spawn(drain)];
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(drained.iter().all(|(ids, _)| ids.len() == 100));
    let claimed: Vec<_> = drained.into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), enqueued);
}

#[test]
fn a_drain_goes_on_while_an_old_snapshot_is_held() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let enqueued = process.enqueue(1_000).len();
    let mut holder = server.client().unwrap();
    let held = holder.build_transaction();
    let held = held.isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut held = held.start().unwrap();
    held.query_one("SELECT 1", &[]).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let mut drained = 0;
    while drained < enqueued {
        let claims = claim(&store, &consumer, 100);
        assert!(!claims.is_empty());
        drained += claims.len();
        process.apply(claims.iter().map(done).collect()).unwrap();
    }
    assert!(store.stats().unwrap().queues.is_empty());
    assert!(store.check().unwrap().is_empty());
}
