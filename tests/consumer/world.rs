//! A store with a queue, a kind of task, and a consumer in a hurry.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::{Builder, Consumer};
use votive::handler::{Context, Registry};
use votive::id::TaskId;
use votive::queue::Queue;
use votive::store::memory::MemoryStore;
use votive::store::{Filter, Store};
use votive::task::{Options, Payload, PayloadLimits, Record, RetryPolicy, State};
use votive::txn::{BoxError, TransactionManager};

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A task of the tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) number: u32,
}

impl Task for Step {
    const KIND: &'static str = "step";

    /// Tried twice, with hardly a pause, and kept when it is done.
    fn options() -> Options {
        Options {
            retry: RetryPolicy {
                attempts_max: 2,
                backoff_min: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            retention: Some(LONG * 100),
            ..Options::default()
        }
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) manager: TransactionManager,
    pub(crate) queue: Queue,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn of(store: Arc<dyn Store>) -> Self {
        Self {
            manager: TransactionManager::new(),
            queue: Queue::new(Arc::clone(&store), "default").unwrap(),
            store,
        }
    }

    /// Returns a consumer of this world that waits for nothing long.
    pub(crate) fn consumer(&self, registry: Registry) -> Builder {
        Consumer::builder(Arc::clone(&self.store), registry)
            .manager(self.manager.clone())
            .timeout_grace(LONG)
            .stop_timeout(LONG)
            .recover_interval(Duration::from_millis(20))
    }

    pub(crate) fn enqueue(&self, number: u32) -> TaskId {
        self.enqueue_with(number, Step::options())
    }

    pub(crate) fn enqueue_with(&self, number: u32, options: Options) -> TaskId {
        let mut txn = self.manager.begin().unwrap();
        let task = Step { number };
        let id = self.queue.enqueue_with(&mut txn, &task, options).unwrap();
        txn.commit().unwrap();
        id
    }

    /// Enqueues a JSON payload of any kind.
    pub(crate) fn enqueue_json(&self, kind: &str, text: &str) -> TaskId {
        let mut txn = self.manager.begin().unwrap();
        let payload = Payload::from_json(text, 0, PayloadLimits::default()).unwrap();
        let queue = &self.queue;
        let id = queue.enqueue_payload(&mut txn, kind, payload, Step::options());
        txn.commit().unwrap();
        id.unwrap()
    }

    pub(crate) fn record(&self, task: TaskId) -> Record {
        self.store
            .get(task)
            .unwrap()
            .expect("the task is there")
            .record
    }

    /// Waits until the task is in this state, and returns its record.
    pub(crate) fn reaches(&self, task: TaskId, state: State) -> Record {
        until_ok(|| {
            let record = self.record(task);
            if record.state == state {
                return Ok(record);
            }
            Err(format!("{record:?} at {:?}", self.store.now()))
        })
    }

    /// Counts the tasks of a kind that are visible.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let filter = Filter {
            kind: Some(kind.to_owned()),
            ..Filter::default()
        };
        self.store.scan(&filter, None, 1_000).unwrap().tasks.len()
    }
}

/// A registry whose only handler runs the steps.
pub(crate) fn steps(
    handler: impl Fn(Step, &mut Context<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
) -> Registry {
    let mut registry = Registry::new();
    registry.register(handler).unwrap();
    registry
}

/// Looks again and again until `done`, and fails if that takes long.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    until_ok(|| {
        if done() {
            Ok(())
        } else {
            Err("it takes too long".to_owned())
        }
    });
}

/// Looks again and again until there is a result, and fails with the last reason if that takes long.
fn until_ok<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let pause = Duration::from_millis(2);
    let mut found = look();
    for _ in 0..LONG.as_millis() / pause.as_millis() {
        match found {
            Ok(found) => return found,
            Err(_) => std::thread::park_timeout(pause),
        }
        found = look();
    }
    found.expect("it takes too long")
}

/// A channel without a bound; its sender can be shared by handlers.
pub(crate) fn sender<T: Send>() -> (Sender<T>, Receiver<T>) {
    crossbeam_channel::unbounded()
}
