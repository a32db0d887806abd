//! *Enlisted, ours*: a session on the store's own database commits its rows and the tasks in one step.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::register::{Register, Tier};
use votive::resource::postgres::{Database, DatabaseError, Isolation, Options as Access};
use votive::store::postgres::{Pooler, PostgresStore};
use votive::store::{Dispatch, Interest};
use votive::task::{OnDuplicate, Options, Unique};
use votive::txn::{CommitError, Transaction};
use votive_testbed::Fault;

use crate::fixture::{Fixture, Tasks, cause, fixture, impatience, note, remind, story};

/// A store, and the application's rows beside it.
struct Shared {
    fixture: Fixture,
    tasks: Tasks<PostgresStore>,
    database: Database,
}

fn shared() -> Option<Shared> {
    shared_with(impatience())
}

fn shared_with(options: Access) -> Option<Shared> {
    let fixture = fixture()?;
    let tasks = fixture.tasks_inside();
    Some(Shared {
        database: Database::sharing_with(Arc::clone(&tasks.store), options).unwrap(),
        tasks,
        fixture,
    })
}

impl Shared {
    fn begin(&self) -> Transaction {
        let mut txn = self.fixture.manager.begin().unwrap();
        note(&self.database, &mut txn, "one").unwrap();
        self.tasks.enqueue(&mut txn, "one");
        txn
    }

    fn assert_both(&self) {
        assert_eq!(self.fixture.notes(), ["one"]);
        assert_eq!(self.tasks.texts(), ["one"]);
    }

    fn assert_neither(&self) {
        assert!(self.fixture.notes().is_empty() && self.tasks.texts().is_empty());
    }
}

#[test]
fn rows_and_tasks_are_committed_together_as_enlisted() {
    let Some(shared) = shared() else { return };
    let txn = shared.begin();
    assert!(shared.tasks.texts().is_empty());
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    shared.assert_both();
}

#[test]
fn the_order_of_joining_does_not_matter() {
    let Some(shared) = shared() else { return };
    let mut txn = shared.fixture.manager.begin().unwrap();
    shared.tasks.enqueue(&mut txn, "one");
    note(&shared.database, &mut txn, "one").unwrap();
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    shared.assert_both();
}

#[test]
fn rows_and_tasks_are_aborted_together() {
    let Some(shared) = shared() else { return };
    shared.begin().abort().unwrap();
    shared.assert_neither();
}

#[test]
fn a_savepoint_takes_back_rows_and_tasks_together() {
    let Some(shared) = shared() else { return };
    let mut txn = shared.begin();
    let mut savepoint = txn.savepoint().unwrap();
    note(&shared.database, &mut savepoint, "undone").unwrap();
    shared.tasks.enqueue(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    shared.assert_both();
}

#[test]
fn tasks_without_rows_are_committed_by_a_joined_session_too() {
    let Some(shared) = shared() else { return };
    let mut txn = shared.fixture.manager.begin().unwrap();
    shared.database.join(&mut txn).unwrap();
    shared.tasks.enqueue(&mut txn, "one");
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    assert_eq!(shared.tasks.texts(), ["one"]);
}

fn unique(on_duplicate: OnDuplicate) -> Options {
    Options {
        unique: Some(Unique {
            on_duplicate,
            ..Unique::new("key")
        }),
        ..Options::default()
    }
}

#[test]
fn a_task_that_the_store_refuses_takes_the_rows_with_it() {
    let Some(shared) = shared() else { return };
    for is_first in [true, false] {
        let mut txn = shared.fixture.manager.begin().unwrap();
        note(&shared.database, &mut txn, "one").unwrap();
        let options = unique(OnDuplicate::Refuse);
        let queue = &shared.tasks.queue;
        queue
            .enqueue_with(&mut txn, &remind("one"), options)
            .unwrap();
        assert_eq!(txn.commit().is_ok(), is_first);
    }
    shared.assert_both();
}

#[test]
fn a_merged_task_is_reported() {
    let Some(shared) = shared() else { return };
    let mut merged = Vec::new();
    for _ in 0..2 {
        let mut txn = shared.begin();
        let queue = &shared.tasks.queue;
        let options = unique(OnDuplicate::Merge);
        queue
            .enqueue_with(&mut txn, &remind("same"), options)
            .unwrap();
        merged.push(txn.commit().unwrap().merged.len());
    }
    assert_eq!(merged, [0, 1]);
}

#[test]
fn a_commit_wakes_a_consumer_of_this_process() {
    let Some(shared) = shared() else { return };
    let ready = [Interest::Ready("default".into())];
    let woken = std::thread::scope(|scope| {
        let store = &shared.tasks.store;
        let waiter = scope.spawn(|| store.wait(&ready, Duration::from_secs(300)).unwrap());
        shared.begin().commit().unwrap();
        waiter.join().unwrap()
    });
    assert!(woken.is_some());
}

#[test]
fn a_commit_whose_answer_was_lost_is_resolved_by_the_register() {
    let Some(fixture) = fixture() else { return };
    let (proxy, url) = fixture.through();
    let tasks = Tasks::of(Arc::new(open(&url)));
    let database = Database::sharing(Arc::clone(&tasks.store)).unwrap();
    let mut committed = 0;
    // The store commits through the same proxy now and then, and takes a fault upon itself.
    for round in 0..10 {
        let fault = [Fault::CutBefore as fn(_) -> _, Fault::CutAnswer][round % 2];
        let mut txn = fixture.manager.begin().unwrap();
        note(&database, &mut txn, "one").unwrap();
        tasks.enqueue(&mut txn, "one");
        proxy.arm(fault(b"COMMIT\0".to_vec()));
        match txn.commit() {
            Ok(_) => committed += 1,
            Err(error) => assert!(matches!(error, CommitError::Refused { .. }), "{error:?}"),
        }
    }
    assert!(proxy.triggered() > 0);
    assert_eq!(
        (fixture.notes().len(), tasks.texts().len()),
        (committed, committed)
    );
}

fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, votive::store::postgres::Options::default()).unwrap()
}

#[test]
fn many_threads_commit_at_once() {
    let Some(shared) = shared() else { return };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    shared.begin().commit().unwrap();
                }
            });
        }
    });
    assert_eq!(
        (shared.fixture.notes().len(), shared.tasks.texts().len()),
        (40, 40)
    );
}

#[test]
fn lone_commits_leave_few_records() {
    let Some(shared) = shared() else { return };
    for _ in 0..5 {
        shared.begin().commit().unwrap();
    }
    assert!(shared.tasks.store.outcomes(None, 9).unwrap().len() <= 1);
}

#[test]
fn commits_that_overlap_leave_few_records_whatever_they_see_of_each_other() {
    const ROUNDS: usize = 100;
    let isolation = impatience().isolation(Isolation::RepeatableRead);
    let Some(shared) = shared_with(isolation) else {
        return;
    };
    for _ in 0..ROUNDS {
        let (one, other) = (shared.begin(), shared.begin());
        other.commit().unwrap();
        one.commit().unwrap();
    }
    let left = shared.tasks.store.outcomes(None, 2 * ROUNDS).unwrap().len();
    assert!(left < 64, "{left}");
}

#[test]
fn no_task_is_written_behind_a_transaction_that_was_ended_by_hand() {
    const BEFORE: usize = 20;
    let Some(shared) = shared() else { return };
    for _ in 0..BEFORE {
        shared.begin().commit().unwrap();
    }
    for how in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let mut txn = shared.begin();
        let session = shared.database.join(&mut txn).unwrap();
        session.batch_execute(how).unwrap();
        let refused = txn.commit().unwrap_err();
        assert_eq!(shared.tasks.texts().len(), BEFORE, "{how}");
        let told = story(&refused);
        assert!(told.contains("by hand") || how == "COMMIT; BEGIN", "{told}");
    }
}

#[test]
fn a_store_behind_a_pooler_that_hands_sessions_round_is_not_shared() {
    let Some(fixture) = fixture() else { return };
    let options = votive::store::postgres::Options::default().pooler(Pooler::Transaction);
    let store = PostgresStore::open(&fixture.url(), options).unwrap();
    let refused = Database::sharing(Arc::new(store)).unwrap_err();
    assert!(refused.to_string().contains("pooler"), "{refused}");
}

#[test]
fn a_store_s_database_that_was_opened_as_another_is_refused_with_the_remedy() {
    let Some(shared) = shared() else { return };
    let database = shared.fixture.open();
    let mut txn = shared.fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    shared.tasks.enqueue(&mut txn, "one");
    let refused = txn.commit().unwrap_err();
    assert!(matches!(refused, CommitError::Refused { .. }));
    assert!(matches!(cause(&refused), DatabaseError::NotShared(_)));
    shared.assert_neither();
}
