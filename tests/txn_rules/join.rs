//! J1 to J3: who takes part.
#![cfg(test)]

use votive::txn::JoinError;

use crate::fixture::{Fault, Member, Scene, join, resource};

#[test]
fn j1_joining_again_lends_the_participant_that_is_there() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let again = txn.join_with::<Member>(resource("a"), |_| panic!("made twice"));
    again.unwrap();
    assert_eq!(txn.joined::<Member>().count(), 1);
}

#[test]
fn j1_a_participant_that_is_lent_cannot_be_lent_twice() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let inner = txn.lend::<Member, _>(resource("a"), |_, work| {
        let again = work.join_with::<Member>(resource("a"), |_| panic!("made twice"));
        again.map(|_| ()).unwrap_err()
    });
    assert!(matches!(inner, Some(JoinError::Lent)));
    assert_eq!(txn.joined::<Member>().count(), 1);
}

#[test]
fn j1_a_participant_that_could_not_be_made_has_not_joined() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let failed = txn.join_with::<Member>(resource("a"), |_| Err("no connection".into()));
    assert!(matches!(failed, Err(JoinError::Init(_))));
    assert!(txn.is_empty());
}

#[test]
fn j2_nobody_joins_once_the_participants_are_sorted() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").fails("prepare", Fault::Error));
    let (trace, late) = (scene.trace.clone(), scene.member("b"));
    txn.before_abort(move |work| {
        let joined = work.join_with(resource("b"), |_| Ok(late));
        trace.add(joined.map(|_| ()).unwrap_err().to_string());
        Ok(())
    });
    txn.commit().unwrap_err();
    assert_eq!(
        scene.heard(),
        "a.prepare it is too late to join: the transaction is committing a.abort"
    );
}

#[test]
fn j2_a_before_commit_hook_may_still_join() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let late = scene.member("a");
    txn.before_commit(move |work| {
        join(work, late);
        Ok(())
    });
    txn.commit().unwrap();
    assert_eq!(scene.heard(), "a.prepare a.vote a.finish");
}

#[test]
fn j3_a_participant_that_was_aborted_is_out_and_joins_anew() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let mut savepoint = txn.savepoint().unwrap();
    join(&mut savepoint, scene.member("a"));
    savepoint.rollback().unwrap();
    assert_eq!(savepoint.joined::<Member>().count(), 0);
    join(&mut savepoint, scene.member("a"));
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(scene.heard(), "a.abort a.prepare a.vote a.finish");
}
