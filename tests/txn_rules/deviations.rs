//! X1 to X16: where the reference has a demonstrated defect, and what happens here instead.
#![cfg(test)]

use votive::txn::{
    AbortError, BoxError, CommitError, Committed, HOOKS_MAX, Retryable, RunError, Transaction, Work,
};

use crate::fixture::{Fault, Member, Scene, Trace, join, resource};

#[test]
fn x1_a_failing_finish_aborts_nobody() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    join(&mut txn, scene.member("b").fails("finish", Fault::Error));
    txn.commit().unwrap();
    assert!(!scene.heard().contains("abort"));
}

#[test]
fn x2_what_is_decided_is_no_error_so_a_conflict_after_it_is_not_run_again() {
    let scene = Scene::default();
    let mut count = 0;
    let done = scene.manager.run(3, |txn| {
        count += 1;
        join(txn, scene.member("a").fails("finish", Fault::Conflict));
        Ok::<_, BoxError>(())
    });
    assert!(done.is_ok());
    assert_eq!(count, 1);
}

#[test]
fn x3_unknown_is_not_taken_for_a_no() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(
        &mut txn,
        scene.member("a").decides().fails("decide", Fault::Unknown),
    );
    assert!(matches!(txn.commit(), Err(CommitError::Undecided { .. })));
    assert_eq!(scene.heard(), "a.prepare a.decide");
}

#[test]
fn x4_a_failing_before_commit_hook_ends_the_transaction() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    txn.before_commit(|_| Err("no".into()));
    txn.commit().unwrap_err();
    assert_eq!(scene.heard(), "a.abort");
}

#[test]
fn x5_an_error_after_the_decision_does_not_look_like_a_failed_commit() {
    let scene = Scene::default();
    scene.listen("s", &[("after", Fault::Error)]);
    assert!(scene.begin().commit().is_ok());
}

#[test]
fn x6_a_missing_sort_key_is_found_while_there_is_nothing_to_undo() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let without_key = scene.member("b").tells_its_key();
    join(&mut txn, without_key.fails("sort_key", Fault::Error));
    txn.commit().unwrap_err();
    assert!(!scene.heard().contains("prepare"));
}

#[test]
fn x7_each_participant_is_aborted_once_and_not_once_for_each_phase() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    join(&mut txn, scene.member("b").fails("vote", Fault::Error));
    txn.commit().unwrap_err();
    let heard = scene.heard();
    assert_eq!(heard.matches("abort").count(), 2, "{heard}");
    assert!(heard.ends_with("a.abort b.abort"), "{heard}");
}

#[test]
fn x8_to_end_a_transaction_is_to_give_it_away() {
    let commit: fn(Transaction) -> Result<Committed, CommitError> = Transaction::commit;
    let abort: fn(Transaction) -> Result<(), AbortError> = Transaction::abort;
    let scene = Scene::default();
    commit(scene.begin()).unwrap();
    abort(scene.begin()).unwrap();
}

#[test]
fn x9_who_joins_twice_is_called_once() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    join(&mut txn, scene.member("a"));
    txn.commit().unwrap();
    assert_eq!(scene.heard(), "a.prepare a.vote a.finish");
}

#[test]
fn x10_no_participant_is_called_after_an_after_commit_hook() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("a"));
    txn.commit().unwrap();
    let heard = scene.heard();
    assert!(heard.ends_with("after_commit(Committed)"), "{heard}");
}

#[test]
fn x11_who_is_removed_by_a_failing_rollback_is_aborted_exactly_once() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let mut savepoint = txn.savepoint().unwrap();
    join(
        &mut savepoint,
        scene.member("b").fails("abort", Fault::Error),
    );
    savepoint.rollback().unwrap_err();
    drop(savepoint);
    txn.abort().unwrap();
    assert_eq!(scene.heard(), "a.savepoint a.rollback b.abort a.abort");
}

#[test]
fn x12_an_error_of_the_clean_up_does_not_hide_the_error_that_made_it_necessary() {
    let scene = Scene::default();
    let result = scene.manager.run(1, |txn| {
        join(txn, scene.member("a").fails("abort", Fault::Error));
        Err::<(), BoxError>(Retryable("the cause".into()).into())
    });
    let Err(RunError::Work(cause)) = result else {
        panic!("{result:?}");
    };
    assert!(cause.is::<Retryable>());
    assert_eq!(scene.heard(), "a.abort");
}

#[test]
fn x13_a_refused_begin_leaves_nothing_half_begun() {
    let scene = Scene::default();
    scene.listen("s", &[("new", Fault::Panic)]);
    scene.manager.begin().unwrap_err();
    scene.begin().commit().unwrap();
    assert_eq!(
        scene.heard(),
        "s.new s.before s.after(aborted) s.new s.before s.after(Committed)"
    );
}

#[test]
fn x14_a_hook_that_adds_itself_for_ever_is_stopped() {
    fn again(work: &mut Work, trace: Trace) {
        work.before_commit(move |work| {
            trace.add("x");
            again(work, trace);
            Ok(())
        });
    }
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    again(&mut txn, scene.trace.clone());
    txn.commit().unwrap_err();
    let heard = scene.heard();
    assert_eq!(heard.matches('x').count(), HOOKS_MAX);
    assert!(heard.ends_with("x a.abort"));
}

#[test]
fn x15_to_begin_does_not_touch_another_transaction_of_the_thread() {
    let scene = Scene::default();
    let mut one = scene.begin();
    join(&mut one, scene.member("a"));
    let other = scene.begin();
    assert_eq!(scene.heard(), "");
    assert_eq!(other.joined::<Member>().count(), 0);
    assert!(
        one.join_with::<Member>(resource("a"), |_| Err("gone".into()))
            .is_ok()
    );
}

#[test]
fn x16_what_a_hook_doomed_is_not_committed() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    txn.before_commit(|work| {
        work.doom();
        Ok(())
    });
    assert!(matches!(txn.commit(), Err(CommitError::Doomed)));
    assert_eq!(scene.heard(), "a.abort");
}
