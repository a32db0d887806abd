//! No outcome record is forgotten while anybody may still ask for it.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::TxnId;
use votive::queue::{Recovered, recover_older_than};
use votive::register::{Decision, Register, Tier};
use votive::store::{Kind, Stage};
use votive::time::Timestamp;
use votive::txn::TransactionManager;

use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, durable, greet, orphan, queue, stage, visible};

/// A register, and a store in which a process that is dead by now staged; the process is proved dead.
fn left_by_the_dead() -> (Arc<Faulty>, Arc<Faulty>, TransactionManager, TxnId) {
    let (store, _, manager) = durable();
    let register = Faulty::new(Tier::Enlisted);
    manager.registers().insert(register.clone());
    let txn = orphan(&*register);
    stage(&store, &*register, txn, "ann");
    register.departed.lock().push(txn.incarnation);
    (store, register, manager, txn)
}

fn recover_now(store: &Arc<Faulty>, manager: &TransactionManager) -> Recovered {
    recover_older_than(&as_store(store), manager, Duration::ZERO).unwrap()
}

#[test]
fn the_records_of_the_dead_go_once_every_store_has_released_them() {
    let (store, register, manager, txn) = left_by_the_dead();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    let recovered = recover_now(&store, &manager);
    assert_eq!(
        (recovered.garbage.forgotten, recovered.garbage.dropped),
        (1, 1)
    );
    assert!(register.outcomes(None, 10).unwrap().is_empty());
    assert!(register.incarnations().unwrap().is_empty());
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn abort_records_go_with_their_incarnation() {
    let (store, register, manager, _) = left_by_the_dead();
    let recovered = recover_now(&store, &manager);
    assert_eq!((recovered.discarded, recovered.garbage.dropped), (1, 1));
    assert!(register.outcomes(None, 10).unwrap().is_empty());
}

#[test]
fn a_record_stays_while_a_store_that_it_names_is_unknown() {
    let (store, register, manager, txn) = left_by_the_dead();
    let unknown = Faulty::new(Tier::Enlisted).resource();
    let stores = [store.resource(), unknown];
    register.decide(txn, Decision::Committed, &stores).unwrap();
    let garbage = recover_now(&store, &manager).garbage;
    assert_eq!((garbage.forgotten, garbage.dropped), (0, 0));
    assert_eq!(register.outcomes(None, 10).unwrap().len(), 1);
}

#[test]
fn a_record_stays_while_a_store_that_it_names_cannot_say() {
    let (store, register, manager, txn) = left_by_the_dead();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    store.fail("forgettable", Fault::Refused(Kind::Unavailable));
    assert_eq!(recover_now(&store, &manager).garbage.forgotten, 0);
    assert_eq!(recover_now(&store, &manager).garbage.forgotten, 1);
}

#[test]
fn a_record_stays_while_its_batch_is_staged() {
    let (store, register, manager, txn) = left_by_the_dead();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    let other = durable().0;
    recover_now(&other, &manager);
    assert_eq!(register.outcomes(None, 10).unwrap().len(), 1);
    assert_eq!(store.in_doubt(None, 10).unwrap().len(), 1);
}

#[test]
fn the_records_of_the_living_stay() {
    let (store, register, manager, txn) = left_by_the_dead();
    register.departed.lock().clear();
    register
        .decide(txn, Decision::Committed, &[store.resource()])
        .unwrap();
    let garbage = recover_now(&store, &manager).garbage;
    assert_eq!((garbage.forgotten, garbage.dropped), (0, 0));
}

#[test]
fn an_owner_forgets_its_own_records_as_soon_as_it_knows() {
    let (one, first, manager) = durable();
    let two = Faulty::new(Tier::Enlisted);
    let second = queue(&as_store(&two));
    let mut txn = manager.begin().unwrap();
    first.enqueue(&mut txn, &greet("ann")).unwrap();
    second.enqueue(&mut txn, &greet("bob")).unwrap();
    txn.commit().unwrap();
    assert_eq!(recover_now(&one, &manager).garbage.forgotten, 1);
    assert_eq!(
        one.incarnations().unwrap().len() + two.incarnations().unwrap().len(),
        2
    );
}

#[test]
fn an_owner_that_never_recovers_keeps_few_records() {
    let (one, first, manager) = durable();
    let two = Faulty::new(Tier::Enlisted);
    let second = queue(&as_store(&two));
    for _ in 0..200 {
        let mut txn = manager.begin().unwrap();
        first.enqueue(&mut txn, &greet("ann")).unwrap();
        second.enqueue(&mut txn, &greet("bob")).unwrap();
        txn.commit().unwrap();
    }
    let kept = |store: &Faulty| store.outcomes(None, 1_000).unwrap().len();
    assert!(
        kept(&one) + kept(&two) < 128,
        "{} + {}",
        kept(&one),
        kept(&two)
    );
}

#[test]
fn who_is_proved_dead_to_one_register_is_dead_to_all() {
    let (store, register, manager, txn) = left_by_the_dead();
    register.departed.lock().clear();
    store.enroll(txn.incarnation, Timestamp::EPOCH).unwrap();
    store.departed.lock().push(txn.incarnation);
    assert_eq!(recover_now(&store, &manager).garbage.dropped, 2);
    assert!(register.incarnations().unwrap().is_empty());
}
