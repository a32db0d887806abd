//! The capacity of queues, and the kinds that go first.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use votive::Task;
use votive::queue::{Queue, Rate, Status};
use votive::store::{Kind, QueueStats, Stage};
use votive::task::State;
use votive::txn::{CommitError, TransactionManager};

use crate::fixture::{as_store, durable, greet, queue, visible, volatile};

/// Commits greetings of these names.
fn enqueue(queue: &Queue, manager: &TransactionManager, names: &[&str]) -> Result<(), CommitError> {
    let mut txn = manager.begin().unwrap();
    for name in names {
        queue.enqueue(&mut txn, &greet(name)).unwrap();
    }
    txn.commit().map(drop)
}

fn is_full(error: &CommitError) -> bool {
    let found = votive::store::Error::among(error);
    found.is_some_and(|error| matches!(error.kind, Kind::QueueFull { pending_max: 2, .. }))
}

#[test]
fn a_transaction_that_would_exceed_the_capacity_is_refused_by_name() {
    let (queue, manager) = volatile();
    queue
        .change_settings(&manager, |settings| settings.capacity = Some(2))
        .unwrap();
    enqueue(&queue, &manager, &["ann"]).unwrap();
    let refused = enqueue(&queue, &manager, &["bob", "cid"]).unwrap_err();
    assert!(is_full(&refused), "{refused:?}");
    assert_eq!(visible(&**queue.store()), ["ann"]);
    enqueue(&queue, &manager, &["dan"]).unwrap();
    assert!(is_full(&enqueue(&queue, &manager, &["eva"]).unwrap_err()));
}

#[test]
fn running_a_refused_transaction_again_is_not_tried() {
    let (queue, manager) = volatile();
    queue
        .change_settings(&manager, |settings| settings.capacity = Some(0))
        .unwrap();
    let mut runs = 0;
    let ran = manager.run(5, |txn| {
        runs += 1;
        queue.enqueue(txn, &greet("ann"))?;
        Ok::<(), votive::txn::BoxError>(())
    });
    assert!(ran.is_err());
    assert_eq!(runs, 1);
}

#[test]
fn another_producer_learns_of_a_capacity_within_a_second() {
    let (store, operators, manager) = durable();
    let producers = queue(&as_store(&store));
    enqueue(&producers, &manager, &["ann"]).unwrap();
    operators
        .change_settings(&manager, |settings| settings.capacity = Some(2))
        .unwrap();
    store.clock.advance(Duration::from_secs(1));
    assert!(enqueue(&producers, &manager, &["bob", "cid"]).is_err());
}

#[test]
fn what_a_savepoint_took_back_takes_no_room() {
    let (queue, manager) = volatile();
    queue
        .change_settings(&manager, |settings| settings.capacity = Some(1))
        .unwrap();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    queue.enqueue(&mut savepoint, &greet("bob")).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["ann"]);
}

#[test]
fn a_capacity_holds_for_its_own_queue() {
    let (queue, manager) = volatile();
    queue
        .change_settings(&manager, |settings| settings.capacity = Some(0))
        .unwrap();
    let other = Queue::new(Arc::clone(queue.store()), "other").unwrap();
    enqueue(&other, &manager, &["ann"]).unwrap();
    assert_eq!(visible(&**queue.store()), ["ann"]);
}

#[test]
fn a_prepared_transaction_is_refused_when_it_is_staged() {
    let (store, queue, manager) = durable();
    queue
        .change_settings(&manager, |settings| settings.capacity = Some(0))
        .unwrap();
    let (second, other, _) = durable();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    other.enqueue(&mut txn, &greet("bob")).unwrap();
    assert!(txn.commit().is_err());
    assert!(visible(&*store).is_empty() && visible(&*second).is_empty());
    assert!(store.in_doubt(None, 9).unwrap().is_empty());
    assert!(second.in_doubt(None, 9).unwrap().is_empty());
}

#[test]
fn kinds_that_go_first_are_enqueued_with_the_highest_priority() {
    let (queue, manager) = volatile();
    enqueue(&queue, &manager, &["ann"]).unwrap();
    let top = BTreeSet::from([crate::fixture::Greet::KIND.to_owned()]);
    queue
        .change_settings(&manager, |settings| settings.top_kinds.clone_from(&top))
        .unwrap();
    enqueue(&queue, &manager, &["bob"]).unwrap();
    let page = queue
        .store()
        .scan(&votive::store::Filter::default(), None, 9)
        .unwrap();
    let priorities: Vec<_> = page
        .tasks
        .iter()
        .map(|task| task.record.options.priority)
        .collect();
    assert_eq!(priorities, [10, 0]);
}

#[test]
fn a_queue_that_takes_nothing_resumes_until_nothing_is_left_and_is_disabled_then() {
    let (queue, manager) = volatile();
    let settings = queue
        .change_settings(&manager, |settings| settings.capacity = Some(0))
        .unwrap();
    let counts = |counts| QueueStats {
        counts,
        ..QueueStats::default()
    };
    assert_eq!(
        settings.status(&counts(vec![(State::Claimed, 1)])),
        Status::Resuming
    );
    assert_eq!(
        settings.status(&counts(vec![(State::Dead, 1)])),
        Status::Disabled
    );
    assert_eq!(settings.status(&counts(vec![])), Status::Disabled);
}

#[test]
fn a_rate_that_makes_no_sense_is_refused() {
    let (queue, manager) = volatile();
    let nothing = Rate::new(0, Duration::from_secs(1));
    let refused = queue.change_settings(&manager, |settings| settings.rate = Some(nothing));
    assert!(matches!(refused.unwrap_err().kind, Kind::Invalid(_)));
    assert_eq!(queue.settings().unwrap().rate, None);
}
