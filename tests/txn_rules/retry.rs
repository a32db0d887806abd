//! T1 to T3: running again.
#![cfg(test)]

use std::collections::BTreeSet;

use votive::txn::{
    BoxError, CommitError, IncarnationGone, JoinError, Retryable, RunError, Transaction,
};

use crate::fixture::{Fault, Member, Scene, join, resource};

fn conflict() -> BoxError {
    Retryable("a conflict".into()).into()
}

#[test]
fn t1_a_participant_is_asked_whether_to_retry_before_it_is_aborted() {
    let scene = Scene::default();
    let result = scene.manager.run(2, |txn| {
        join(txn, scene.member("a").retries());
        Err::<(), BoxError>("odd".into())
    });
    assert!(matches!(result, Err(RunError::Work(_))));
    assert_eq!(scene.heard(), "a.is_retryable a.abort a.abort");
}

#[test]
fn t1_a_participant_is_asked_of_a_refused_commit_too() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").retries());
    join(&mut txn, scene.member("b").fails("vote", Fault::Error));
    let error = txn.commit().unwrap_err();
    let worth = matches!(
        error,
        CommitError::Refused {
            retryable: true,
            ..
        }
    );
    assert!(worth, "{error}");
    let heard = scene.heard();
    assert!(heard.contains("b.vote a.is_retryable a.abort"), "{heard}");
}

#[test]
fn t2_each_attempt_is_a_transaction_of_its_own_and_begins_empty() {
    let scene = Scene::default();
    let mut seen = BTreeSet::new();
    let (attempts, _) = scene
        .manager
        .run(5, |txn| {
            assert!(txn.is_empty());
            seen.insert(txn.id());
            join(txn, scene.member("a"));
            (seen.len() == 3).then_some(3).ok_or_else(conflict)
        })
        .unwrap();
    assert_eq!((attempts, seen.len()), (3, 3));
    assert_eq!(scene.heard(), "a.abort a.abort a.prepare a.vote a.finish");
}

#[test]
fn t2_a_doomed_transaction_is_not_run_again() {
    let scene = Scene::default();
    let mut count = 0;
    let error = scene.manager.run(3, |txn| {
        count += 1;
        txn.doom();
        Err::<(), _>(conflict())
    });
    assert!(matches!(error, Err(RunError::Work(_))));
    assert_eq!(count, 1);
}

#[test]
fn t2_a_panic_of_a_participant_is_not_run_again() {
    let scene = Scene::default();
    let mut count = 0;
    let error = scene.manager.run(3, |txn| {
        count += 1;
        join(txn, scene.member("a").retries().fails("vote", Fault::Panic));
        Ok::<_, BoxError>(())
    });
    assert!(matches!(error, Err(RunError::Commit(_))));
    assert_eq!(count, 1);
}

#[test]
fn t2_an_incarnation_that_is_gone_is_replaced_and_the_work_is_done_again() {
    let scene = Scene::default();
    let first = scene.manager.incarnation();
    let mut used = Vec::new();
    let done = scene.manager.run(2, |txn| {
        let incarnation = txn.id().incarnation;
        used.push(incarnation);
        let mut member = scene.member("a");
        if incarnation == first {
            member = member.fails("prepare", Fault::Gone(first));
        }
        join(txn, member);
        Ok::<_, BoxError>(())
    });
    done.unwrap();
    assert_eq!(used, [first, scene.manager.incarnation()]);
    assert_ne!(used[0], used[1]);
}

#[test]
fn t2_an_incarnation_under_which_nobody_could_join_is_replaced_however_the_transaction_ends() {
    let ends: [fn(Transaction); 3] = [
        drop,
        |txn| txn.abort().unwrap(),
        |txn| drop(txn.commit().unwrap()),
    ];
    for end in ends {
        let scene = Scene::default();
        let first = scene.manager.incarnation();
        let mut txn = scene.begin();
        let failed = txn.join_with::<Member>(resource("a"), |txn| {
            Err(IncarnationGone(txn.incarnation).into())
        });
        assert!(matches!(failed, Err(JoinError::Init(_))));
        end(txn);
        assert_ne!(scene.begin().id().incarnation, first);
    }
}

#[test]
fn t3_a_run_without_attempts_is_an_error_and_begins_nothing() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let result = scene.manager.run(0, |_| Ok::<_, BoxError>(()));
    assert!(matches!(result, Err(RunError::NoAttempts)));
    assert_eq!(scene.heard(), "");
}
