//! A panic of foreign code is a failure like any other: it skips nobody, and after the decision it
//! hides nothing.
#![cfg(test)]

use votive::txn::{
    BoxError, CommitError, DataManager, Panicked, PrepareInfo, Prepared, Role, Vote,
};

use crate::fixture::{Fault, Member, Scene, join, resource};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a drop");
    }
}

/// A participant that panics when it is dropped, and only then.
struct Fragile(Member, Bomb);

impl DataManager for Fragile {
    fn role(&self) -> Role {
        self.0.role()
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        self.0.sort_key()
    }

    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        self.0.prepare(info)
    }

    fn vote(&mut self, vote: Vote<'_>) -> votive::txn::Answer {
        self.0.vote(vote)
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        self.0.finish()
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.0.abort()
    }
}

fn fragile(scene: &Scene, name: &'static str) -> Fragile {
    Fragile(scene.member(name), Bomb)
}

#[test]
fn a_panic_before_the_decision_refuses_and_everybody_is_aborted() {
    for step in ["sort_key", "prepare", "vote"] {
        let scene = Scene::default();
        let mut txn = scene.begin();
        join(&mut txn, scene.member("b"));
        let frail = scene.member("a").tells_its_key();
        join(&mut txn, frail.fails(step, Fault::Panic));
        let Err(CommitError::Refused { source, .. }) = txn.commit() else {
            panic!("not refused: {step}");
        };
        assert!(source.is::<Panicked>(), "{step}");
        let heard = scene.heard();
        assert_eq!(heard.matches(".abort").count(), 2, "{heard}");
    }
}

#[test]
fn a_panic_while_deciding_leaves_the_outcome_unknown() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(
        &mut txn,
        scene.member("a").decides().fails("decide", Fault::Panic),
    );
    assert!(matches!(txn.commit(), Err(CommitError::Undecided { .. })));
}

#[test]
fn a_panic_while_finishing_is_logged_and_the_commit_stands() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").fails("finish", Fault::Panic));
    join(&mut txn, scene.member("b"));
    txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare a.vote b.vote a.finish b.finish a.finish"
    );
}

#[test]
fn a_panic_in_a_savepoint_or_a_rollback_fails_the_transaction() {
    for step in ["savepoint", "rollback"] {
        let scene = Scene::default();
        let mut txn = scene.begin();
        join(&mut txn, scene.member("a").fails(step, Fault::Panic));
        let gone_back = txn.savepoint().and_then(|mut point| point.rollback());
        gone_back.unwrap_err();
        assert!(matches!(txn.commit(), Err(CommitError::Failed(_))));
        assert!(scene.heard().ends_with("a.abort"), "{step}");
    }
}

#[test]
fn a_participant_that_panics_in_its_drop_does_not_hide_that_the_transaction_committed() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let frail = fragile(&scene, "a");
    txn.join_with(resource("a"), |_| Ok(frail)).unwrap();
    join(&mut txn, scene.member("b"));
    txn.commit().unwrap();
    assert!(scene.heard().ends_with("a.finish b.finish"));
}

#[test]
fn a_participant_that_panics_in_its_drop_keeps_no_other_from_being_aborted() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let mut savepoint = txn.savepoint().unwrap();
    let frail = fragile(&scene, "a");
    savepoint.join_with(resource("a"), |_| Ok(frail)).unwrap();
    join(&mut savepoint, scene.member("b"));
    savepoint.rollback().unwrap();
    assert_eq!(scene.heard(), "a.abort b.abort");
}

#[test]
fn a_value_in_the_data_that_panics_in_its_drop_hides_nothing() {
    let mut txn = Scene::default().begin();
    txn.set_data(Bomb);
    txn.commit().unwrap();
}

#[test]
fn a_hook_that_was_not_run_and_panics_in_its_drop_hides_nothing() {
    let mut txn = Scene::default().begin();
    let bomb = Bomb;
    txn.before_abort(move |_| {
        drop(bomb);
        Ok(())
    });
    txn.commit().unwrap();
}

#[test]
fn a_panic_of_the_work_aborts_and_goes_on() {
    let scene = Scene::default();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        scene.manager.run(3, |txn| -> Result<(), BoxError> {
            join(txn, scene.member("a").retries());
            panic!("the work");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(scene.heard(), "a.abort");
}

#[test]
fn a_participant_that_was_lent_comes_back_from_a_panic() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        txn.lend::<Member, ()>(resource("a"), |_, _| panic!("the work"))
    }));
    assert!(panicked.is_err());
    txn.abort().unwrap();
    assert_eq!(scene.heard(), "a.abort");
}
