//! Work that travels in the commit of another participant, and participants that have none but follow.
#![cfg(test)]

use votive::register::Tier;
use votive::txn::{CommitError, RefusedBy};

use crate::fixture::{Fault, Scene, join};

#[test]
fn work_that_is_handed_over_is_accepted_when_all_have_prepared_and_before_any_votes() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").travels_with("b"));
    join(&mut txn, scene.member("b").decides());
    let committed = txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare b.accept(a) a.vote b.decide a.finish b.finish"
    );
    assert_eq!(committed.tier, Tier::Enlisted);
}

#[test]
fn a_host_that_has_nothing_of_its_own_to_do_stays_for_the_work_of_others() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").travels_with("b"));
    join(&mut txn, scene.member("b").decides().has_nothing_to_do());
    txn.commit().unwrap();
    let heard = scene.heard();
    assert!(heard.contains("b.accept(a) a.vote b.decide"), "{heard}");
}

#[test]
fn a_host_that_has_left_hosts_nobody() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides().has_nothing_to_do());
    join(&mut txn, scene.member("b").travels_with("a"));
    let committed = txn.commit().unwrap();
    assert_eq!(scene.heard(), "a.prepare b.prepare b.vote b.finish");
    assert_eq!(committed.tier, Tier::Volatile);
}

#[test]
fn a_host_that_refuses_the_work_refuses_the_commit() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").travels_with("b"));
    join(
        &mut txn,
        scene.member("b").decides().fails("accept(a)", Fault::Error),
    );
    let error = txn.commit().unwrap_err();
    let CommitError::Refused { by, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(by, RefusedBy::Participant("b".into()));
    assert!(scene.heard().ends_with("b.accept(a) a.abort b.abort"));
}

#[test]
fn work_that_is_handed_over_to_nobody_is_refused_and_not_lost() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").travels_with("b").blindly());
    let error = txn.commit().unwrap_err();
    let CommitError::Refused { by, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(by, RefusedBy::Planner);
    assert_eq!(scene.heard(), "a.prepare a.abort");
}

#[test]
fn one_that_follows_is_not_planned_with_and_is_told_how_it_ends() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides().follows());
    join(&mut txn, scene.member("b").decides());
    let committed = txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare a.vote b.decide a.finish b.finish"
    );
    assert_eq!(committed.tier, Tier::Enlisted);
}

#[test]
fn one_that_follows_is_aborted_with_the_others() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides().follows());
    join(
        &mut txn,
        scene.member("b").decides().fails("decide", Fault::Error),
    );
    txn.commit().unwrap_err();
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare a.vote b.decide a.abort b.abort"
    );
}
