//! Work that a fleet does once.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::queue::{recover_in_turn, take_turn};
use votive::register::{Register, Tier};
use votive::store::{Inspect, Kind, Stage};
use votive::txn::TransactionManager;

use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, durable, orphan, stage};

const INTERVAL: Duration = Duration::from_secs(10);

fn takes(store: &Arc<Faulty>, name: &str) -> bool {
    take_turn(&as_store(store), &TransactionManager::new(), name, INTERVAL).unwrap()
}

#[test]
fn of_a_fleet_one_takes_the_turn_and_after_the_interval_one_takes_the_next() {
    let (store, _, _) = durable();
    for _ in 0..3 {
        assert!(takes(&store, "sweep"));
        assert!(!takes(&store, "sweep"));
        store.clock.advance(INTERVAL);
    }
}

#[test]
fn turns_at_different_work_are_taken_apart() {
    let (store, _, _) = durable();
    assert!(takes(&store, "sweep"));
    assert!(takes(&store, "count"));
}

#[test]
fn who_is_slower_than_another_has_no_turn() {
    let (store, _, _) = durable();
    store.fail(
        "apply",
        Fault::Refused(Kind::MarkChanged("turn/sweep".to_owned())),
    );
    assert!(!takes(&store, "sweep"));
    assert!(takes(&store, "sweep"));
}

#[test]
fn turns_that_nobody_takes_any_more_are_removed() {
    let (store, _, _) = durable();
    assert!(takes(&store, "forgotten"));
    store.clock.advance(INTERVAL * 2_000);
    assert!(takes(&store, "sweep"));
    assert_eq!(store.marks("turn/").unwrap().len(), 1);
}

#[test]
fn a_fleet_recovers_once_for_each_interval() {
    let (store, _, one) = durable();
    let other = TransactionManager::new();
    let recover = |manager| recover_in_turn(&as_store(&store), manager, INTERVAL).unwrap();
    assert!(recover(&one).is_some());
    assert!(recover(&other).is_none());
    store.clock.advance(INTERVAL);
    assert!(recover(&other).is_some());
}

#[test]
fn who_knows_a_register_that_others_do_not_has_turns_of_its_own() {
    let (store, _, stranger) = durable();
    let register = Faulty::new(Tier::Enlisted);
    let txn = orphan(&*register);
    stage(&store, &*register, txn, "ann");
    store.clock.advance(INTERVAL);
    let recover = |manager| recover_in_turn(&as_store(&store), manager, INTERVAL).unwrap();
    assert_eq!(recover(&stranger).unwrap().in_doubt, 1);
    let insider = TransactionManager::new();
    insider.registers().insert(register as Arc<dyn Register>);
    assert_eq!(recover(&insider).unwrap().discarded, 1);
    assert!(store.in_doubt(None, 1).unwrap().is_empty());
}
