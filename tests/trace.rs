//! The trace of who enqueues a task is carried to where it runs.
#![cfg(test)]

use std::cell::RefCell;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::queue::{EnqueueError, carry_trace};
use votive::task::Options;
use votive::testing::drain;
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

thread_local! {
    /// What stands for the present span of a tracing system.
    static PRESENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

#[derive(Serialize, Deserialize)]
struct Step(u32);

impl Task for Step {
    const KIND: &'static str = "step";
}

#[test]
fn a_task_runs_in_the_trace_of_who_enqueued_it() {
    assert!(carry_trace(|| PRESENT.with_borrow(Clone::clone)));
    assert!(!carry_trace(|| None), "the first one stays");
    let manager = TransactionManager::new();
    let store = votive::open("memory://").unwrap();
    let queue = Queue::new(store.clone(), "default").unwrap();
    let own = Options {
        trace: Some("own".to_owned()),
        ..Options::default()
    };
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &Step(0)).unwrap();
    PRESENT.set(Some(PARENT.to_owned()));
    queue.enqueue(&mut txn, &Step(1)).unwrap();
    queue.enqueue_with(&mut txn, &Step(2), own).unwrap();
    PRESENT.set(Some("x".repeat(256)));
    let refused = queue.enqueue(&mut txn, &Step(3)).unwrap_err();
    assert!(matches!(refused, EnqueueError::Invalid(_)), "{refused}");
    PRESENT.set(None);
    txn.commit().unwrap();

    let (tell, told) = std::sync::mpsc::channel();
    let mut registry = Registry::new();
    registry
        .register(
            move |step: Step, context: &mut Context<'_>| -> Result<(), BoxError> {
                Ok(tell.send((step.0, context.attempt().trace.clone()))?)
            },
        )
        .unwrap();
    let consumer = Consumer::builder(store.clone(), registry);
    drain(consumer, &*store, Duration::from_secs(20)).unwrap();
    let expected = [(0, None), (1, Some(PARENT)), (2, Some("own"))];
    let expected = expected.map(|(step, trace)| (step, trace.map(str::to_owned)));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
}
