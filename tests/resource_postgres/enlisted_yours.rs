//! *Enlisted, yours*: tasks in a transaction that the application holds and commits itself.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use ::postgres::{Client, IsolationLevel, Transaction};
use votive::id::{ConsumerId, Incarnation};
use votive::queue::{Chain, EnlistError, Group, Queue};
use votive::store::memory::MemoryStore;
use votive::store::postgres::{self, PostgresStore};
use votive::store::{
    Batch, Change, ClaimRequest, Dispatch, Filter, Inspect, Interest, Kind, Settlement, Stage,
    Verdict, Want,
};
use votive::task::{OnDuplicate, Options, State, Unique};

use crate::fixture::{Fixture, Remind, Tasks, batch, connect, fixture, make_database, remind};

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

/// Begins a transaction that goes on seeing what is committed now.
fn begin_settled(raw: &mut Client) -> Transaction<'_> {
    let begin = raw.build_transaction();
    let begin = begin.isolation_level(IsolationLevel::RepeatableRead);
    let mut txn = begin.start().unwrap();
    let insert = "INSERT INTO note (text) VALUES ('what it sees is settled by this')";
    txn.execute(insert, &[]).unwrap();
    txn
}

/// Enqueues a task of this key, which the server refuses to a transaction that does not see who else took it.
fn refuse(tasks: &Tasks<PostgresStore>, mut txn: Transaction<'_>, key: &str) {
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    let refused = queue.enqueue_with(&remind("late"), unique(key));
    assert!(refused.is_err());
}

#[test]
fn a_key_that_was_taken_since_is_not_taken_again_by_who_does_not_see_that() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw, mut other) = (fixture.tasks_inside(), fixture.raw(), fixture.raw());
    let txn = begin_settled(&mut raw);
    let mut sooner = other.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut sooner).unwrap();
    queue.enqueue_with(&remind("first"), unique("key")).unwrap();
    sooner.commit().unwrap();
    refuse(&tasks, txn, "key");
    assert_eq!(tasks.texts(), ["first"]);
}

#[test]
fn a_key_that_was_reserved_since_is_not_taken_by_who_does_not_see_that() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let now = tasks.store.now().unwrap();
    let txn = begin_settled(&mut raw);
    let mut staged = batch("staged", now);
    for change in &mut staged.changes {
        if let Change::Insert(record) = change {
            record.options = unique("key").shared();
        }
    }
    let id = fixture.manager.mint().unwrap();
    let register = tasks.store.id();
    tasks.store.stage(id, register, &staged, now).unwrap();
    refuse(&tasks, txn, "key");
    tasks.store.publish(id, now).unwrap();
    assert_eq!(tasks.texts(), ["staged"]);
}

#[test]
fn a_key_of_a_task_that_came_back_since_is_not_taken_by_who_does_not_see_that() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = fixture.manager.begin().unwrap();
    tasks
        .queue
        .enqueue_with(&mut txn, &remind("first"), unique("key"))
        .unwrap();
    txn.commit().unwrap();
    let incarnation = Incarnation::random();
    let lease = Duration::from_secs(60);
    let _presence = tasks.store.attend(incarnation, lease).unwrap();
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "web".to_owned(),
        },
        wants: vec![Want {
            queue: "default".to_owned(),
            count: 1,
        }],
        lease,
    };
    let now = tasks.store.now().unwrap();
    let claim = tasks.store.claim(&request, now).unwrap().remove(0);
    let txn = begin_settled(&mut raw);
    let back = Batch::new(vec![Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Release { at: None },
        counts: claim.record.counts,
        account: None,
    })]);
    votive::queue::apply(&tasks.shared(), &fixture.manager, &back).unwrap();
    refuse(&tasks, txn, "key");
    assert_eq!(tasks.texts(), ["first"]);
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

/// The texts of the visible tasks, with their states, in the order of enqueueing.
fn states(queue: &Queue) -> Vec<(String, State)> {
    let page = queue.store().scan(&Filter::default(), None, 100).unwrap();
    let records = page.tasks.into_iter().map(|listed| listed.record);
    let told = records.map(|record| {
        let task: Remind = record.payload.decode().unwrap();
        (task.text, record.state)
    });
    told.collect()
}

fn named<const N: usize>(expected: [(&str, State); N]) -> Vec<(String, State)> {
    expected
        .map(|(text, state)| (text.to_owned(), state))
        .into()
}

#[test]
fn a_chain_and_a_group_are_written_into_the_application_s_transaction() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    let chain = Chain::new().then(remind("one")).then(remind("two"));
    let chained = chain.enlist(&mut queue).unwrap();
    let group = Group::new().add(remind("a")).add(remind("b"));
    let grouped = group.then(remind("last")).enlist(&mut queue).unwrap();
    assert!(tasks.texts().is_empty());
    txn.commit().unwrap();
    let (ready, waiting) = (State::Ready, State::Waiting);
    let expected = [
        ("one", ready),
        ("two", waiting),
        ("a", ready),
        ("b", ready),
        ("last", waiting),
    ];
    assert_eq!(states(&tasks.queue), named(expected));
    let waits_for = |task| {
        let found = tasks.queue.store().get(task).unwrap().unwrap();
        found.record.options.waits_for.clone()
    };
    assert_eq!(waits_for(chained[1]), [chained[0]]);
    assert_eq!(waits_for(grouped.callback.unwrap()), grouped.members);
}

#[test]
fn a_nested_transaction_of_the_application_takes_back_its_chain_and_its_group_alone() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let mut txn = raw.transaction().unwrap();
    let chain = || Chain::new().then(remind("one")).then(remind("two"));
    chain()
        .enlist(&mut tasks.queue.enlist(&mut txn).unwrap())
        .unwrap();
    let mut nested = txn.transaction().unwrap();
    let mut inner = tasks.queue.enlist(&mut nested).unwrap();
    chain().enlist(&mut inner).unwrap();
    let group = Group::new().add(remind("a")).then(remind("last"));
    group.enlist(&mut inner).unwrap();
    nested.rollback().unwrap();
    txn.commit().unwrap();
    let expected = [("one", State::Ready), ("two", State::Waiting)];
    assert_eq!(states(&tasks.queue), named(expected));
    assert_eq!(tasks.queue.store().check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_chain_that_is_refused_leaves_nothing_in_the_application_s_transaction() {
    let Some(fixture) = fixture() else { return };
    let (tasks, mut raw) = (fixture.tasks_inside(), fixture.raw());
    let manager = votive::txn::TransactionManager::new();
    let limit = tasks
        .queue
        .change_settings(&manager, |settings| settings.capacity = Some(1));
    limit.unwrap();
    let mut txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&mut txn).unwrap();
    let chain = Chain::new().then(remind("one")).then(remind("two"));
    let refused = chain.enlist(&mut queue).unwrap_err();
    assert!(
        matches!(&refused, EnlistError::Store(error) if matches!(error.kind, Kind::QueueFull { .. })),
        "{refused:?}"
    );
    queue.enqueue(&remind("alone")).unwrap();
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["alone"]);
}
