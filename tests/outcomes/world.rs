//! A store with a queue, tasks that only say their number, and a consumer in a hurry.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::{Builder, Consumer, Running};
use votive::handler::{Context, Registry};
use votive::id::TaskId;
use votive::queue::{Queue, TaskHandle};
use votive::store::memory::MemoryStore;
use votive::store::sqlite::{Options as SqliteOptions, SqliteStore};
use votive::store::{Amendment, Batch, Change, Filter, Store};
use votive::task::{Options, Record, RetryPolicy, State, StateSet};
use votive::txn::{BoxError, TransactionManager, Work};

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A task with a number; a hundred and more are those that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step(pub(crate) u32);

impl Task for Step {
    const KIND: &'static str = "step";

    fn options() -> Options {
        options(1)
    }
}

/// Kept when it is done, and tried so often with hardly a pause.
pub(crate) fn options(attempts_max: u32) -> Options {
    Options {
        retry: RetryPolicy {
            attempts_max,
            backoff_min: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        retention: Some(LONG * 100),
        ..Options::default()
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

    /// In a file of its own, which goes with the folder.
    pub(crate) fn in_file(folder: &tempfile::TempDir) -> Self {
        let path = folder.path().join("queue.db");
        Self::of(Arc::new(
            SqliteStore::open(path, SqliteOptions::default()).unwrap(),
        ))
    }

    pub(crate) fn of(store: Arc<dyn Store>) -> Self {
        Self {
            manager: TransactionManager::new(),
            queue: Queue::new(Arc::clone(&store), "default").unwrap(),
            store,
        }
    }

    pub(crate) fn consumer(&self, registry: Registry) -> Builder {
        Consumer::builder(Arc::clone(&self.store), registry)
            .manager(self.manager.clone())
            .timeout_grace(LONG)
            .stop_timeout(LONG)
            .queue("default")
    }

    /// Starts a consumer of steps.
    pub(crate) fn run<R: Serialize + 'static>(
        &self,
        handler: impl Fn(Step, &mut Context<'_>) -> Result<R, BoxError> + Send + Sync + 'static,
    ) -> Running {
        let mut registry = Registry::new();
        registry.register(handler).unwrap();
        self.consumer(registry).start().unwrap()
    }

    pub(crate) fn commit<T>(&self, work: impl FnOnce(&mut Work) -> T) -> T {
        let mut txn = self.manager.begin().unwrap();
        let result = work(&mut txn);
        txn.commit().unwrap();
        result
    }

    pub(crate) fn enqueue<T: Task>(&self, task: &T, options: Options) -> TaskHandle {
        let id = self.commit(|work| self.queue.enqueue_with(work, task, options).unwrap());
        self.queue.handle(id)
    }

    pub(crate) fn record(&self, task: TaskId) -> Record {
        self.store
            .get(task)
            .unwrap()
            .expect("the task is there")
            .record
    }

    pub(crate) fn state(&self, task: TaskId) -> State {
        self.record(task).state
    }

    pub(crate) fn amend(&self, task: TaskId, amendment: Amendment) {
        let expect = StateSet::ALL;
        let change = Change::Amend {
            task,
            expect,
            amendment,
        };
        votive::queue::apply(&self.store, &self.manager, &Batch::new(vec![change])).unwrap();
    }

    /// The tasks of a kind, in the order of enqueueing.
    pub(crate) fn all(&self, kind: &str) -> Vec<Record> {
        let filter = Filter {
            kind: Some(kind.to_owned()),
            ..Filter::default()
        };
        let page = self.store.scan(&filter, None, 1_000).unwrap();
        page.tasks.into_iter().map(|listed| listed.record).collect()
    }
}

/// Numbers that handlers have seen, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<u32>>>);

impl Seen {
    pub(crate) fn push(&self, number: u32) {
        self.0.lock().push(number);
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.0.lock().clone()
    }

    /// A handler that notes each step, and fails those with large numbers.
    pub(crate) fn handler(
        &self,
    ) -> impl Fn(Step, &mut Context<'_>) -> Result<(), BoxError> + Send + Sync + 'static {
        let seen = self.clone();
        move |step, _| {
            if step.0 >= 100 {
                return Err(format!("step {} fails", step.0).into());
            }
            seen.push(step.0);
            Ok(())
        }
    }
}
