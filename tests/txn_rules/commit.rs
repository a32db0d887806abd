//! C1 to C13: how a commit goes, whatever fails on the way.
#![cfg(test)]

use votive::register::Tier;
use votive::txn::{BeginError, CommitError, RefusedBy};

use crate::fixture::{Fault, Scene, join, resource};

#[test]
fn c1_a_commit_calls_everybody_in_the_fixed_order() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("b").tells_its_key());
    join(&mut txn, scene.member("a").tells_its_key());
    txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "s.new before_commit s.before b.sort_key a.sort_key a.prepare b.prepare a.vote b.vote \
         a.finish b.finish s.after(Committed) after_commit(Committed)"
    );
}

#[test]
fn c2_equal_sort_keys_keep_the_order_of_joining() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    for name in ["z", "y", "x"] {
        join(&mut txn, scene.member(name).keyed("same"));
    }
    txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "z.prepare y.prepare x.prepare z.vote y.vote x.vote z.finish y.finish x.finish"
    );
}

#[test]
fn c2_the_commit_point_votes_last_and_keeps_its_place_in_every_other_phase() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("b").promises());
    join(&mut txn, scene.member("a").decides());
    let committed = txn.commit().unwrap();
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare b.vote a.decide a.finish b.finish"
    );
    assert_eq!(committed.tier, Tier::Prepared);
}

#[test]
fn c2_the_clean_up_keeps_the_order_too() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("b").promises());
    join(
        &mut txn,
        scene.member("a").decides().fails("decide", Fault::Error),
    );
    txn.commit().unwrap_err();
    let heard = scene.heard();
    assert!(
        heard.ends_with("b.vote a.decide a.abort b.abort"),
        "{heard}"
    );
}

#[test]
fn c3_nobody_begins_a_phase_before_all_have_ended_the_one_before() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    for name in ["c", "a", "b"] {
        join(&mut txn, scene.member(name));
    }
    txn.commit().unwrap();
    let heard = scene.heard();
    let phases: Vec<&str> = heard
        .split(' ')
        .map(|event| event.split_once('.').unwrap().1)
        .collect();
    let expected = [["prepare"; 3], ["vote"; 3], ["finish"; 3]].concat();
    assert_eq!(phases, expected);
}

#[test]
fn c4_a_doomed_transaction_is_refused_before_anything_else_is_called() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("a"));
    txn.doom();
    assert!(matches!(txn.commit(), Err(CommitError::Doomed)));
    assert_eq!(
        scene.heard(),
        "s.new before_abort a.abort s.after(Refused) after_commit(Refused) after_abort"
    );
}

#[test]
fn c5_a_no_stops_the_phase_and_everybody_is_aborted_in_order() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("c"));
    join(&mut txn, scene.member("b").fails("vote", Fault::Error));
    join(&mut txn, scene.member("a"));
    txn.commit().unwrap_err();
    assert_eq!(
        scene.heard(),
        "s.new before_commit s.before a.prepare b.prepare c.prepare a.vote b.vote \
         before_abort a.abort b.abort c.abort s.after(Refused) after_commit(Refused) after_abort"
    );
}

#[test]
fn c5_a_failing_prepare_lets_nobody_vote() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    join(&mut txn, scene.member("b").fails("prepare", Fault::Error));
    join(&mut txn, scene.member("c"));
    txn.commit().unwrap_err();
    assert_eq!(scene.heard(), "a.prepare b.prepare a.abort b.abort c.abort");
}

#[test]
fn c5_the_first_error_is_reported_and_later_ones_are_attached() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").fails("abort", Fault::Panic));
    join(&mut txn, scene.member("b").fails("vote", Fault::Error));
    join(&mut txn, scene.member("c").fails("abort", Fault::Error));
    let Err(CommitError::Refused {
        by, source, also, ..
    }) = txn.commit()
    else {
        panic!("the commit was not refused");
    };
    assert_eq!(by, RefusedBy::Participant("b".into()));
    assert_eq!(source.to_string(), "b.vote broke");
    let also: Vec<String> = also.iter().map(ToString::to_string).collect();
    assert_eq!(also, ["a panic: a.abort broke", "c.abort broke"]);
}

#[test]
fn c6_a_participant_that_cannot_finish_is_tried_again_after_the_others_and_then_left_to_recovery() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    let stuck = scene.member("a").fails("finish", Fault::Error);
    join(&mut txn, stuck.fails("finish", Fault::Panic));
    join(&mut txn, scene.member("b"));
    let committed = txn.commit().unwrap();
    assert_eq!(committed.pending, ["a"]);
    let heard = scene.heard();
    assert!(
        heard.ends_with("b.vote a.finish b.finish a.finish"),
        "{heard}"
    );
}

#[test]
fn c6_a_participant_that_finishes_at_the_second_try_is_not_pending() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").fails("finish", Fault::Error));
    assert!(txn.commit().unwrap().pending.is_empty());
}

#[test]
fn c7_of_all_outcomes_only_a_refusal_is_run_again() {
    let attempts = |step: &'static str, fault| {
        let scene = Scene::default();
        let mut count = 0;
        let _outcome = scene.manager.run(3, |txn| {
            count += 1;
            join(txn, scene.member("a").decides().fails(step, fault));
            Ok::<_, votive::txn::BoxError>(())
        });
        count
    };
    assert_eq!(attempts("prepare", Fault::Conflict), 3);
    assert_eq!(attempts("decide", Fault::Conflict), 3);
    assert_eq!(attempts("decide", Fault::Unknown), 1);
    assert_eq!(attempts("finish", Fault::Conflict), 1);
}

#[test]
fn c8_after_an_unknown_answer_nobody_is_aborted_or_finished() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    let mut txn = scene.begin();
    scene.hooks(&mut txn);
    join(&mut txn, scene.member("a").promises());
    join(
        &mut txn,
        scene.member("b").decides().fails("decide", Fault::Unknown),
    );
    let id = txn.id();
    let error = txn.commit().unwrap_err();
    assert!(matches!(error, CommitError::Undecided { txn, .. } if txn == id));
    assert_eq!(
        scene.heard(),
        "s.new before_commit s.before a.prepare b.prepare a.vote b.decide \
         s.after(Undecided) after_commit(Undecided)"
    );
}

#[test]
fn c9_a_failing_before_commit_hook_refuses_and_its_own_error_says_whether_to_retry() {
    for (fault, worth_a_retry) in [(Fault::Conflict, true), (Fault::Error, false)] {
        let scene = Scene::default();
        let mut txn = scene.begin();
        join(&mut txn, scene.member("a"));
        txn.before_commit(move |_| fault.raise("hook"));
        let error = txn.commit().unwrap_err();
        let CommitError::Refused { by, retryable, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((by, retryable), (RefusedBy::Hook, worth_a_retry));
        assert_eq!(scene.heard(), "a.abort");
    }
}

#[test]
fn c9_a_synchronizer_that_fails_before_completion_refuses_and_the_next_is_not_called() {
    let scene = Scene::default();
    scene.listen("s", &[("before", Fault::Conflict)]);
    scene.listen("t", &[]);
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a"));
    let error = txn.commit().unwrap_err();
    let CommitError::Refused { by, retryable, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((by, retryable), (RefusedBy::Synchronizer, true));
    assert_eq!(
        scene.heard(),
        "s.new t.new s.before a.abort s.after(Refused) t.after(Refused)"
    );
}

#[test]
fn c10_what_fails_after_the_decision_changes_nothing_and_all_run() {
    let scene = Scene::default();
    scene.listen("s", &[("after", Fault::Error)]);
    scene.listen("t", &[("after", Fault::Panic)]);
    let mut txn = scene.begin();
    txn.after_commit(|_| Err("hook".into()));
    txn.after_commit(|_| panic!("hook"));
    scene.hooks(&mut txn);
    txn.commit().unwrap();
    let heard = scene.heard();
    let expected = "s.after(Committed) t.after(Committed) after_commit(Committed)";
    assert!(heard.ends_with(expected), "{heard}");
}

#[test]
fn c11_every_sort_key_is_computed_before_anything_changes() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").tells_its_key());
    let without_key = scene.member("b").tells_its_key();
    join(&mut txn, without_key.fails("sort_key", Fault::Error));
    txn.commit().unwrap_err();
    assert_eq!(scene.heard(), "a.sort_key b.sort_key a.abort b.abort");
}

#[test]
fn c12_a_synchronizer_that_refuses_a_new_transaction_has_it_aborted() {
    let scene = Scene::default();
    scene.listen("s", &[]);
    scene.listen("t", &[("new", Fault::Error)]);
    let error = scene.manager.begin().unwrap_err();
    assert!(matches!(error, BeginError::Synchronizer(_)));
    assert_eq!(
        scene.heard(),
        "s.new t.new s.before t.before s.after(aborted) t.after(aborted)"
    );
}

#[test]
fn c13_there_is_no_current_transaction_so_two_of_one_thread_do_not_meet() {
    let scene = Scene::default();
    let (mut one, mut other) = (scene.begin(), scene.begin());
    join(&mut one, scene.member("a"));
    join(&mut other, scene.member("b"));
    one.commit().unwrap();
    other.abort().unwrap();
    assert_eq!(scene.heard(), "a.prepare a.vote a.finish b.abort");
}

#[test]
fn a_participant_with_nothing_to_do_leaves_after_its_prepare() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides().has_nothing_to_do());
    join(&mut txn, scene.member("b").decides());
    let plan = txn.plan();
    let committed = txn.commit().unwrap();
    assert!(plan.is_err(), "both could have had work");
    assert_eq!(scene.heard(), "a.prepare b.prepare b.decide b.finish");
    assert_eq!(committed.tier, Tier::Enlisted);
}

#[test]
fn two_participants_that_can_only_commit_are_refused_by_the_planner() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides());
    join(&mut txn, scene.member("b").decides());
    let Err(CommitError::Refused { by, source, .. }) = txn.commit() else {
        panic!("the commit was not refused");
    };
    assert_eq!(by, RefusedBy::Planner);
    assert!(source.to_string().contains(r#"["a", "b"]"#), "{source}");
    assert_eq!(scene.heard(), "a.prepare b.prepare a.abort b.abort");
}

#[test]
fn the_forecast_of_a_plan_names_who_decides_and_who_promises() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").promises());
    join(&mut txn, scene.member("b").decides());
    let plan = txn.plan().unwrap();
    assert_eq!(plan.commit_point, Some(resource("b")));
    assert_eq!(plan.prepared, [resource("a")]);
}
