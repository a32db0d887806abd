//! Tasks with groups and keys that are claimed and ended by hundreds, while others come and go.
#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};

use votive::store::postgres::PostgresStore;
use votive::store::{Amendment, Change, Dispatch, Inspect};
use votive::task::{Options, Record, StateSet, Unique};

use crate::fixture::{Process, SERVER, claim, done, drain, insert, insist, open, record};

/// Groups are full in turn: of each so many tasks run at once.
const PLACES: u32 = 2;

fn grouped(store: &PostgresStore, group: usize, places: u32) -> Record {
    record(store).with_options(
        Options {
            group: Some(format!("group/{group}")),
            group_limit: Some(places),
            ..Options::default()
        }
        .shared(),
    )
}

fn keyed(store: &PostgresStore, key: usize) -> Record {
    record(store).with_options(
        Options {
            unique: Some(Unique::new(format!("key/{key}"))),
            ..Options::default()
        }
        .shared(),
    )
}

#[test]
fn groups_go_on_whoever_ends_their_tasks_at_once() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    let left = AtomicUsize::new(400);
    let mut process = Process::new(&store);
    let first: Vec<_> = (0..200)
        .map(|n| insert(grouped(&store, n % 10, PLACES)))
        .collect();
    process.apply(first).unwrap();
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| drain(&store, &left));
        }
        for number in 0..200 {
            insist(
                &mut process,
                &[insert(grouped(&store, number % 10, PLACES))],
            );
            if number % 20 == 0 {
                assert_eq!(store.check().unwrap(), Vec::<String>::new());
            }
        }
    });
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    assert_eq!(left.into_inner(), 0);
}

#[test]
fn tasks_that_wait_for_their_group_may_be_cancelled_while_others_end() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    let mut process = Process::new(&store);
    let records: Vec<_> = (0..200)
        .map(|number| grouped(&store, number % 10, PLACES))
        .collect();
    process
        .apply(records.iter().cloned().map(insert).collect())
        .unwrap();
    let left = AtomicUsize::new(records.len());
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| drain(&store, &left));
        }
        for record in records.iter().rev().step_by(3) {
            let cancel = Change::Amend {
                task: record.id,
                expect: StateSet::PENDING,
                amendment: Amendment::Cancel,
            };
            if process.apply(vec![cancel]).is_ok() {
                left.fetch_sub(1, Ordering::SeqCst);
            }
        }
    });
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn who_allows_fewer_than_others_of_the_group_has_the_rules_decide() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    let mut process = Process::new(&store);
    let (consumer, _presence) = process.consumer("web");
    for places in [2, 2, 1, 2] {
        process
            .apply(vec![insert(grouped(&store, 0, places))])
            .unwrap();
    }
    let mut claims = claim(&store, &consumer, 10);
    assert_eq!(claims.len(), 2);
    process.apply(vec![done(&claims.remove(0))]).unwrap();
    // One still runs, and the next would go on alone.
    assert!(claim(&store, &consumer, 10).is_empty());
    process.apply(vec![done(&claims.remove(0))]).unwrap();
    // It goes on, and so does the one behind it, which would have another beside it.
    assert_eq!(claim(&store, &consumer, 10).len(), 2);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn keys_are_free_when_their_tasks_are_claimed_by_hundreds() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    let mut process = Process::new(&store);
    let (consumer, _presence) = process.consumer("web");
    let all = |store: &PostgresStore| (0..300).map(|key| insert(keyed(store, key))).collect();
    for _ in 0..3 {
        let again: Vec<_> = all(&store);
        assert!(process.apply(again).unwrap().merged.is_empty());
        let merged = process.apply(all(&store)).unwrap().merged;
        assert_eq!(merged.len(), 300);
        let mut claimed = 0;
        while claimed < 300 {
            let claims = claim(&store, &consumer, 100);
            claimed += claims.len();
            process.apply(claims.iter().map(done).collect()).unwrap();
        }
    }
    assert!(
        store
            .claim(&crate::fixture::request(&consumer, 1), store.now().unwrap())
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}
