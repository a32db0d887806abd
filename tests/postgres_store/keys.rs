//! Unique keys while others claim: who holds one, and who is kept from being claimed.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use votive::queue::Queue;
use votive::resource::postgres::{EnlistingClient, EnlistingTransaction};
use votive::store::postgres::PostgresStore;
use votive::store::{Claim, Dispatch, Inspect};
use votive::task::{Options, Record, Unique};

use crate::fixture::{Process, SERVER, claim, drain, insert, insist, open, record, request};

/// A task that merges into another one of its key.
pub(crate) fn keyed(store: &PostgresStore, key: usize) -> Record {
    record(store).with_options(merging(key).shared())
}

fn merging(key: usize) -> Options {
    Options {
        unique: Some(Unique::new(key.to_string())),
        ..Options::default()
    }
}

/// Writes a task of this key into an application's transaction.
pub(crate) fn enlist(store: &Arc<PostgresStore>, txn: &mut EnlistingTransaction<'_>, key: usize) {
    let queue = Queue::new(Arc::<PostgresStore>::clone(store), "default").unwrap();
    let payload = record(store).payload;
    let mut enlisted = queue.enlist(txn).unwrap();
    enlisted
        .enqueue_payload("kind", payload, merging(key))
        .unwrap();
}

pub(crate) fn has_key(claims: &[Claim], key: usize) -> bool {
    let is_of = |unique: &Unique| unique.key == key.to_string();
    let mut unique = claims.iter().map(|each| &each.record.options.unique);
    unique.any(|unique| unique.as_ref().is_some_and(is_of))
}

#[test]
fn who_merges_keeps_the_holder_from_being_claimed_and_few_others() {
    let Some(server) = &*SERVER else { return };
    let store = Arc::new(open(server));
    let mut process = Process::new(&store);
    let all = (0..200).map(|key| insert(keyed(&store, key)));
    process.apply(all.collect()).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let mut client = EnlistingClient::new(server.client().unwrap());
    let mut txn = client.transaction().unwrap();
    enlist(&store, &mut txn, 100);
    let others = claim(&store, &consumer, 300);
    assert!(!has_key(&others, 100));
    assert!((184..200).contains(&others.len()), "{}", others.len());
    txn.commit().unwrap();
    let kept = claim(&store, &consumer, 300);
    assert!(has_key(&kept, 100));
    assert_eq!(others.len() + kept.len(), 200);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_task_that_is_due_is_claimed_although_all_others_are_kept() {
    let Some(server) = &*SERVER else { return };
    let store = Arc::new(open(server));
    let mut process = Process::new(&store);
    let all = (0..20).map(|key| insert(keyed(&store, key)));
    process.apply(all.collect()).unwrap();
    let delayed = Options::default().delay(Duration::from_secs(60));
    let delayed = record(&store).with_options(delayed.shared());
    process.apply(vec![insert(delayed.clone())]).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let mut client = EnlistingClient::new(server.client().unwrap());
    let mut txn = client.transaction().unwrap();
    for key in 0..20 {
        enlist(&store, &mut txn, key);
    }
    let later = store
        .now()
        .unwrap()
        .saturating_add(Duration::from_secs(120));
    let claims = store.claim(&request(&consumer, 100), later).unwrap();
    let ids: Vec<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(ids, [delayed.id]);
    txn.commit().unwrap();
}

/// How many tasks one batch brings, and how many keys they have among them.
const BATCH: usize = 20;
const KEYS: usize = 60;

/// Enqueues batches whose tasks merge into those of others, or of the same batch.
fn enqueue(store: &PostgresStore, (first, step): (usize, usize), left: &AtomicUsize) {
    let mut process = Process::new(store);
    for round in 0..100 {
        let keys = (0..BATCH).map(|n| (first + round + step * n) % KEYS);
        let all: Vec<_> = keys.map(|key| insert(keyed(store, key))).collect();
        left.fetch_add(all.len(), Ordering::SeqCst);
        let merged = insist(&mut process, &all).merged;
        left.fetch_sub(merged.len(), Ordering::SeqCst);
        if round % 25 == 0 {
            assert_eq!(store.check().unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn one_task_holds_a_key_whoever_claims_and_enqueues_at_once() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    // Those who enqueue are left, too.
    let left = AtomicUsize::new(1);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| drain(&store, &left));
        }
        let enqueuing = [(0, 1), (30, 7)].map(|keys| {
            let (store, left) = (&store, &left);
            threads.spawn(move || enqueue(store, keys, left))
        });
        for each in enqueuing {
            each.join().unwrap();
        }
        left.fetch_sub(1, Ordering::SeqCst);
    });
    assert_eq!(left.into_inner(), 0);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}
