//! What operators say of queues.
#![cfg(test)]

use std::sync::Arc;

use votive::queue::{Queue, Status, all_settings};
use votive::store::{Batch, Change, Kind};
use votive::txn::TransactionManager;

use crate::faulty::Fault;
use crate::fixture::{as_store, durable, greet, queue, visible, volatile};

fn status(queue: &Queue) -> Status {
    let stats = queue.store().stats().unwrap().queues.into_iter();
    let mut counts = stats.filter(|counts| counts.queue == queue.name());
    let settings = queue.settings().unwrap();
    settings.status(&counts.next().unwrap_or_default())
}

#[test]
fn a_pause_holds_for_everybody_who_knows_the_store_until_the_queue_is_resumed() {
    let (queue, manager) = volatile();
    let other = Queue::new(Arc::clone(queue.store()), "default").unwrap();
    queue.pause(&manager, "moving house").unwrap();
    let settings = other.settings().unwrap();
    assert_eq!(status(&other), Status::Disabled);
    assert_eq!(settings.paused.unwrap().reason, "moving house");
    other.resume(&TransactionManager::new()).unwrap();
    assert_eq!(status(&queue), Status::Ready);
}

#[test]
fn a_second_pause_replaces_the_reason_and_not_the_time() {
    let (store, queue, manager) = durable();
    let first = queue.pause(&manager, "one").unwrap().paused.unwrap();
    store.clock.advance(std::time::Duration::from_secs(60));
    let second = queue.pause(&manager, "two").unwrap().paused.unwrap();
    assert_eq!(second.reason, "two");
    assert_eq!(second.since, first.since);
}

#[test]
fn a_queue_of_which_nothing_is_said_any_more_leaves_no_mark() {
    let (queue, manager) = volatile();
    queue.pause(&manager, "").unwrap();
    let named = all_settings(&**queue.store()).unwrap();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].0, "default");
    queue.resume(&manager).unwrap();
    assert!(queue.store().marks("").unwrap().is_empty());
}

#[test]
fn tasks_are_enqueued_into_a_paused_queue() {
    let (queue, manager) = volatile();
    queue.pause(&manager, "").unwrap();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &greet("ann")).unwrap();
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["ann"]);
}

#[test]
fn a_change_is_made_anew_if_somebody_else_was_faster() {
    let (store, queue, manager) = durable();
    let changed = || Fault::Refused(Kind::MarkChanged("queue/default".to_owned()));
    store.fail("apply", changed());
    store.fail("apply", changed());
    queue.pause(&manager, "").unwrap();
    assert_eq!(status(&queue), Status::Disabled);
}

#[test]
fn settings_that_cannot_be_read_are_an_error_that_names_them() {
    let (store, _, manager) = durable();
    let queue = queue(&as_store(&store));
    let mark = Change::Mark {
        key: "queue/default".to_owned(),
        expect: None,
        value: Some(b"{".to_vec()),
    };
    votive::queue::apply(queue.store(), &manager, &Batch::new(vec![mark])).unwrap();
    let error = queue.settings().unwrap_err();
    assert_eq!(
        error.kind,
        Kind::Corrupt("the mark `queue/default`".to_owned())
    );
    assert!(queue.pause(&manager, "").is_err());
}

#[test]
fn a_name_that_leaves_no_room_for_a_mark_is_refused() {
    let (queue, manager) = volatile();
    let long = Queue::new(Arc::clone(queue.store()), "x".repeat(250)).unwrap();
    assert_eq!(status(&long), Status::Ready);
    let error = long.pause(&manager, "").unwrap_err();
    assert!(matches!(error.kind, Kind::Invalid(_)), "{error}");
}
