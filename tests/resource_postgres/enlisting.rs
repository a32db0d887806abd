//! *Enlisted, yours*, on a connection that keeps what was prepared on it.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::queue::{EnlistError, Queue};
use votive::resource::postgres::{EnlistingClient, EnlistingTransaction};
use votive::store::postgres::{self, Pooler, PostgresStore};
use votive::store::{Dispatch, Interest, Kind};
use votive::task::{OnDuplicate, Options, Unique};

use crate::fixture::{Fixture, Tasks, fixture, make_database, remind};

struct Setting {
    fixture: Fixture,
    tasks: Tasks<PostgresStore>,
    client: EnlistingClient,
}

fn setting() -> Option<Setting> {
    let fixture = fixture()?;
    let (tasks, client) = (fixture.tasks_inside(), EnlistingClient::new(fixture.raw()));
    Some(Setting {
        fixture,
        tasks,
        client,
    })
}

fn note(txn: &mut EnlistingTransaction<'_>, queue: &Queue, text: &str) {
    let insert = "INSERT INTO note (text) VALUES ($1)";
    txn.execute(insert, &[&text]).unwrap();
    queue.enlist(txn).unwrap().enqueue(&remind(text)).unwrap();
}

#[test]
fn tasks_and_rows_of_one_transaction_after_the_other_are_committed_together() {
    let Some(mut setting) = setting() else { return };
    for text in ["one", "two", "three"] {
        let mut txn = setting.client.transaction().unwrap();
        note(&mut txn, &setting.tasks.queue, text);
        txn.commit().unwrap();
    }
    assert_eq!(setting.fixture.notes(), ["one", "two", "three"]);
    assert_eq!(setting.tasks.texts(), ["one", "two", "three"]);
}

#[test]
fn tasks_and_rows_are_gone_with_their_transaction_or_their_savepoint() {
    let Some(mut setting) = setting() else { return };
    let queue = &setting.tasks.queue;
    let mut txn = setting.client.transaction().unwrap();
    note(&mut txn, queue, "kept");
    let mut nested = txn.transaction().unwrap();
    note(&mut nested, queue, "undone");
    nested.rollback().unwrap();
    let mut nested = txn.transaction().unwrap();
    note(&mut nested, queue, "nested");
    nested.commit().unwrap();
    txn.commit().unwrap();
    note(
        &mut setting.client.transaction().unwrap(),
        queue,
        "rolled back",
    );
    assert_eq!(setting.fixture.notes(), ["kept", "nested"]);
    assert_eq!(setting.tasks.texts(), ["kept", "nested"]);
}

/// Returns how many statements are prepared on the connection after each of three transactions.
fn prepared(queue: &Queue, client: &mut EnlistingClient) -> Vec<i64> {
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%votive%'";
    let mut counts = Vec::new();
    for text in ["one", "two", "three"] {
        let mut txn = client.transaction().unwrap();
        note(&mut txn, queue, text);
        let found = txn.query_typed(count, &[]).unwrap();
        counts.push(found[0].get(0));
        txn.commit().unwrap();
    }
    counts
}

#[test]
fn statements_are_prepared_once_for_a_connection() {
    let Some(mut setting) = setting() else { return };
    let counts = prepared(&setting.tasks.queue, &mut setting.client);
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn nothing_is_prepared_for_a_store_behind_a_pooler_that_hands_connections_round() {
    let Some(mut setting) = setting() else { return };
    let options = postgres::Options::default().pooler(Pooler::Transaction);
    let store = PostgresStore::open(&setting.fixture.url(), options).unwrap();
    let queue = Queue::new(Arc::new(store), "default").unwrap();
    assert_eq!(prepared(&queue, &mut setting.client), [0, 0, 0]);
    assert_eq!(setting.tasks.texts().len(), 3);
}

#[test]
fn a_store_in_another_database_is_refused_although_one_was_enlisted() {
    let Some(mut setting) = setting() else { return };
    let url = make_database(setting.fixture.server);
    let url = setting.fixture.server.url_of(&url);
    let store = PostgresStore::open(&url, postgres::Options::default()).unwrap();
    let elsewhere = Queue::new(Arc::new(store), "default").unwrap();
    for _ in 0..2 {
        let mut txn = setting.client.transaction().unwrap();
        note(&mut txn, &setting.tasks.queue, "one");
        let refused = elsewhere.enlist(&mut txn).err().unwrap();
        assert!(
            matches!(refused, EnlistError::OtherDatabase { .. }),
            "{refused:?}"
        );
        txn.commit().unwrap();
    }
    assert_eq!(setting.tasks.texts(), ["one", "one"]);
}

#[test]
fn a_refused_task_leaves_the_transaction_as_it_was() {
    let Some(mut setting) = setting() else { return };
    let options = || Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new("key")
        }),
        ..Options::default()
    };
    let mut txn = setting.client.transaction().unwrap();
    let mut queue = setting.tasks.queue.enlist(&mut txn).unwrap();
    queue.enqueue_with(&remind("first"), options()).unwrap();
    let refused = queue.enqueue_with(&remind("second"), options());
    let Err(EnlistError::Store(refused)) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(refused.kind, Kind::NotUnique { .. }));
    queue.enqueue(&remind("third")).unwrap();
    txn.commit().unwrap();
    assert_eq!(setting.tasks.texts(), ["first", "third"]);
}

#[test]
fn every_commit_wakes_a_consumer_of_another_process() {
    let Some(mut setting) = setting() else { return };
    let options = postgres::Options::default().poll_interval(Duration::from_secs(600));
    let waiting = PostgresStore::open(&setting.fixture.url(), options).unwrap();
    let ready = [Interest::Ready("default".into())];
    let mut txn = setting.client.transaction().unwrap();
    setting.tasks.queue.enlist(&mut txn).unwrap();
    txn.commit().unwrap();
    let (woken, wakes) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| woken.send(waiting.wait(&ready, Duration::from_secs(300))));
        // It may not listen yet when the first one commits.
        let heard = loop {
            let mut txn = setting.client.transaction().unwrap();
            note(&mut txn, &setting.tasks.queue, "one");
            txn.commit().unwrap();
            if let Ok(heard) = wakes.recv_timeout(Duration::from_millis(50)) {
                break heard;
            }
        };
        assert!(heard.unwrap().is_some());
    });
}
