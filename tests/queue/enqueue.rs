//! A task is visible if and only if the transaction that enqueued it committed.
#![cfg(test)]

use std::sync::Arc;

use votive::queue::{EnqueueError, Pending, Queue};
use votive::register::Tier;
use votive::store::Change;
use votive::task::{OnDuplicate, Options, Payload, PayloadLimits, State, Unique};
use votive::txn::TransactionManager;

use crate::faulty::Faulty;
use crate::fixture::{as_store, durable, greet, name_of, queue, visible, volatile};

#[test]
fn a_task_is_invisible_until_its_transaction_commits() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    assert!(visible(&**queue.store()).is_empty());
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["ann"]);
}

#[test]
fn an_abort_discards_what_was_enqueued() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    txn.abort().unwrap();
    assert!(visible(&**queue.store()).is_empty());
}

#[test]
fn a_transaction_that_is_dropped_enqueues_nothing() {
    let (store, queue, manager) = durable();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    drop(txn);
    assert!(visible(&*store).is_empty());
    assert_eq!(store.write_count(), 0);
}

#[test]
fn s8_a_rollback_takes_back_exactly_what_came_after_its_savepoint() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("before")).unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    queue.enqueue(&mut savepoint, &greet("within")).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    queue.enqueue(&mut txn, &greet("after")).unwrap();
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["before", "after"]);
}

#[test]
fn s8_a_task_is_dropped_if_any_enclosing_savepoint_rolls_back() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("before")).unwrap();
    let mut outer = txn.savepoint().unwrap();
    let mut inner = outer.savepoint().unwrap();
    queue.enqueue(&mut inner, &greet("within both")).unwrap();
    drop(inner);
    outer.rollback().unwrap();
    drop(outer);
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["before"]);
}

#[test]
fn several_queues_in_one_store_are_one_durable_write() {
    let (store, first, manager) = durable();
    let second = Queue::new(as_store(&store), "mail").unwrap();
    let mut txn = manager.begin().unwrap();
    first.enqueue(&mut txn, &greet("ann")).unwrap();
    second.enqueue(&mut txn, &greet("bob")).unwrap();
    let committed = txn.commit().unwrap();
    assert_eq!(visible(&*store), ["ann", "bob"]);
    assert_eq!(store.write_count(), 1);
    assert_eq!(committed.tier, Tier::Enlisted);
}

#[test]
fn two_stores_are_committed_together() {
    let (one, first, manager) = durable();
    let two = Faulty::new(Tier::Enlisted);
    let mut txn = manager.begin().unwrap();
    first.enqueue(&mut txn, &greet("ann")).unwrap();
    queue(&as_store(&two))
        .enqueue(&mut txn, &greet("bob"))
        .unwrap();
    let committed = txn.commit().unwrap();
    assert_eq!(
        (visible(&*one), visible(&*two)),
        (vec!["ann".into()], vec!["bob".into()])
    );
    assert_eq!((one.write_count(), two.write_count()), (1, 1));
    assert_eq!(committed.tier, Tier::Prepared);
}

#[test]
fn the_id_is_known_at_once() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    let task = queue.enqueue(&mut txn, &greet("ann")).unwrap();
    txn.commit().unwrap();
    let found = queue.store().get(task).unwrap().unwrap();
    assert_eq!(name_of(&found.record), "ann");
}

#[test]
fn pending_shows_what_a_commit_would_enqueue() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    queue.enqueue(&mut savepoint, &greet("bob")).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    let names: Vec<_> = txn.pending().into_iter().map(name_of).collect();
    assert_eq!(names, ["ann"]);
    assert!(visible(&**queue.store()).is_empty());
}

#[test]
fn an_oversized_task_is_refused_at_the_call_and_the_transaction_goes_on() {
    let (queue, manager) = volatile();
    let limits = PayloadLimits {
        size_max: 16,
        ..PayloadLimits::default()
    };
    let queue = queue.payload_limits(limits);
    let mut txn = manager.begin().unwrap();
    let refused = queue.enqueue(&mut txn, &greet(&"x".repeat(99)));
    assert!(matches!(refused, Err(EnqueueError::Payload(_))));
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["ann"]);
}

#[test]
fn an_oversized_encoded_payload_is_refused_too() {
    let (queue, manager) = volatile();
    let payload = Payload::encode(&greet(&"x".repeat(99)), PayloadLimits::default()).unwrap();
    let limits = PayloadLimits {
        size_max: 16,
        ..PayloadLimits::default()
    };
    let queue = queue.payload_limits(limits);
    let mut txn = manager.begin().unwrap();
    let refused = queue.enqueue_payload(&mut txn, "greet", payload, Options::default());
    assert!(matches!(refused, Err(EnqueueError::Payload(_))));
    txn.abort().unwrap();
}

#[test]
fn a_name_that_is_empty_or_too_long_is_refused() {
    let (queue, _) = volatile();
    let named = |name: &str| Queue::new(Arc::clone(queue.store()), name);
    assert!(matches!(named(""), Err(EnqueueError::Invalid(_))));
    assert!(matches!(
        named(&"x".repeat(256)),
        Err(EnqueueError::Invalid(_))
    ));
    named(&"x".repeat(255)).unwrap();
}

#[test]
fn a_queue_without_tasks_writes_nothing() {
    let (store, queue, manager) = durable();
    let mut txn = manager.begin().unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    queue.enqueue(&mut savepoint, &greet("ann")).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    let committed = txn.commit().unwrap();
    assert_eq!(store.write_count(), 0);
    assert_eq!(committed.tier, Tier::Volatile);
}

#[test]
fn a_memory_queue_is_volatile() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    assert_eq!(txn.commit().unwrap().tier, Tier::Volatile);
}

#[test]
fn transactions_of_two_managers_share_a_store() {
    let (store, queue, one) = durable();
    let two = TransactionManager::new();
    for (manager, name) in [(&one, "ann"), (&two, "bob")] {
        let mut txn = manager.begin().unwrap();
        queue.enqueue(&mut txn, &greet(name)).unwrap();
        txn.commit().unwrap();
    }
    assert_eq!(visible(&*store), ["ann", "bob"]);
}

#[test]
fn a_task_that_merged_is_named_with_the_one_that_stays() {
    let (queue, manager) = volatile();
    let only = || Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Merge,
            ..Unique::new("ann")
        }),
        ..Options::default()
    };
    let enqueue = || {
        let mut txn = manager.begin().unwrap();
        let task = queue.enqueue_with(&mut txn, &greet("ann"), only()).unwrap();
        (task, txn.commit().unwrap().merged)
    };
    let (stays, none) = enqueue();
    let (merges, pairs) = enqueue();
    assert_eq!((none, pairs), (vec![], vec![(merges, stays)]));
}

#[test]
fn changes_of_every_kind_travel_with_the_transaction() {
    let (queue, manager) = volatile();
    let mark = Change::Mark {
        key: "leader".into(),
        expect: None,
        value: Some(b"me".to_vec()),
    };
    let mut txn = manager.begin().unwrap();
    votive::queue::change(queue.store(), &mut txn, mark).unwrap();
    assert_eq!(queue.store().mark("leader").unwrap(), None);
    txn.commit().unwrap();
    assert_eq!(queue.store().mark("leader").unwrap(), Some(b"me".to_vec()));
}

#[test]
fn a_task_is_cancelled_and_run_again_with_the_transaction_that_says_so() {
    let (queue, manager) = volatile();
    let (task, _) = manager
        .run(1, |txn| queue.enqueue(txn, &greet("ann")))
        .unwrap();
    let state = || queue.store().get(task).unwrap().unwrap().record.state;

    let mut txn = manager.begin().unwrap();
    queue.cancel(&mut txn, task).unwrap();
    assert_eq!(state(), State::Ready);
    txn.commit().unwrap();
    assert_eq!(state(), State::Cancelled);

    let mut txn = manager.begin().unwrap();
    queue.retry(&mut txn, task).unwrap();
    txn.abort().unwrap();
    assert_eq!(state(), State::Cancelled);
    manager.run(1, |txn| queue.retry(txn, task)).unwrap();
    assert_eq!(state(), State::Ready);

    let mut txn = manager.begin().unwrap();
    queue.retry(&mut txn, task).unwrap();
    assert!(txn.commit().is_err(), "it has not ended");
    assert_eq!(state(), State::Ready);
}
