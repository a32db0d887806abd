//! *Enlisted, ours*: a session on the store's own file commits its rows and the tasks in one step.
#![cfg(test)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use votive::register::{Register, Tier};
use votive::resource::rusqlite::{Database, Options};
use votive::store::{Dispatch, Interest};
use votive::task::{OnDuplicate, Unique};
use votive::txn::{BoxError, CommitError, Work};

use crate::fixture::{Pair, cause, fixture, note, remind};

fn shared() -> Pair {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let options = Options::default().busy_timeout(Duration::from_millis(50));
    Pair {
        database: Database::sharing_with(Arc::clone(&tasks.store), options).unwrap(),
        fixture,
        tasks,
    }
}

#[test]
fn rows_and_tasks_are_committed_together_as_enlisted() {
    let shared = shared();
    let mut txn = shared.begin();
    shared.write(&mut txn, "one");
    assert!(shared.tasks.texts().is_empty());
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    shared.assert_both(&["one"]);
}

#[test]
fn the_order_of_joining_does_not_matter() {
    let shared = shared();
    let mut txn = shared.begin();
    shared.tasks.enqueue(&mut txn, "one");
    note(&shared.database, &mut txn, "one").unwrap();
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    shared.assert_both(&["one"]);
}

#[test]
fn rows_and_tasks_are_aborted_together() {
    let shared = shared();
    let mut txn = shared.begin();
    shared.write(&mut txn, "one");
    txn.abort().unwrap();
    shared.assert_both(&[]);
}

#[test]
fn a_savepoint_takes_back_rows_and_tasks_together() {
    let shared = shared();
    let mut txn = shared.begin();
    shared.write(&mut txn, "kept");
    let mut savepoint = txn.savepoint().unwrap();
    shared.write(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    shared.assert_both(&["kept"]);
}

#[test]
fn tasks_without_rows_are_committed_by_a_joined_session_too() {
    let shared = shared();
    let mut txn = shared.begin();
    shared.database.join(&mut txn).unwrap();
    shared.tasks.enqueue(&mut txn, "one");
    txn.commit().unwrap();
    assert_eq!(shared.tasks.texts(), ["one"]);
}

fn unique(on_duplicate: OnDuplicate) -> votive::task::Options {
    votive::task::Options {
        unique: Some(Unique {
            on_duplicate,
            ..Unique::new("only")
        }),
        ..votive::task::Options::default()
    }
}

#[test]
fn a_task_that_the_store_refuses_takes_the_rows_with_it() {
    let shared = shared();
    let enqueue = |text: &str| -> Result<(), BoxError> {
        let mut txn = shared.fixture.manager.begin()?;
        note(&shared.database, &mut txn, text)?;
        shared
            .tasks
            .queue
            .enqueue_with(&mut txn, &remind(text), unique(OnDuplicate::Refuse))?;
        Ok(txn.commit().map(drop)?)
    };
    enqueue("one").unwrap();
    let refused = enqueue("two").unwrap_err();
    assert!(matches!(
        refused.downcast_ref(),
        Some(CommitError::Refused { .. })
    ));
    shared.assert_both(&["one"]);
}

#[test]
fn a_merged_task_is_reported() {
    let shared = shared();
    let enqueue = || {
        let mut txn = shared.begin();
        shared.database.join(&mut txn).unwrap();
        let task =
            shared
                .tasks
                .queue
                .enqueue_with(&mut txn, &remind("one"), unique(OnDuplicate::Merge));
        (task.unwrap(), txn.commit().unwrap().merged)
    };
    let ((first, _), (second, merged)) = (enqueue(), enqueue());
    assert_eq!(merged, [(second, first)]);
}

#[test]
fn a_commit_wakes_a_consumer_of_this_process() {
    let shared = shared();
    let interest = [Interest::Ready("default".to_owned())];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| shared.tasks.store.wait(&interest, Duration::from_secs(60)));
        let mut txn = shared.begin();
        shared.database.join(&mut txn).unwrap();
        shared.tasks.enqueue(&mut txn, "one");
        txn.commit().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().as_ref(), interest.first());
    });
}

#[test]
fn the_store_and_its_sessions_take_turns() {
    let shared = shared();
    let manager = &shared.fixture.manager;
    let (database, queue) = (&shared.database, &shared.tasks.queue);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                let alone = manager.run(1, |txn| queue.enqueue(txn, &remind("alone")));
                alone.unwrap();
            }
        });
        for _ in 0..20 {
            let both = manager.run(100, |txn| -> Result<(), BoxError> {
                note(database, txn, "both")?;
                queue.enqueue(txn, &remind("both"))?;
                Ok(())
            });
            both.unwrap();
        }
    });
    assert_eq!(
        (shared.fixture.notes().len(), shared.tasks.texts().len()),
        (20, 40)
    );
}

#[test]
fn only_the_last_commit_leaves_a_record() {
    let shared = shared();
    for _ in 0..3 {
        let mut txn = shared.begin();
        shared.write(&mut txn, "one");
        txn.commit().unwrap();
    }
    assert_eq!(shared.tasks.store.outcomes(None, 9).unwrap().len(), 1);
}

#[test]
fn a_lock_that_is_not_released_is_a_conflict_by_name() {
    let shared = shared();
    let enrolled = |work: &mut Work| note(&shared.database, work, "one");
    shared.fixture.manager.run(1, |txn| enrolled(txn)).unwrap();
    let other = shared.fixture.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let run = shared
        .fixture
        .manager
        .run(2, |txn| note(&shared.database, txn, "one"));
    let error = run.unwrap_err();
    let chain = std::iter::successors(Some(&error as &dyn Error), |&error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("app.db could not begin a transaction")),
        "{texts:?}"
    );
}

#[test]
fn a_store_s_file_that_was_opened_as_another_is_refused_with_the_remedy() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    tasks.queue.enqueue(&mut txn, &remind("one")).unwrap();
    let error = txn.commit().unwrap_err();
    assert!(cause(&error).to_string().contains("`Database::sharing`"));
    assert!(fixture.notes().is_empty() && tasks.texts().is_empty());
}
