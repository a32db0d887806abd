//! A consumer that runs until nothing is left.
#![cfg(test)]

use std::time::Duration;

use votive::Consumer;
use votive::handler::{Context, Registry};
use votive::testing::{DrainError, Expected, drain, refute_visible};
use votive::txn::BoxError;

use crate::shop::{Mail, mail, memory};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn what_is_enqueued_meanwhile_is_drained_too() {
    let (store, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &mail(10)).unwrap();
    txn.commit().unwrap();
    let mut registry = Registry::new();
    let handler = |task: Mail, context: &mut Context<'_>| -> Result<(), BoxError> {
        if let Some(next) = task.order.checked_sub(1) {
            context.enqueue(&mail(next))?;
        }
        Ok(())
    };
    registry.register(handler).unwrap();
    let consumer = Consumer::builder(store.clone(), registry).queue("mails");
    let stopped = drain(consumer, &*store, LONG).unwrap();
    assert!(stopped.is_clean());
    assert_eq!(stopped.stats.done, 11);
    refute_visible(&*store, &Expected::task::<Mail>());
}

#[test]
fn a_queue_that_nobody_serves_is_named() {
    let (store, queue, manager) = memory();
    let mut txn = manager.begin().unwrap();
    queue.enqueue(&mut txn, &mail(1)).unwrap();
    txn.commit().unwrap();
    let consumer = Consumer::builder(store.clone(), Registry::new()).queue("other");
    let error = drain(consumer, &*store, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(&error, DrainError::Late { left, .. } if left == "1 ready in queue `mails`"));
}
