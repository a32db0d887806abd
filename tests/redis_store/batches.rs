//! Batches out of the ordinary: one that uses an id again, and one of more than a script names in one command.
#![cfg(test)]

use votive::id::{ResourceId, TaskId, TxnId};
use votive::register::Register;
use votive::store::{Amendment, Batch, Change, Inspect, Stage};
use votive::task::{Options, Record, State, StateSet, Unique};

use crate::fixture::{Client, insert, server};

/// Removes a task and enqueues one of its id, with another priority.
fn replace(client: &Client, task: TaskId, priority: u8) -> Vec<Change> {
    let remove = Change::Amend {
        task,
        expect: StateSet::of(&[State::Ready]),
        amendment: Amendment::Remove,
    };
    let record = Record {
        id: task,
        ..client.record()
    };
    let options = Options {
        priority,
        ..Options::default()
    };
    vec![remove, insert(record.with_options(options))]
}

fn stage(client: &Client, changes: Vec<Change>) -> TxnId {
    let (txn, now) = (client.txn(), client.store.now().unwrap());
    let (register, batch) = (ResourceId::random(), Batch::new(changes));
    client.store.stage(txn, register, &batch, now).unwrap();
    txn
}

fn priority(client: &Client, task: TaskId) -> u8 {
    let listed = client.store.get(task).unwrap().unwrap();
    listed.record.options.priority
}

#[test]
fn a_staged_batch_that_uses_an_id_again_shows_nothing_of_it_before_it_is_published() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let task = client.enqueue();
    let usual = priority(&client, task);
    let txn = stage(&client, replace(&client, task, 3));
    assert_eq!(priority(&client, task), usual);
    client.store.discard(txn).unwrap();
    assert_eq!(priority(&client, task), usual);
    let txn = stage(&client, replace(&client, task, 4));
    let now = client.store.now().unwrap();
    client.store.publish(txn, now).unwrap();
    assert_eq!(priority(&client, task), 4);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_merged_into_a_task_does_not_lead_to_the_next_one_of_its_id() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let keyed = || {
        client.record().with_options(Options {
            unique: Some(Unique::new("key")),
            ..Options::default()
        })
    };
    let (task, merged) = (keyed(), keyed());
    let (id, alias) = (task.id, merged.id);
    client.apply(insert(task)).unwrap();
    client.apply(insert(merged)).unwrap();
    assert_eq!(client.store.get(alias).unwrap().unwrap().record.id, id);
    let changes = replace(&client, id, 3);
    client.apply_as(client.txn(), changes).unwrap();
    assert_eq!(client.store.get(alias).unwrap(), None);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn ten_thousand_commits_are_forgotten_at_once() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    client.enqueue();
    let txns: Vec<_> = (0..10_000).map(|_| client.txn()).collect();
    assert_eq!(client.store.forget(&txns).unwrap(), 0);
}
