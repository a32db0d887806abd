//! Lessons about the decision: who committed, and what must never be believed.
#![cfg(test)]

use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::ffi;
use votive::queue::{Pending, Queue, recover_older_than};
use votive::register::Decision;
use votive::resource::rusqlite::{Database, DatabaseError, Options};
use votive::store::sqlite::{Options as StoreOptions, SqliteStore};
use votive::store::{Kind, Published};
use votive::txn::{CommitError, Outcome, TransactionManager};

use crate::lessons;
use crate::stage::{Stage, Step};

fn insert(stage: &Stage, number: u32) -> votive::store::Batch {
    let mut txn = stage.manager.begin().unwrap();
    stage.queue.enqueue(&mut txn, &Step { number }).unwrap();
    let records = txn.pending().into_iter().cloned();
    let inserts = records.map(|record| votive::store::Change::Insert(Box::new(record)));
    inserts.collect()
}

/// A transaction of an incarnation that the store knows.
fn enrolled(stage: &Stage) -> votive::id::TxnId {
    let txn = TransactionManager::new().mint().unwrap();
    let now = stage.store.now().unwrap();
    stage.store.enroll(txn.incarnation, now).unwrap();
    txn
}

/// A late commit after a rollback delivered what had been taken back.
fn a_commit_that_comes_after_the_abort_commits_nothing(stage: &Stage) {
    let (txn, now) = (enrolled(stage), stage.store.now().unwrap());
    stage.store.decide(txn, Decision::Aborted, &[]).unwrap();
    let late = stage.store.apply(txn, &insert(stage, 1), &[], now);
    assert_eq!(late.unwrap_err().kind, Kind::Decided(txn));
    assert!(stage.visible().is_empty());
}

/// A duplicate commit delivered twice.
fn a_commit_that_is_told_twice_delivers_once(stage: &Stage) {
    let (txn, now) = (enrolled(stage), stage.store.now().unwrap());
    let (register, batch) = (stage.store.resource(), insert(stage, 1));
    stage.store.stage(txn, register, &batch, now).unwrap();
    stage.store.publish(txn, now).unwrap();
    assert_eq!(stage.store.publish(txn, now).unwrap(), Published::Already);
    assert_eq!(stage.visible(), [1]);
}

/// A delayed commit hit the next transaction.
fn each_attempt_is_a_transaction_of_its_own(stage: &Stage) {
    let mut ids = Vec::new();
    let ran = stage.manager.run(3, |txn| {
        ids.push(txn.id());
        Err::<(), _>(votive::txn::Retryable("again".into()))
    });
    assert!(ran.is_err());
    assert!(ids.is_sorted() && ids.windows(2).all(|two| two[0] != two[1]));
}

/// Buffers and hooks leaked into the next commit.
fn what_was_aborted_does_not_come_with_the_next_commit(stage: &Stage) {
    let ran = Arc::new(AtomicBool::new(false));
    let mut txn = stage.manager.begin().unwrap();
    stage.queue.enqueue(&mut txn, &Step { number: 1 }).unwrap();
    let seen = Arc::clone(&ran);
    txn.after_commit(move |outcome| {
        seen.store(outcome == Outcome::Committed, Ordering::Relaxed);
        Ok(())
    });
    txn.abort().unwrap();
    stage.enqueue(2);
    assert_eq!(stage.visible(), [2]);
    assert!(!ran.load(Ordering::Relaxed));
}

/// A task whose outer savepoint was rolled back ran all the same.
fn a_task_goes_if_any_savepoint_around_it_is_rolled_back(stage: &Stage) {
    let mut txn = stage.manager.begin().unwrap();
    stage.queue.enqueue(&mut txn, &Step { number: 1 }).unwrap();
    let mut outer = txn.savepoint().unwrap();
    let mut inner = outer.savepoint().unwrap();
    stage
        .queue
        .enqueue(&mut inner, &Step { number: 2 })
        .unwrap();
    drop(inner);
    outer.rollback().unwrap();
    drop(outer);
    txn.commit().unwrap();
    assert_eq!(stage.visible(), [1]);
}

/// Tests in rolled-back transactions never see what a commit would enqueue.
fn a_test_that_never_commits_sees_what_would_be_enqueued(stage: &Stage) {
    let mut txn = stage.manager.begin().unwrap();
    let task = stage.queue.enqueue(&mut txn, &Step { number: 1 }).unwrap();
    let pending: Vec<_> = txn.pending().iter().map(|record| record.id).collect();
    assert_eq!(pending, [task]);
    txn.abort().unwrap();
}

/// A retry inside another swallowed the failure that the outer one should have seen.
fn a_nested_retry_does_not_mask_a_conflict(stage: &Stage) {
    let mut runs = 0;
    let ran = stage.manager.run(3, |_| {
        runs += 1;
        let inner = stage.manager.run(2, |_| {
            Err::<(), _>(votive::txn::Retryable("a conflict".into()))
        });
        inner.map(drop)
    });
    assert!(ran.is_err());
    assert_eq!(runs, 3);
}

/// Recovery of one deployment resolved the transactions of another.
fn a_second_deployment_never_resolves_another_s_transactions(stage: &Stage) {
    let theirs = votive::open("memory://").unwrap();
    let (txn, now) = (enrolled(stage), stage.store.now().unwrap());
    stage
        .store
        .stage(txn, theirs.resource(), &insert(stage, 1), now)
        .unwrap();
    let recovered = recover_older_than(&stage.store, &stage.manager, Duration::ZERO).unwrap();
    assert_eq!((recovered.published, recovered.discarded), (0, 0));
    assert_eq!(stage.store.in_doubt(None, 10).unwrap()[0].txn, txn);
}

lessons! {
    memory:
        a_commit_that_comes_after_the_abort_commits_nothing
        a_commit_that_is_told_twice_delivers_once
        each_attempt_is_a_transaction_of_its_own
        what_was_aborted_does_not_come_with_the_next_commit
        a_task_goes_if_any_savepoint_around_it_is_rolled_back
        a_test_that_never_commits_sees_what_would_be_enqueued
        a_nested_retry_does_not_mask_a_conflict;
    sqlite:
        a_commit_that_comes_after_the_abort_commits_nothing
        a_commit_that_is_told_twice_delivers_once
        what_was_aborted_does_not_come_with_the_next_commit
        a_task_goes_if_any_savepoint_around_it_is_rolled_back
        a_second_deployment_never_resolves_another_s_transactions
        a_commit_whose_answer_was_lost_is_resolved_by_the_register;
    file:
        a_commit_that_comes_after_the_abort_commits_nothing
        a_commit_that_is_told_twice_delivers_once
        what_was_aborted_does_not_come_with_the_next_commit
        a_task_goes_if_any_savepoint_around_it_is_rolled_back
        a_second_deployment_never_resolves_another_s_transactions
        a_commit_whose_answer_was_lost_is_resolved_by_the_register;
    redis:
        a_commit_that_comes_after_the_abort_commits_nothing
        a_commit_that_is_told_twice_delivers_once
        what_was_aborted_does_not_come_with_the_next_commit
        a_task_goes_if_any_savepoint_around_it_is_rolled_back
        a_second_deployment_never_resolves_another_s_transactions
        a_commit_whose_answer_was_lost_is_resolved_by_the_register;
    postgres:
        a_commit_that_comes_after_the_abort_commits_nothing
        a_commit_that_is_told_twice_delivers_once
        what_was_aborted_does_not_come_with_the_next_commit
        a_task_goes_if_any_savepoint_around_it_is_rolled_back
        a_second_deployment_never_resolves_another_s_transactions
        a_commit_whose_answer_was_lost_is_resolved_by_the_register;
}

thread_local! {
    /// Whether the next COMMIT of this thread is lied about.
    static LIES: Cell<bool> = const { Cell::new(false) };
}

fn lie_if_told(_: &rusqlite::hooks::Wal, _: std::ffi::c_int) -> rusqlite::Result<()> {
    if LIES.replace(false) {
        let busy = ffi::Error::new(ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    Ok(())
}

/// An application's database, whose COMMIT says that the database is locked, once it is told to, although
/// the transaction is committed.
fn locked_though_committed(folder: &tempfile::TempDir) -> Database {
    let path = folder.path().join("app.db");
    Database::migrate(&path).unwrap();
    let options = Options::default().setup(|connection| {
        connection.wal_hook(Some(lie_if_told));
        Ok(())
    });
    Database::open_with(path, options).unwrap()
}

/// "database is locked" came back although the row was committed; others took that for an abort.
fn a_commit_whose_answer_was_lost_is_resolved_by_the_register(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    let database = locked_though_committed(&folder);
    let mut txn = stage.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session.execute_batch("CREATE TABLE note (text)").unwrap();
    stage.queue.enqueue(&mut txn, &Step { number: 1 }).unwrap();
    LIES.set(true);
    let committed = txn.commit().unwrap();
    assert!(!LIES.get(), "the commit was lied about");
    assert!(committed.pending.is_empty());
    assert_eq!(stage.visible(), [1]);
}

/// A queue that was restored from a copy went on deciding for the original.
#[test]
fn a_cloned_store_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, copy] = ["tasks.db", "copy.db"].map(|name| folder.path().join(name));
    drop(SqliteStore::open(&path, StoreOptions::default()).unwrap());
    fs::copy(&path, &copy).unwrap();
    let clone = SqliteStore::open(&copy, StoreOptions::default()).unwrap();
    let queue = Queue::new(Arc::new(clone), "default").unwrap();
    let mut txn = TransactionManager::new().begin().unwrap();
    queue.enqueue(&mut txn, &Step { number: 1 }).unwrap();
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
}

#[test]
fn a_cloned_database_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, copy] = ["app.db", "copy.db"].map(|name| folder.path().join(name));
    Database::migrate(&path).unwrap();
    fs::copy(&path, &copy).unwrap();
    let refused = Database::open(&copy).unwrap_err();
    assert!(matches!(refused, DatabaseError::Moved { .. }));
}

/// A pragma that was misspelt left a queue without write-ahead logging, and nobody noticed.
#[test]
fn a_setting_that_does_not_take_is_an_error() {
    let refused = SqliteStore::open(":memory:", StoreOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("journal_mode"), "{refused}");
}
