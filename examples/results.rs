//! A task that gives a result, one that fails, and one that is followed by another.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::queue::ResultError;
use votive::task::{FollowUp, Options, RetryPolicy};
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

/// No wait takes as long.
const LONG: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Divide(i64, i64);

impl Task for Divide {
    const KIND: &'static str = "divide";

    /// Kept for an hour when it is done: without that, the result is gone at once.
    fn options() -> Options {
        Options {
            retention: Some(Duration::from_secs(3_600)),
            retry: RetryPolicy {
                attempts_max: 2,
                backoff_min: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            ..Options::default()
        }
    }
}

fn divide(Divide(dividend, divisor): Divide, _: &mut Context<'_>) -> Result<i64, BoxError> {
    let quotient = dividend.checked_div(divisor);
    quotient.ok_or_else(|| "nothing is divided by zero".into())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;
    let mut registry = Registry::new();
    registry.register(divide)?;
    let running = Consumer::builder(store, registry)
        .queue("default")
        .start()?;

    let (good, _) = manager.run(3, |txn| queue.enqueue(txn, &Divide(84, 2)))?;
    let result: i64 = queue.handle(good).result(LONG)?;
    println!("84 / 2 = {result}");
    assert_eq!(result, 42);

    let (bad, _) = manager.run(3, |txn| queue.enqueue(txn, &Divide(1, 0)))?;
    match queue.handle(bad).result::<i64>(LONG) {
        Err(ResultError::Dead { failures, .. }) => {
            for failure in &failures {
                println!("attempt {}: {}", failure.attempt, failure.chain.join(": "));
            }
            assert_eq!(failures.len(), 2);
        }
        other => panic!("it cannot end so: {other:?}"),
    }

    let followed = Options {
        on_failure: Some(Box::new(FollowUp::new(&Divide(9, 3))?)),
        ..Divide::options()
    };
    let (task, _) = manager.run(3, |txn| {
        queue.enqueue_with(txn, &Divide(9, 0), followed.clone())
    })?;
    queue.handle(task).wait(LONG)?;
    let page = queue
        .store()
        .scan(&votive::store::Filter::default(), None, 10)?;
    let last = page.tasks.last().ok_or("the follow-up is there")?.record.id;
    let result: i64 = queue.handle(last).result(LONG)?;
    println!("9 / 0 failed, so 9 / 3 = {result} was done in its place");
    assert_eq!(result, 3);
    running.stop();
    Ok(())
}
