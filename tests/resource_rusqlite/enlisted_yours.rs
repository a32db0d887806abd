//! *Enlisted, yours*: tasks in a transaction that the application holds and commits itself.
#![cfg(test)]

use std::sync::Arc;

use votive::queue::{Chain, EnlistError, Group, Queue};
use votive::store::memory::MemoryStore;
use votive::store::{Filter, Kind};
use votive::task::{OnDuplicate, Options, State, Unique};

use crate::fixture::{Remind, fixture, remind};

#[test]
fn a_task_is_visible_once_the_application_s_transaction_has_committed() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    txn.execute("INSERT INTO note VALUES ('one')", []).unwrap();
    let mut queue = tasks.queue.enlist(&txn).unwrap();
    queue.enqueue(&remind("one")).unwrap();
    assert!(tasks.texts().is_empty());
    txn.commit().unwrap();
    assert_eq!(
        (fixture.notes(), tasks.texts()),
        (vec!["one".into()], vec!["one".into()])
    );
}

#[test]
fn a_task_is_gone_with_the_application_s_transaction() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    tasks
        .queue
        .enlist(&txn)
        .unwrap()
        .enqueue(&remind("one"))
        .unwrap();
    txn.rollback().unwrap();
    assert!(tasks.texts().is_empty());
}

#[test]
fn a_savepoint_of_the_application_takes_back_its_tasks_alone() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let mut txn = raw.transaction().unwrap();
    tasks
        .queue
        .enlist(&txn)
        .unwrap()
        .enqueue(&remind("kept"))
        .unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    let mut inner = tasks.queue.enlist(&savepoint).unwrap();
    inner.enqueue(&remind("undone")).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["kept"]);
}

#[test]
fn a_connection_in_a_transaction_begun_by_hand_will_do() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let raw = fixture.raw();
    raw.execute_batch("BEGIN").unwrap();
    tasks
        .queue
        .enlist(&raw)
        .unwrap()
        .enqueue(&remind("one"))
        .unwrap();
    raw.execute_batch("COMMIT").unwrap();
    assert_eq!(tasks.texts(), ["one"]);
}

#[test]
fn a_connection_outside_a_transaction_is_refused() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let refused = tasks.queue.enlist(&fixture.raw()).err().unwrap();
    assert!(matches!(refused, EnlistError::NoTransaction));
    assert!(refused.to_string().contains("begin one"));
}

#[test]
fn a_transaction_that_has_ended_takes_no_more_tasks() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let raw = fixture.raw();
    raw.execute_batch("BEGIN").unwrap();
    let mut queue = tasks.queue.enlist(&raw).unwrap();
    raw.execute_batch("COMMIT").unwrap();
    let refused = queue.enqueue(&remind("late")).unwrap_err();
    assert!(matches!(refused, EnlistError::NoTransaction));
    assert!(tasks.texts().is_empty());
}

#[test]
fn a_connection_to_another_file_is_refused_by_name() {
    let fixture = fixture();
    let tasks = fixture.tasks("tasks.db");
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    let refused = tasks.queue.enlist(&txn).err().unwrap().to_string();
    assert!(
        refused.contains("app.db") && refused.contains("tasks.db"),
        "{refused}"
    );
}

#[test]
fn an_attached_store_does_not_count() {
    let fixture = fixture();
    let tasks = fixture.tasks("tasks.db");
    let mut raw = fixture.raw();
    let attached = tasks.store.path().to_str().unwrap();
    raw.execute("ATTACH ?1 AS tasks", [attached]).unwrap();
    let txn = raw.transaction().unwrap();
    let refused = tasks.queue.enlist(&txn).err().unwrap();
    assert!(matches!(refused, EnlistError::OtherDatabase { .. }));
}

#[test]
fn a_store_of_another_backend_is_refused_by_name() {
    let fixture = fixture();
    let queue = Queue::new(Arc::new(MemoryStore::new()), "default").unwrap();
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    let refused = queue.enlist(&txn).err().unwrap();
    assert!(matches!(
        refused,
        EnlistError::OtherBackend { backend: "memory" }
    ));
}

#[test]
fn a_refused_task_leaves_the_transaction_as_it_was() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let unique = || Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new("only")
        }),
        ..Options::default()
    };
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&txn).unwrap();
    queue.enqueue_with(&remind("one"), unique()).unwrap();
    let refused = queue.enqueue_with(&remind("two"), unique()).unwrap_err();
    assert!(
        matches!(&refused, EnlistError::Store(error) if matches!(error.kind, Kind::NotUnique { .. }))
    );
    txn.commit().unwrap();
    assert_eq!(tasks.texts(), ["one"]);
}

#[test]
fn a_full_queue_refuses_a_task_at_the_call_and_the_transaction_goes_on() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let manager = votive::TransactionManager::new();
    let limited = tasks
        .queue
        .change_settings(&manager, |settings| settings.capacity = Some(1));
    limited.unwrap();
    let txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&txn).unwrap();
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
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&txn).unwrap();
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
fn a_savepoint_of_the_application_takes_back_its_chain_and_its_group_alone() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let mut raw = fixture.raw();
    let mut txn = raw.transaction().unwrap();
    let chain = || Chain::new().then(remind("one")).then(remind("two"));
    chain()
        .enlist(&mut tasks.queue.enlist(&txn).unwrap())
        .unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    let mut inner = tasks.queue.enlist(&savepoint).unwrap();
    chain().enlist(&mut inner).unwrap();
    let group = Group::new().add(remind("a")).then(remind("last"));
    group.enlist(&mut inner).unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    let expected = [("one", State::Ready), ("two", State::Waiting)];
    assert_eq!(states(&tasks.queue), named(expected));
    assert_eq!(tasks.queue.store().check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_chain_that_is_refused_leaves_nothing_in_the_application_s_transaction() {
    let fixture = fixture();
    let tasks = fixture.tasks("app.db");
    let manager = votive::txn::TransactionManager::new();
    let limit = tasks
        .queue
        .change_settings(&manager, |settings| settings.capacity = Some(1));
    limit.unwrap();
    let mut raw = fixture.raw();
    let txn = raw.transaction().unwrap();
    let mut queue = tasks.queue.enlist(&txn).unwrap();
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
