//! What the stories of the queue share.
#![cfg(test)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::id::{Incarnation, TaskId, TxnId};
use votive::queue::Queue;
use votive::register::{Register, Tier};
use votive::store::memory::MemoryStore;
use votive::store::{Batch, Change, Filter, Inspect, Stage, Store};
use votive::task::{Options, Payload, PayloadLimits, Record};
use votive::txn::TransactionManager;

use crate::faulty::Faulty;

#[derive(Serialize, Deserialize)]
pub(crate) struct Greet {
    pub(crate) name: String,
}

impl Task for Greet {
    const KIND: &'static str = "greet";
}

pub(crate) fn greet(name: &str) -> Greet {
    Greet {
        name: name.to_owned(),
    }
}

/// A queue `default` in a memory store, and a manager.
pub(crate) fn volatile() -> (Queue, TransactionManager) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    (queue(&store), TransactionManager::new())
}

/// A store that says that it is durable, a queue in it, and a manager.
pub(crate) fn durable() -> (Arc<Faulty>, Queue, TransactionManager) {
    let store = Faulty::new(Tier::Enlisted);
    let queue = queue(&as_store(&store));
    (store, queue, TransactionManager::new())
}

pub(crate) fn as_store(store: &Arc<Faulty>) -> Arc<dyn Store> {
    Arc::clone(store) as _
}

pub(crate) fn queue(store: &Arc<dyn Store>) -> Queue {
    Queue::new(Arc::clone(store), "default").unwrap()
}

/// The names in the visible greetings, in the order of their enqueueing.
pub(crate) fn visible(store: &dyn Inspect) -> Vec<String> {
    let page = store.scan(&Filter::default(), None, 100).unwrap();
    let names = page.tasks.iter().map(|task| name_of(&task.record));
    names.collect()
}

pub(crate) fn name_of(record: &Record) -> String {
    record.payload.decode::<Greet>().unwrap().name
}

/// A batch with one greeting.
pub(crate) fn batch(store: &dyn Inspect, name: &str) -> Batch {
    let now = store.now().unwrap();
    let payload = Payload::encode(&greet(name), PayloadLimits::default()).unwrap();
    let record = Record::new(TaskId::new(now), "default", Greet::KIND, payload, now);
    let record = record.with_options(Options::default());
    Batch::new(vec![Change::Insert(Box::new(record))])
}

/// A transaction of a process that is no more, enrolled in `register`.
pub(crate) fn orphan(register: &dyn Register) -> TxnId {
    let txn = TxnId {
        incarnation: Incarnation::random(),
        sequence: 1,
    };
    let now = votive::time::Timestamp::EPOCH;
    register.enroll(txn.incarnation, now).unwrap();
    txn
}

/// Stages one greeting of `txn` in `store`, to be decided in `register`.
pub(crate) fn stage(store: &Faulty, register: &dyn Register, txn: TxnId, name: &str) {
    let (now, batch) = (store.now().unwrap(), batch(store, name));
    store.stage(txn, register.resource(), &batch, now).unwrap();
}
