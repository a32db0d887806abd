//! S1 to S8: points to go back to.
#![cfg(test)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use votive::queue::Queue;
use votive::store::memory::MemoryStore;
use votive::store::{Filter, Inspect};
use votive::txn::{CommitError, JoinError, SavepointError};

use crate::fixture::{Fault, Member, Scene, join, resource};

#[derive(Serialize, Deserialize)]
struct Step(u32);

impl votive::Task for Step {
    const KIND: &'static str = "step";
}

#[test]
fn s1_a_savepoint_asks_every_participant_in_the_order_of_joining() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("b"));
    join(&mut txn, scene.member("a"));
    txn.savepoint().unwrap().rollback().unwrap();
    assert_eq!(
        scene.heard(),
        "b.savepoint a.savepoint b.rollback a.rollback"
    );
}

#[test]
fn s2_a_participant_without_savepoints_makes_a_savepoint_fail() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    join(&mut txn, scene.member("b").without_savepoints());
    let error = txn.savepoint().unwrap_err();
    assert_eq!(
        error.to_string(),
        "participant `b` does not support savepoints"
    );
    assert_eq!(scene.heard(), "a.savepoint a.abort b.abort");
}

#[test]
fn s2_an_optimistic_savepoint_fails_only_when_it_is_gone_back_to() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").without_savepoints());
    let mut savepoint = txn.savepoint_optimistic().unwrap();
    let error = savepoint.rollback().unwrap_err();
    assert!(matches!(error, SavepointError::Unsupported { .. }));
}

#[test]
fn s3_a_participant_that_joined_later_is_aborted_once_and_may_join_again() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let mut outer = txn.savepoint().unwrap();
    let mut inner = outer.savepoint().unwrap();
    join(&mut inner, scene.member("a"));
    inner.rollback().unwrap();
    join(&mut inner, scene.member("a"));
    drop(inner);
    outer.rollback().unwrap();
    assert_eq!(scene.heard(), "a.abort a.abort");
}

#[test]
fn s4_the_same_savepoint_may_be_gone_back_to_any_number_of_times() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let mut savepoint = txn.savepoint().unwrap();
    for _ in 0..3 {
        savepoint.rollback().unwrap();
    }
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.savepoint a.rollback a.rollback a.rollback a.prepare a.vote a.finish"
    );
}

#[test]
fn s5_a_failing_rollback_fails_the_transaction_and_everybody_is_aborted() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").fails("rollback", Fault::Error));
    join(&mut txn, scene.member("b"));
    txn.savepoint().unwrap().rollback().unwrap_err();
    let late = txn.join_with::<Member>(resource("c"), |_| panic!("joined"));
    assert!(matches!(late, Err(JoinError::Failed)));
    assert!(matches!(txn.savepoint(), Err(SavepointError::NotActive)));
    let error = txn.commit().unwrap_err();
    assert!(matches!(error, CommitError::Failed(_)), "{error}");
    assert_eq!(
        scene.heard(),
        "a.savepoint b.savepoint a.rollback a.abort b.abort"
    );
}

#[test]
fn s6_a_doomed_transaction_has_savepoints_and_stays_doomed() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let mut savepoint = txn.savepoint().unwrap();
    savepoint.doom();
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.savepoint().unwrap().rollback().unwrap();
    assert!(txn.is_doomed());
    assert!(matches!(txn.commit(), Err(CommitError::Doomed)));
}

#[test]
fn s7_no_hook_and_no_synchronizer_hears_of_savepoints() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    assert_eq!(scene.heard(), "s.new");
    txn.savepoint().unwrap().rollback().unwrap();
    assert_eq!(scene.heard(), "");
}

#[test]
fn s8_a_task_is_dropped_if_any_savepoint_around_it_is_rolled_back() {
    let store = Arc::new(MemoryStore::new());
    let queue = Queue::new(Arc::clone(&store) as _, "default").unwrap();
    let mut txn = Scene::default().begin();
    queue.enqueue(&mut txn, &Step(1)).unwrap();
    let mut outer = txn.savepoint().unwrap();
    queue.enqueue(&mut outer, &Step(2)).unwrap();
    let mut inner = outer.savepoint().unwrap();
    queue.enqueue(&mut inner, &Step(3)).unwrap();
    drop(inner);
    outer.rollback().unwrap();
    queue.enqueue(&mut outer, &Step(4)).unwrap();
    drop(outer);
    txn.commit().unwrap();
    let page = store.scan(&Filter::default(), None, 10).unwrap();
    let payloads = page.tasks.iter().map(|task| &task.record.payload);
    let steps: Vec<u32> = payloads
        .map(|payload| payload.decode::<Step>().unwrap().0)
        .collect();
    assert_eq!(steps, [1, 4]);
}

#[test]
fn no_savepoint_is_made_while_a_participant_is_away() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let refused = txn.lend::<Member, _>(resource("a"), |_, work| {
        matches!(work.savepoint(), Err(SavepointError::Lent))
    });
    assert_eq!(refused, Some(true));
    txn.commit().unwrap();
}
