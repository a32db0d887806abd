//! Assertions on what is enqueued, and what they say when they fail.
#![cfg(test)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use serde_json::json;
use votive::task::{Options, Payload, PayloadLimits};
use votive::testing::{
    Expected, assert_enqueued, assert_visible, assert_visible_within, refute_enqueued,
    refute_visible,
};

use crate::shop::{Mail, mail, memory};

/// What an assertion that does not hold says.
fn said(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[test]
fn what_a_commit_would_enqueue_is_asserted_before_it() {
    let (store, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &mail(7)).unwrap();
    let expected = Expected::task::<Mail>().with(json!({ "order": 7 }));
    assert_enqueued(&txn, &expected);
    assert_enqueued(
        &txn,
        &expected
            .clone()
            .in_queue("mails")
            .priority(5)
            .about("shop")
            .times(1),
    );
    refute_enqueued(&txn, &Expected::task::<Mail>().with(json!({ "order": 8 })));
    refute_enqueued(&txn, &expected.clone().in_queue("other"));
    refute_visible(&*store, &expected);
    txn.commit().unwrap();
    assert_visible(&*store, &expected);
}

#[test]
fn what_was_rolled_back_is_not_enqueued() {
    let (_, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    queue.enqueue(&mut savepoint, &mail(7)).unwrap();
    assert_enqueued(&savepoint, &Expected::task::<Mail>());
    savepoint.rollback().unwrap();
    refute_enqueued(&savepoint, &Expected::task::<Mail>());
}

#[test]
fn a_failed_assertion_lists_what_is_there() {
    let (store, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    let nothing = said(|| assert_enqueued(&txn, &Expected::task::<Mail>().times(2)));
    assert_eq!(
        nothing,
        "expected exactly 2 of `mail`, found 0 among no tasks at all"
    );
    let payload = Payload::from_json("{\"to\":\"bob\"}", 0, PayloadLimits::default()).unwrap();
    queue
        .enqueue_payload(&mut txn, "fax", payload, Options::default())
        .unwrap();
    let other = said(|| assert_enqueued(&txn, &Expected::kind("fax").with(json!({ "to": "ann" }))));
    assert!(
        other.contains("a task `fax` with {\"to\":\"ann\"}, found 0 among these 1:"),
        "{other}"
    );
    assert!(other.ends_with("{\"to\":\"bob\"}"), "{other}");
    let visible = said(|| assert_visible(&*store, &Expected::kind("fax")));
    assert!(visible.ends_with("no tasks at all"), "{visible}");
}

#[test]
fn a_deadline_is_when_the_task_may_run_at_the_latest() {
    let (store, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    let delay = Some(Duration::from_secs(60));
    let delayed = Options {
        delay,
        ..Options::default()
    };
    queue.enqueue_with(&mut txn, &mail(1), delayed).unwrap();
    let now = store.now().unwrap();
    let by =
        |seconds| Expected::task::<Mail>().by(now.saturating_add(Duration::from_secs(seconds)));
    assert_enqueued(&txn, &by(60));
    refute_enqueued(&txn, &by(50));
}

#[test]
fn what_somebody_else_enqueues_is_waited_for() {
    let (store, queue, manager) = memory();
    let expected = Expected::task::<Mail>();
    let other = thread::Builder::new().spawn(move || {
        let mut txn = manager.begin().unwrap();
        queue.enqueue(&mut txn, &mail(1)).unwrap();
        txn.commit().unwrap();
    });
    assert_visible_within(&*store, &expected, Duration::from_secs(20));
    other.unwrap().join().unwrap();
    let missing = Expected::kind("fax");
    let late = said(|| assert_visible_within(&*store, &missing, Duration::from_millis(20)));
    assert!(late.starts_with("expected a task `fax`, found 0"), "{late}");
}
