//! H1 to H3: what a transaction calls when it ends.
#![cfg(test)]

use votive::txn::{CommitError, HOOKS_MAX, Outcome, Work};

use crate::fixture::{Scene, Trace, join};

fn add(work: &mut Work, trace: &Trace, name: &'static str) {
    let trace = trace.clone();
    work.before_commit(move |_| {
        trace.add(name);
        Ok(())
    });
}

#[test]
fn h1_hooks_run_in_the_order_of_adding_and_one_that_is_added_meanwhile_runs_in_the_same_pass() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let trace = scene.trace.clone();
    txn.before_commit(move |work| {
        trace.add("one");
        add(work, &trace, "three");
        Ok(())
    });
    add(&mut txn, &scene.trace, "two");
    txn.commit().unwrap();
    assert_eq!(scene.heard(), "one two three");
}

#[test]
fn h1_as_many_hooks_as_are_allowed_do_run() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    for _ in 0..HOOKS_MAX {
        add(&mut txn, &scene.trace, "x");
    }
    txn.commit().unwrap();
    assert_eq!(scene.heard().split(' ').count(), HOOKS_MAX);
}

#[test]
fn h2_a_failing_before_commit_hook_stops_those_that_follow() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    txn.before_commit(|_| Err("no".into()));
    scene.hooks(&mut txn);
    let error = txn.commit().unwrap_err();
    assert!(matches!(error, CommitError::Refused { .. }));
    assert_eq!(
        scene.heard(),
        "before_abort after_commit(Refused) after_abort"
    );
}

#[test]
fn h2_a_failing_hook_of_another_list_stops_nothing() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    txn.before_abort(|_| Err("no".into()));
    txn.after_abort(|| panic!("no"));
    scene.hooks(&mut txn);
    txn.abort().unwrap();
    assert_eq!(scene.heard(), "before_abort after_abort");
}

#[test]
fn h3_an_after_commit_hook_owns_the_outcome_and_may_use_the_manager() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let (manager, member) = (scene.manager.clone(), scene.member("b"));
    txn.after_commit(move |outcome| {
        assert_eq!(outcome, Outcome::Committed);
        let mut follow_up = manager.begin()?;
        join(&mut follow_up, member);
        follow_up.commit()?;
        Ok(())
    });
    txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.prepare a.vote a.finish b.prepare b.vote b.finish"
    );
}
