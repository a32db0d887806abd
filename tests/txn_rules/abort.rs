//! A1 to A3: how an abort goes.
#![cfg(test)]

use std::sync::Arc;

use crate::fixture::{Fault, Scene, join};

#[test]
fn a1_an_abort_calls_everybody_in_the_fixed_order() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("b"));
    join(&mut txn, scene.member("a"));
    txn.abort().unwrap();
    assert_eq!(
        scene.heard(),
        "s.new before_abort s.before b.abort a.abort after_abort s.after(aborted)"
    );
}

#[test]
fn a1_a_transaction_that_is_dropped_is_aborted_in_the_same_order() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("a"));
    drop(txn);
    assert_eq!(scene.heard(), "before_abort a.abort after_abort");
}

#[test]
fn a2_all_run_whatever_fails_and_the_first_error_is_reported() {
    let scene = Scene::default();
    scene.listen("s", &[("before", Fault::Error), ("after", Fault::Panic)]);
    let mut txn = scene.begin();
    txn.before_abort(|_| panic!("hook"));
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("a").fails("abort", Fault::Panic));
    join(&mut txn, scene.member("b").fails("abort", Fault::Error));
    join(&mut txn, scene.member("c"));
    let error = txn.abort().unwrap_err();
    assert_eq!(error.source.to_string(), "s.before broke");
    assert_eq!(error.also.len(), 3);
    assert_eq!(
        scene.heard(),
        "s.new before_abort s.before a.abort b.abort c.abort after_abort s.after(aborted)"
    );
}

#[test]
fn a3_the_hooks_of_the_other_ending_are_dropped_and_leak_into_nothing() {
    let scene = Scene::default();
    let held = Arc::new(());
    let mut aborted = scene.begin();
    let [one, two] = [Arc::clone(&held), Arc::clone(&held)];
    aborted.before_commit(move |_| panic!("{one:?}"));
    aborted.after_commit(move |_| panic!("{two:?}"));
    aborted.abort().unwrap();
    let mut committed = scene.begin();
    let [one, two] = [Arc::clone(&held), Arc::clone(&held)];
    committed.before_abort(move |_| panic!("{one:?}"));
    committed.after_abort(move || panic!("{two:?}"));
    committed.commit().unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(scene.begin().is_empty());
}
