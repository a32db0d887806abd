//! A store of each kind, with a queue, a manager, and a task to play with.
#![cfg(test)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::{Builder, Consumer};
use votive::handler::{Context, Registry};
use votive::id::{ConsumerId, Incarnation, TaskId};
use votive::queue::Queue;
use votive::store::{Batch, Change, Claim, ClaimRequest, Filter, Presence, Store, Want};
use votive::task::{Options, Record, RetryPolicy, State};
use votive::txn::{BoxError, TransactionManager};

use crate::homes::{self, Home};

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A task of the tests; kept when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) number: u32,
}

impl Task for Step {
    const KIND: &'static str = "step";

    fn options() -> Options {
        Options {
            retention: Some(LONG * 60),
            retry: RetryPolicy {
                backoff_min: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            ..Options::default()
        }
    }
}

pub(crate) struct Stage {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Queue,
    pub(crate) manager: TransactionManager,
    _keeps: Box<dyn Any>,
}

impl Stage {
    fn new(store: Arc<dyn Store>, keeps: impl Any) -> Self {
        Self {
            queue: Queue::new(Arc::clone(&store), "default").unwrap(),
            manager: TransactionManager::new(),
            store,
            _keeps: Box::new(keeps),
        }
    }

    fn at(home: Home) -> Self {
        Self::new(votive::open(&home.url).unwrap(), home)
    }

    pub(crate) fn enqueue(&self, number: u32) -> TaskId {
        let mut txn = self.manager.begin().unwrap();
        let task = self.queue.enqueue(&mut txn, &Step { number }).unwrap();
        txn.commit().unwrap();
        task
    }

    pub(crate) fn apply(&self, change: Change) -> votive::store::Result<()> {
        let batch = Batch::new(vec![change]);
        votive::queue::apply(&self.store, &self.manager, &batch).map(drop)
    }

    /// The numbers of all visible tasks, in order.
    pub(crate) fn visible(&self) -> Vec<u32> {
        let page = self.store.scan(&Filter::default(), None, 1_000).unwrap();
        let number = |record: &Record| record.payload.decode::<Step>().unwrap().number;
        let mut numbers: Vec<u32> = page.tasks.iter().map(|task| number(&task.record)).collect();
        numbers.sort_unstable();
        numbers
    }

    pub(crate) fn record(&self, task: TaskId) -> Record {
        self.store
            .get(task)
            .unwrap()
            .expect("the task is there")
            .record
    }

    /// Claims the first task, for as long as the presence lives.
    pub(crate) fn claim(&self) -> (Presence, Claim) {
        let incarnation = Incarnation::random();
        let presence = self.store.attend(incarnation, LONG).unwrap();
        let name = "worker".to_owned();
        let queue = "default".to_owned();
        let request = ClaimRequest {
            consumer: ConsumerId { incarnation, name },
            wants: vec![Want { queue, count: 1 }],
            lease: LONG,
        };
        let claims = self.store.claim(&request, self.store.now().unwrap());
        (presence, claims.unwrap().remove(0))
    }

    pub(crate) fn consumer(
        &self,
        handler: impl Fn(Step, &mut Context<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Builder {
        let mut registry = Registry::new();
        registry.register(handler).unwrap();
        Consumer::builder(Arc::clone(&self.store), registry).manager(self.manager.clone())
    }

    /// Waits until a task is done, and returns its record.
    pub(crate) fn done(&self, task: TaskId) -> Record {
        until(|| self.record(task).state == State::Done);
        self.record(task)
    }
}

/// Looks again and again, and fails if it takes long.
pub(crate) fn until(done: impl Fn() -> bool) {
    let pause = Duration::from_millis(5);
    for _ in 0..LONG.as_millis() / pause.as_millis() {
        if done() {
            return;
        }
        std::thread::park_timeout(pause);
    }
    panic!("it takes too long");
}

#[expect(clippy::unnecessary_wraps, reason = "all are made in the same way")]
pub(crate) fn memory() -> Option<Stage> {
    Some(Stage::new(votive::open("memory://").unwrap(), ()))
}

#[expect(clippy::unnecessary_wraps, reason = "all are made in the same way")]
pub(crate) fn sqlite() -> Option<Stage> {
    Some(Stage::at(homes::sqlite()))
}

#[expect(clippy::unnecessary_wraps, reason = "all are made in the same way")]
pub(crate) fn file() -> Option<Stage> {
    Some(Stage::at(homes::file()))
}

pub(crate) fn redis() -> Option<Stage> {
    homes::redis().map(Stage::at)
}

pub(crate) fn postgres() -> Option<Stage> {
    homes::postgres().map(Stage::at)
}
