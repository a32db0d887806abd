//! Recovery asks the register and obeys.
#![cfg(test)]

use std::time::Duration;

use votive::id::ResourceId;
use votive::queue::{Queue, Recovered, recover, recover_older_than};
use votive::register::{Decision, Register, Tier};
use votive::store::{Kind, Stage};
use votive::txn::TransactionManager;

use crate::database::Database;
use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, durable, orphan, stage, visible};

/// Recovers a store at once, whatever the age of what is staged.
fn recover_now(store: &std::sync::Arc<Faulty>, manager: &TransactionManager) -> Recovered {
    recover_older_than(&as_store(store), manager, Duration::ZERO).unwrap()
}

/// A store with a greeting staged by a process that is no more, to be decided in another register that
/// the manager knows.
fn staged_elsewhere() -> (
    std::sync::Arc<Faulty>,
    std::sync::Arc<Faulty>,
    TransactionManager,
    votive::id::TxnId,
) {
    let (store, _, manager) = durable();
    let register = Faulty::new(Tier::Enlisted);
    manager.registers().insert(register.clone());
    let txn = orphan(&*register);
    stage(&store, &*register, txn, "ann");
    (store, register, manager, txn)
}

#[test]
fn what_committed_is_published() {
    let (store, register, manager, txn) = staged_elsewhere();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    assert_eq!(recover_now(&store, &manager).published, 1);
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn what_did_not_commit_is_discarded_and_can_not_commit_any_more() {
    let (store, register, manager, txn) = staged_elsewhere();
    assert_eq!(recover_now(&store, &manager).discarded, 1);
    assert!(visible(&*store).is_empty());
    let answer = register.decide(txn, Decision::Committed, &[]).unwrap();
    assert_eq!(answer.decision, Some(Decision::Aborted));
}

#[test]
fn what_a_gone_incarnation_left_is_discarded() {
    let (store, register, manager, txn) = staged_elsewhere();
    assert!(register.drop_incarnation(txn.incarnation).unwrap());
    assert_eq!(recover_now(&store, &manager).discarded, 1);
}

#[test]
fn recovering_again_changes_nothing() {
    let (store, register, manager, txn) = staged_elsewhere();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    recover_now(&store, &manager);
    let again = recover_now(&store, &manager);
    assert_eq!(
        (again.published, again.discarded, again.in_doubt),
        (0, 0, 0)
    );
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn an_unknown_register_leaves_its_transactions_in_doubt() {
    let (store, _, _, txn) = staged_elsewhere();
    let recovered = recover_now(&store, &TransactionManager::new());
    assert_eq!(recovered.in_doubt, 1);
    let listed = store.in_doubt(None, 10).unwrap();
    assert_eq!(recovered.in_doubt_since, Some(listed[0].staged_at));
    assert_eq!(listed[0].txn, txn);
}

#[test]
fn a_register_that_cannot_be_reached_leaves_its_transactions_in_doubt() {
    let (store, register, manager, _) = staged_elsewhere();
    register.fail("decide", Fault::Refused(Kind::Unavailable));
    assert_eq!(recover_now(&store, &manager).in_doubt, 1);
    assert_eq!(
        recover_now(&store, &manager).discarded,
        1,
        "once it can be reached"
    );
}

#[test]
fn what_is_younger_than_the_grace_period_is_left_to_its_owner() {
    let (store, _, manager, _) = staged_elsewhere();
    store.clock.advance(Duration::from_secs(9));
    let recovered = recover(&as_store(&store), &manager).unwrap();
    assert_eq!((recovered.discarded, recovered.in_doubt), (0, 0));
    store.clock.advance(Duration::from_secs(1));
    let recovered = recover(&as_store(&store), &manager).unwrap();
    assert_eq!(recovered.discarded, 1);
}

#[test]
fn what_the_dead_have_left_is_settled_at_once() {
    let (store, register, manager, txn) = staged_elsewhere();
    register.departed.lock().push(txn.incarnation);
    let recovered = recover(&as_store(&store), &manager).unwrap();
    assert_eq!(recovered.discarded, 1);
}

#[test]
fn what_a_closed_incarnation_left_is_settled_at_once() {
    let (store, register, manager, txn) = staged_elsewhere();
    register.close(txn.incarnation).unwrap();
    let recovered = recover(&as_store(&store), &manager).unwrap();
    assert_eq!(recovered.discarded, 1);
}

#[test]
fn a_volatile_store_is_left_to_its_living_owner() {
    let store = Faulty::new(Tier::Volatile);
    let manager = TransactionManager::new();
    stage(&store, &*store, orphan(&*store), "ann");
    assert_eq!(recover_now(&store, &manager).in_doubt, 1);
}

#[test]
fn what_the_dead_left_in_a_volatile_store_that_others_see_is_settled() {
    let store = Faulty::shared(Tier::Volatile);
    let (register, _, manager) = durable();
    manager.registers().insert(register.clone());
    for (name, decision) in [("ann", Decision::Committed), ("bob", Decision::Aborted)] {
        let txn = orphan(&*register);
        stage(&store, &*register, txn, name);
        register.decide(txn, decision, &[]).unwrap();
    }
    let recovered = recover_now(&store, &manager);
    assert_eq!((recovered.published, recovered.discarded), (1, 1));
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn what_is_decided_here_for_others_waits_for_them() {
    let (store, _, manager) = durable();
    let txn = orphan(&*store);
    stage(&store, &*store, txn, "ann");
    let database = ResourceId::of_preparing_database([1; 12]);
    store.decide(txn, Decision::Committed, &[database]).unwrap();
    assert_eq!(recover_now(&store, &manager).in_doubt, 1);
    assert!(visible(&*store).is_empty());
}

/// A store with greetings that a process has staged which is no more, and whose transactions committed.
fn staged_and_committed(names: &[&str]) -> (std::sync::Arc<Faulty>, TransactionManager) {
    let (store, _, manager) = durable();
    let register = Faulty::new(Tier::Enlisted);
    manager.registers().insert(register.clone());
    let first = orphan(&*register);
    for (sequence, name) in (1..).zip(names) {
        let txn = votive::id::TxnId { sequence, ..first };
        stage(&store, &*register, txn, name);
        register.decide(txn, Decision::Committed, &[]).unwrap();
    }
    (store, manager)
}

#[test]
fn a_batch_that_cannot_be_published_keeps_no_other_from_it() {
    let damaged = Kind::Corrupt("the batch".to_owned());
    for kind in [damaged, Kind::Conflict, Kind::Unavailable] {
        let (store, manager) = staged_and_committed(&["ann", "bob"]);
        store.fail("publish", Fault::Refused(kind.clone()));
        let recovered = recover_older_than(&as_store(&store), &manager, Duration::ZERO);
        assert_eq!(recovered.unwrap_err().kind, kind);
        assert_eq!(visible(&*store), ["bob"]);
    }
}

#[test]
fn a_store_that_does_not_answer_is_not_asked_for_every_batch() {
    let (store, manager) = staged_and_committed(&["ann", "bob", "cid"]);
    for _ in 0..2 {
        store.fail("publish", Fault::Refused(Kind::Unavailable));
    }
    let recovered = recover_older_than(&as_store(&store), &manager, Duration::ZERO);
    assert_eq!(recovered.unwrap_err().kind, Kind::Unavailable);
    assert!(visible(&*store).is_empty());
    assert_eq!(recover_now(&store, &manager).published, 3);
}

#[test]
fn databases_and_garbage_do_not_wait_for_a_store_that_does_not_answer() {
    let (store, register, manager, txn) = staged_elsewhere();
    let database = Database::new(1);
    manager.registers().insert_database(database.clone());
    database.prepare(register.resource(), txn, Duration::ZERO);
    register.departed.lock().push(txn.incarnation);
    store.fail("in_doubt", Fault::Refused(Kind::Unavailable));
    let recovered = recover_older_than(&as_store(&store), &manager, Duration::ZERO);
    assert_eq!(recovered.unwrap_err().kind, Kind::Unavailable);
    assert!(!database.holds(txn));
    assert!(register.incarnations().unwrap().is_empty());
}

#[test]
fn opening_a_queue_recovers_its_store() {
    let (store, _, manager, _) = staged_elsewhere();
    store.clock.advance(Duration::from_secs(10));
    Queue::open(as_store(&store), "default", &manager).unwrap();
    assert!(store.in_doubt(None, 1).unwrap().is_empty());
}
