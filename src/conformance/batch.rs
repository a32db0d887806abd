//! Batches that are applied in one step, and what refuses any batch.

use super::scene::{Scene, amend, impossible, insert, kind, mark};
use crate::id::{Incarnation, TaskId, TxnId};
use crate::register::Decision;
use crate::store::{Amendment, Batch, Kind, StoreExt};
use crate::task::{OnDuplicate, Options, Record, RetryPolicy, State, Unique};
use std::time::Duration;

pub(super) fn an_applied_batch_is_visible(scene: &mut Scene<'_>) {
    let task = scene.enqueue_any();
    assert_eq!(scene.state(task), Some(State::Ready));
    assert!(scene.store().in_doubt(None, 10).unwrap().is_empty());
}

pub(super) fn an_apply_records_that_it_committed(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    let batch = Batch::new(vec![insert(scene.record())]);
    scene.store().apply_alone(txn, &batch).unwrap();
    let answer = scene.store().decide(txn, Decision::Aborted, &[]).unwrap();
    assert_eq!(answer.decision, Some(Decision::Committed));
}

pub(super) fn an_apply_of_an_unknown_incarnation_is_refused(scene: &mut Scene<'_>) {
    let incarnation = Incarnation::random();
    let txn = TxnId {
        incarnation,
        sequence: 1,
    };
    let batch = Batch::new(vec![insert(scene.record())]);
    let refused = scene.store().apply_alone(txn, &batch);
    assert_eq!(kind(refused), Kind::IncarnationGone(incarnation));
}

pub(super) fn an_apply_after_somebody_decided_to_abort_is_refused(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    scene.store().decide(txn, Decision::Aborted, &[]).unwrap();
    let record = scene.record();
    let task = record.id;
    let batch = Batch::new(vec![insert(record)]);
    let refused = scene.store().apply_alone(txn, &batch);
    assert_eq!(kind(refused), Kind::Decided(txn));
    assert_eq!(scene.state(task), None);
}

pub(super) fn a_refused_batch_changes_nothing(scene: &mut Scene<'_>) {
    let pending = scene.enqueue_any();
    let record = scene.record();
    let task = record.id;
    let refused = scene.apply(vec![
        insert(record),
        amend(pending, Amendment::Cancel),
        mark("key", None, Some("value")),
        impossible(),
    ]);
    assert_eq!(kind(refused), Kind::MarkChanged("impossible".to_owned()));
    assert_eq!((scene.state(task), scene.state(pending)), (None, Some(State::Ready)));
    assert_eq!(scene.store().mark("key").unwrap(), None);
}

pub(super) fn a_refused_stage_reserves_nothing(scene: &mut Scene<'_>) {
    let pending = scene.enqueue_any();
    let record = scene.record();
    let refused = scene.stage(vec![
        insert(record.clone()),
        amend(pending, Amendment::Cancel),
        mark("key", None, Some("value")),
        impossible(),
    ]);
    assert!(refused.is_err());
    assert!(scene.store().in_doubt(None, 10).unwrap().is_empty());
    scene.apply(vec![insert(record), mark("key", None, Some("other"))]).unwrap();
    scene.amend(pending, Amendment::Cancel).unwrap();
}

pub(super) fn changes_are_made_in_order(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged(vec![
        mark("key", None, Some("one")),
        mark("key", Some("one"), Some("two")),
        insert(record),
        amend(task, Amendment::Cancel),
    ]);
    scene.publish(txn);
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"two".to_vec()));
    assert_eq!(scene.state(task), Some(State::Cancelled));
}

pub(super) fn a_task_is_inserted_once(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = scene.enqueue(record.clone());
    let refused = scene.apply(vec![insert(record)]);
    assert_eq!(kind(refused), Kind::TaskExists(task));
}

pub(super) fn a_staged_task_is_not_inserted_by_another(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged(vec![insert(record.clone())]);
    let refused = scene.apply(vec![insert(record)]);
    assert_eq!(kind(refused), Kind::TaskExists(task));
    scene.publish(txn);
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn a_name_is_neither_empty_nor_too_long(scene: &mut Scene<'_>) {
    for name in [String::new(), "n".repeat(256)] {
        let mut record = scene.record();
        record.queue = name.as_str().into();
        for change in [insert(record), mark(&name, None, Some("value"))] {
            let refused = kind(scene.apply(vec![change]));
            assert!(matches!(refused, Kind::Invalid(_)), "{refused:?}");
        }
    }
}

pub(super) fn a_record_comes_back_as_it_went_in(scene: &mut Scene<'_>) {
    let now = scene.now();
    let options = Options {
        priority: 3,
        expires_at: Some(now.saturating_add(Duration::from_secs(60))),
        timeout: Some(Duration::from_millis(1_500)),
        retry: RetryPolicy {
            attempts_max: 3,
            ..RetryPolicy::default()
        },
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
..Unique::new("key").for_after_enqueued(Duration::from_secs(8)).for_after_ended(Duration::from_secs(7))
}),
        group: Some("group".to_owned()),
        about: vec!["invoice/7".to_owned(), "customer/1".to_owned()],
        user: Some("ann".to_owned()),
        retention: Some(Duration::from_secs(9)),
        ..Options::default()
    };
    let record = Record {
        id: TaskId::new(now),
        ..scene.record_with(options)
    };
    let mut expected = record.clone();
    let task = scene.enqueue(record);
    expected.state = State::Ready;
    expected.published_at = Some(now);
    assert_eq!(scene.found(task), Some(expected));
}
