//! Sessions that have written nothing: what they say to others is heard if the transaction commits.
#![cfg(test)]

use std::time::Duration;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use votive::register::Tier;
use votive::resource::postgres::Database;
use votive::store::sqlite::SqliteStore;
use votive::task::{OnDuplicate, Options, Unique};
use votive::txn::Transaction;
use votive_testbed::Fault;

use crate::fixture::{Fixture, Tasks, fixture, remind};

/// A connection that hears what is said.
fn listener(fixture: &Fixture) -> Client {
    let mut client = fixture.raw();
    client.batch_execute("LISTEN said").unwrap();
    client
}

fn next_heard(client: &mut Client) -> String {
    let mut notifications = client.notifications();
    let next = notifications.timeout_iter(Duration::from_secs(60)).next();
    next.unwrap().unwrap().payload().to_owned()
}

/// Begins a transaction in which a session says something, and writes nothing.
fn saying(fixture: &Fixture, database: &Database, text: &str) -> Transaction {
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session
        .execute("SELECT pg_notify('said', $1)", &[&text])
        .unwrap();
    txn
}

/// Enqueues a task of which there is one at most, or else the commit is refused.
fn enqueue_once(tasks: &Tasks<SqliteStore>, txn: &mut Transaction) {
    let unique = Some(Unique {
        on_duplicate: OnDuplicate::Refuse,
        ..Unique::new("key")
    });
    let options = Options {
        unique,
        ..Options::default()
    };
    let task = remind("one");
    tasks.queue.enqueue_with(txn, &task, options).unwrap();
}

#[test]
fn what_a_session_says_is_heard_when_the_tasks_are_committed() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let tasks = fixture.tasks();
    let mut client = listener(&fixture);
    let preparing = Database::preparing(&fixture.url()).unwrap();
    for (database, text) in [(fixture.open(), "one"), (preparing, "two")] {
        let mut txn = saying(&fixture, &database, text);
        tasks.enqueue(&mut txn, text);
        assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
        assert_eq!(next_heard(&mut client), text);
    }
    assert_eq!(tasks.texts(), ["one", "two"]);
    assert_eq!(fixture.count("votive.outcome"), 0);
}

#[test]
fn what_a_session_says_alone_is_heard_too() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let mut client = listener(&fixture);
    let txn = saying(&fixture, &fixture.open(), "one");
    txn.commit().unwrap();
    assert_eq!(next_heard(&mut client), "one");
    assert_eq!(fixture.count("votive.outcome"), 0);
}

#[test]
fn what_a_session_says_in_a_transaction_that_does_not_commit_is_not_heard() {
    let Some(fixture) = fixture() else { return };
    let (database, tasks) = (fixture.open(), fixture.tasks());
    let mut client = listener(&fixture);
    let mut aborted = saying(&fixture, &database, "aborted");
    enqueue_once(&tasks, &mut aborted);
    aborted.abort().unwrap();
    let mut committed = saying(&fixture, &database, "committed");
    enqueue_once(&tasks, &mut committed);
    committed.commit().unwrap();
    let mut refused = saying(&fixture, &database, "refused");
    enqueue_once(&tasks, &mut refused);
    refused.commit().unwrap_err();
    fixture.raw().batch_execute("NOTIFY said, 'end'").unwrap();
    let heard = [(); 2].map(|()| next_heard(&mut client));
    assert_eq!(heard, ["committed", "end"]);
}

#[test]
fn a_session_that_is_cut_off_after_the_decision_keeps_no_task_back() {
    let Some(fixture) = fixture() else { return };
    let (proxy, url) = fixture.through();
    let (database, tasks) = (Database::open(&url).unwrap(), fixture.tasks());
    let mut txn = saying(&fixture, &database, "lost");
    tasks.enqueue(&mut txn, "one");
    proxy.arm(Fault::CutBefore(b"COMMIT\0".to_vec()));
    assert_eq!(txn.commit().unwrap().pending, Vec::<String>::new());
    assert_eq!(proxy.triggered(), 1);
    assert_eq!(tasks.texts(), ["one"]);
    let txn = saying(&fixture, &database, "two");
    txn.commit().unwrap();
}
