//! Two stores, and what is in them.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;

use votive::id::TaskId;
use votive::queue::{self, Copied, Queue};
use votive::store::memory::MemoryStore;
use votive::store::{Amendment, Batch, Change, Filter, Store};
use votive::task::{Format, Options, Payload, Record, StateSet};
use votive::txn::TransactionManager;

/// A store that tasks leave, and one that they come to.
pub(crate) struct Pair {
    pub(crate) from: Arc<dyn Store>,
    pub(crate) to: Arc<dyn Store>,
    pub(crate) manager: TransactionManager,
}

impl Pair {
    /// Two stores in memory, which move tasks as any others do.
    pub(crate) fn new() -> Self {
        Self::of(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()))
    }

    pub(crate) fn of(from: Arc<dyn Store>, to: Arc<dyn Store>) -> Self {
        Self {
            from,
            to,
            manager: TransactionManager::new(),
        }
    }

    pub(crate) fn enqueue(&self, options: Options) -> TaskId {
        enqueue(&self.from, &self.manager, options)
    }

    pub(crate) fn copy(&self) -> Copied {
        queue::copy(&self.from, &self.to, &self.manager, None).unwrap()
    }

    pub(crate) fn apply(&self, store: &Arc<dyn Store>, change: Change) {
        queue::apply(store, &self.manager, &Batch::new(vec![change])).unwrap();
    }

    pub(crate) fn amend(&self, task: TaskId, amendment: Amendment) {
        let change = Change::Amend {
            task,
            expect: StateSet::ALL,
            amendment,
        };
        self.apply(&self.from, change);
    }
}

/// Enqueues a task; returns its id.
pub(crate) fn enqueue(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    options: Options,
) -> TaskId {
    let payload = Payload {
        format: Format::Bytes,
        version: 1,
        bytes: b"payload"[..].into(),
    };
    let queue = Queue::new(Arc::clone(store), "default").unwrap();
    let mut txn = manager.begin().unwrap();
    let task = queue.enqueue_payload(&mut txn, "kind", payload, options);
    txn.commit().unwrap();
    task.unwrap()
}

pub(crate) fn record(store: &dyn Store, task: TaskId) -> Record {
    store.get(task).unwrap().expect("the task is there").record
}

/// The ids of all visible tasks.
pub(crate) fn ids(store: &dyn Store) -> BTreeSet<TaskId> {
    let (mut ids, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = store.scan(&Filter::default(), cursor.as_ref(), 1_000);
        let page = page.unwrap();
        ids.extend(page.tasks.iter().map(|task| task.record.id));
        cursor = page.next;
        if cursor.is_none() {
            return ids;
        }
    }
}
