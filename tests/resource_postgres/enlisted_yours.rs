//! *Enlisted, yours*: tasks in a transaction that the application holds and commits itself.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::queue::{EnlistError, Queue};
use votive::store::memory::MemoryStore;
use votive::store::postgres::{self, PostgresStore};
use votive::store::{Dispatch, Interest, Kind};
use votive::task::{OnDuplicate, Options, Unique};

use crate::fixture::{Fixture, connect, fixture, make_database, remind};

fn unique(key: &str) -> Options {
    Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new(key)
        }),
        ..Options::default()
    }
}

#[test]
fn a_task_is_visible_once_the_application_s_transaction_has_committed() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    queue.enqueue(&remind("one")).unwrap();
    let insert = "INSERT INTO note (text) VALUES ('one')";
    queue.transaction().execute(insert, &[]).unwrap();
    queue.enqueue(&remind("two")).unwrap();
    assert!(tasks.texts().is_empty());
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
    assert_eq!(tasks.texts(), ["one", "two"]);
}

#[test]
fn a_task_is_gone_with_the_application_s_transaction() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    queue.enqueue(&remind("one")).unwrap();
    txn.rollback().unwrap();
    assert!(tasks.texts().is_empty());
}

#[test]
fn a_nested_transaction_of_the_application_takes_back_its_tasks_alone() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let mut outer = tasks.queue.enlist(&mut txn).unwrap();
    outer.enqueue(&remind("kept")).unwrap();
    let mut nested = txn.transaction().unwrap();
    let mut inner = tasks.queue.enlist(&mut nested).unwrap();
    inner.enqueue(&remind("undone")).unwrap();
    nested.rollback().unwrap();
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["kept"]);
}

#[test]
fn a_connection_in_a_transaction_begun_by_hand_will_do() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    raw.batch_execute("BEGIN").unwrap();
    let mut queue = tasks.queue.enlist(&mut raw).unwrap();
    queue.enqueue(&remind("one")).unwrap();
    assert!(tasks.texts().is_empty());
    raw.batch_execute("COMMIT").unwrap();
    assert_eq!(tasks.texts(), ["one"]);
}

#[test]
fn a_connection_outside_a_transaction_is_refused() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let refused = tasks.queue.enlist(&mut raw).err().unwrap();
    assert!(matches!(refused, EnlistError::NoTransaction));
    assert!(refused.to_string().contains("begin one"));
}

#[test]
fn a_transaction_that_has_ended_takes_no_more_tasks() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    raw.batch_execute("BEGIN").unwrap();
    let mut queue = tasks.queue.enlist(&mut raw).unwrap();
    queue.transaction().batch_execute("COMMIT").unwrap();
    let refused = queue.enqueue(&remind("late")).unwrap_err();
    assert!(matches!(refused, EnlistError::NoTransaction));
    assert!(tasks.texts().is_empty());
}

/// A queue in another database of the same server.
fn elsewhere(fixture: &Fixture) -> (Queue, String) {
    let url = fixture.server.url_of(&make_database(fixture.server));
    let store = PostgresStore::open(&url, postgres::Options::default()).unwrap();
    (Queue::new(Arc::new(store), "default").unwrap(), url)
}

#[test]
fn a_connection_to_another_database_is_refused_whatever_schema_it_has() {
    let Some(fixture) = fixture() else { return };
    let (queue, _) = elsewhere(&fixture);
    let mut raw = fixture.raw();
    for has_store in [false, true] {
        let mut txn = raw.transaction().unwrap();
        let refused = queue.enlist(&mut txn).err().unwrap();
        assert!(
            matches!(refused, EnlistError::OtherDatabase { .. }),
            "{refused:?}"
        );
        txn.rollback().unwrap();
        if !has_store {
            fixture.tasks_inside();
        }
    }
}

#[test]
fn a_store_of_another_backend_is_refused_by_name() {
    let Some(fixture) = fixture() else { return };
    let queue = Queue::new(Arc::new(MemoryStore::new()), "default").unwrap();
    let mut raw = fixture.raw();
    let mut txn = raw.transaction().unwrap();
    let refused = queue.enlist(&mut txn).err().unwrap();
    assert!(matches!(
        refused,
        EnlistError::OtherBackend { backend: "memory" }
    ));
}

#[test]
fn a_refused_task_leaves_the_transaction_as_it_was() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    queue.enqueue_with(&remind("first"), unique("key")).unwrap();
    let refused = queue
        .enqueue_with(&remind("second"), unique("key"))
        .unwrap_err();
    let EnlistError::Store(refused) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(refused.kind, Kind::NotUnique { .. }));
    queue.enqueue(&remind("third")).unwrap();
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["first", "third"]);
}

#[test]
fn a_consumer_of_another_process_is_woken_by_the_application_s_commit() {
    let Some(fixture) = fixture() else { return };
    let tasks = fixture.tasks_inside();
    let options = postgres::Options::default().poll_interval(Duration::from_secs(600));
    let waiting = PostgresStore::open(&fixture.url(), options).unwrap();
    let ready = [Interest::Ready("default".into())];
    let (woken, wakes) = crossbeam_channel::bounded(1);
    let mut raw = connect(&fixture.url());
    std::thread::scope(|scope| {
        scope.spawn(|| woken.send(waiting.wait(&ready, Duration::from_secs(300))));
        // It may not listen yet when the first one commits.
        let heard = loop {
            let mut txn = raw.transaction().unwrap();
            let mut queue = tasks.queue.enlist(&mut txn).unwrap();
            queue.enqueue(&remind("one")).unwrap();
            txn.commit().unwrap();
            if let Ok(heard) = wakes.recv_timeout(Duration::from_millis(50)) {
                break heard;
            }
        };
        assert!(heard.unwrap().is_some());
    });
}

#[test]
fn a_full_queue_refuses_a_task_at_the_call_and_the_transaction_goes_on() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let manager = votive::TransactionManager::new();
    let limited = tasks
        .queue
        .change_settings(&manager, |settings| settings.capacity = Some(1));
    limited.unwrap();
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    queue.enqueue(&remind("one")).unwrap();
    let refused = queue.enqueue(&remind("two")).unwrap_err();
    let is_full = |error: &votive::store::Error| matches!(error.kind, Kind::QueueFull { .. });
    assert!(matches!(&refused, EnlistError::Store(error) if is_full(error)));
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["one"]);
}
