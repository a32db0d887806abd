//! A database decides for others by the register in it.
#![cfg(test)]

use std::sync::atomic::Ordering;

use votive::id::Incarnation;
use votive::register::{Decision, Register, RegisterErrorKind, Standing, Tier};
use votive::resource::rusqlite::{Database, Options};
use votive::time::Timestamp;
use votive::txn::{CommitError, TransactionManager};

use crate::fixture::{Promising, cause, failing, fixture, impatience, note, undecided};

#[test]
fn a_database_without_a_register_does_not_decide_for_others() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    Promising::join(&mut txn);
    let error = txn.commit().unwrap_err();
    let text = cause(&error).to_string();
    assert!(text.contains("votive migrate --register sqlite:"), "{text}");
    assert!(fixture.notes().is_empty());
}

#[test]
fn a_database_whose_commits_may_be_lost_does_not_decide_for_others() {
    let fixture = fixture().with_register();
    let database = fixture.open(
        Options::default()
            .setup(|connection| connection.pragma_update(None, "synchronous", "NORMAL")),
    );
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    Promising::join(&mut txn);
    let error = txn.commit().unwrap_err();
    let text = cause(&error).to_string();
    assert!(
        text.contains("journal_mode = wal and synchronous = 1"),
        "{text}"
    );
    assert!(fixture.notes().is_empty());
}

#[test]
fn a_database_with_a_rollback_journal_decides_for_others_too() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default().wal(false));
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    Promising::join(&mut txn);
    assert_eq!(txn.commit().unwrap().tier, Tier::Prepared);
}

#[test]
fn a_decision_lists_those_who_promised() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    let promising = Promising::join(&mut txn);
    let committed = txn.commit().unwrap();
    let rows = database.outcomes(None, 9).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].txn, rows[0].decision),
        (committed.txn, Decision::Committed)
    );
    assert_eq!(rows[0].stores, [promising]);
}

#[test]
fn a_decision_is_noted_for_garbage_collection() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    Promising::join(&mut txn);
    txn.commit().unwrap();
    let noted = fixture.manager.registers().take_committed(database.id());
    assert_eq!(noted, database.outcomes(None, 9).unwrap());
}

#[test]
fn the_record_of_a_lone_commit_goes_with_the_next() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    for count in 1..=3 {
        let mut txn = fixture.manager.begin().unwrap();
        note(&database, &mut txn, "one").unwrap();
        txn.commit().unwrap();
        assert_eq!(fixture.notes().len(), count);
        assert_eq!(fixture.count("votive_outcome"), 1);
    }
}

#[test]
fn an_incarnation_is_enrolled_once() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    for _ in 0..2 {
        let mut txn = fixture.manager.begin().unwrap();
        note(&database, &mut txn, "one").unwrap();
        txn.commit().unwrap();
    }
    assert_eq!(fixture.count("votive_incarnation"), 1);
}

#[test]
fn a_dropped_incarnation_is_replaced_and_the_work_done_again() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    fixture
        .manager
        .run(1, |txn| note(&database, txn, "one"))
        .unwrap();
    fixture
        .raw()
        .execute_batch("DELETE FROM votive_outcome; DELETE FROM votive_incarnation")
        .unwrap();
    fixture
        .manager
        .run(2, |txn| note(&database, txn, "two"))
        .unwrap();
    assert_eq!(fixture.notes(), ["one", "two"]);
}

#[test]
fn recovery_that_was_faster_refuses_the_commit() {
    let fixture = fixture().with_register();
    let database = fixture.open(impatience().deferred(true));
    let mut txn = fixture.manager.begin().unwrap();
    database.join(&mut txn).unwrap();
    let answer = database.decide(txn.id(), Decision::Aborted, &[]).unwrap();
    assert_eq!(answer.decision, Some(Decision::Aborted));
    note(&database, &mut txn, "too late").unwrap();
    assert!(txn.commit().is_err());
    assert!(fixture.notes().is_empty());
}

#[test]
fn recovery_waits_for_a_commit_that_is_under_way() {
    let fixture = fixture().with_register();
    let database = fixture.impatient();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    let asked = database.decide(txn.id(), Decision::Aborted, &[]);
    assert_eq!(asked.unwrap_err().kind, RegisterErrorKind::Locked);
    txn.commit().unwrap();
}

#[test]
fn the_register_of_a_lost_file_is_out_of_reach_and_not_made_anew() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    std::fs::remove_file(fixture.path()).unwrap();
    let error = database.incarnations().unwrap_err();
    assert_eq!(error.kind, RegisterErrorKind::Unreachable);
    assert!(!fixture.path().exists());
}

#[test]
fn a_register_in_another_file_of_the_same_name_is_not_asked() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    std::fs::rename(fixture.path(), fixture.folder.path().join("old.db")).unwrap();
    Database::migrate(fixture.path()).unwrap();
    let error = database.incarnations().unwrap_err();
    assert_eq!(error.kind, RegisterErrorKind::Unusable);
}

#[test]
fn a_database_without_a_register_cannot_be_asked() {
    let database = fixture().open(Options::default());
    let error = database.incarnations().unwrap_err();
    assert_eq!(error.kind, RegisterErrorKind::Unusable);
}

#[test]
fn an_incarnation_is_closed_and_dropped() {
    let fixture = fixture().with_register();
    let database = fixture.open(Options::default());
    let incarnation = Incarnation::random();
    database.enroll(incarnation, Timestamp::EPOCH).unwrap();
    database.close(incarnation).unwrap();
    assert!(database.incarnations().unwrap()[0].closed);
    assert!(database.drop_incarnation(incarnation).unwrap());
    assert!(database.incarnations().unwrap().is_empty());
}

#[test]
fn a_commit_that_failed_is_asked_for_and_refused() {
    let fixture = fixture().with_register();
    let (database, fail) = failing(&fixture);
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    let id = txn.id();
    fail.store(true, Ordering::SeqCst);
    assert!(matches!(
        txn.commit().unwrap_err(),
        CommitError::Refused { .. }
    ));
    let answer = database.decide(id, Decision::Committed, &[]).unwrap();
    assert_eq!(
        (answer.decision, answer.standing),
        (Some(Decision::Aborted), Standing::Open)
    );
}

#[test]
fn an_undecided_commit_is_settled_when_the_register_answers() {
    let fixture = fixture().with_register();
    let (database, txn) = undecided(&fixture, |_| ());
    assert_eq!(fixture.manager.settle_undecided(), 0);
    let answer = database.decide(txn, Decision::Committed, &[]).unwrap();
    assert_eq!(answer.decision, Some(Decision::Aborted));
}

#[test]
fn an_undecided_commit_that_reached_the_disk_is_finished() {
    let fixture = fixture().with_register();
    let (database, txn) = undecided(&fixture, |_| ());
    database.decide(txn, Decision::Committed, &[]).unwrap();
    assert_eq!(fixture.manager.settle_undecided(), 0);
    // Its record goes with the next commit, as that of any lone commit whose owner knows of it.
    fixture
        .manager
        .run(1, |txn| note(&database, txn, "two"))
        .unwrap();
    let records = database.outcomes(None, 9).unwrap();
    assert!(records.iter().all(|record| record.txn != txn));
}

#[test]
fn a_manager_that_is_gone_is_proved_dead_and_a_living_one_is_not() {
    let fixture = fixture().with_register();
    let gone = TransactionManager::new();
    let database = fixture.open(Options::default());
    gone.run(1, |txn| note(&database, txn, "one")).unwrap();
    drop((gone, database));
    let database = fixture.open(Options::default());
    fixture
        .manager
        .run(1, |txn| note(&database, txn, "two"))
        .unwrap();
    let (known, departed) = (
        database.incarnations().unwrap(),
        database.departed().unwrap(),
    );
    assert_eq!((known.len(), departed.len()), (2, 1));
    let now = fixture.manager.begin().unwrap().id().incarnation;
    assert!(!departed.contains(&now));
}
