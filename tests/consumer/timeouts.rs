//! What takes too long: it is told to stop, and done without if it does not.
#![cfg(test)]

use std::time::Duration;

use votive::Task;
use votive::task::{Options, RetryPolicy, State};
use votive::txn::Cancellation;

use crate::world::{LONG, Step, World, sender, steps, until};

fn brief() -> Options {
    Options {
        timeout: Some(Duration::from_millis(20)),
        ..Step::options()
    }
}

#[test]
fn a_handler_that_takes_too_long_is_told_to_stop_and_has_failed() {
    let world = World::new();
    let task = world.enqueue_with(1, brief());
    let handler = steps(|_, context| {
        assert!(context.attempt().deadline.is_some());
        until(|| context.cancellation().is_cancelled());
        Err("interrupted".into())
    });
    let running = world.consumer(handler).start().unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.counts.attempts, 2);
    assert_eq!(
        record.failure().unwrap().chain,
        ["timed out after 20ms", "interrupted"]
    );
    let stats = running.stop().stats;
    assert_eq!((stats.timeouts, stats.abandoned), (2, 0));
}

#[test]
fn what_a_participant_waits_for_is_interrupted_again_and_again() {
    let world = World::new();
    let task = world.enqueue_with(1, brief());
    let handler = steps(|_, context| {
        let (interrupt, interrupted) = sender();
        let cancellation = context.work().data::<Cancellation>().cloned();
        cancellation
            .unwrap()
            .on_cancel(move || interrupt.send(()).unwrap_or_default());
        for _ in 0..2 {
            interrupted.recv_timeout(LONG)?;
        }
        Err("interrupted".into())
    });
    let _running = world.consumer(handler).start().unwrap();
    let chain = world.reaches(task, State::Dead);
    let chain = &chain.failure().unwrap().chain;
    assert_eq!(chain[1], "interrupted");
}

#[test]
fn an_interrupt_that_waits_holds_up_neither_other_tasks_nor_the_stop() {
    let world = World::new();
    world.enqueue_with(1, brief());
    let ((leave, released), (begin, interrupted)) = (sender::<()>(), sender());
    let handler = steps(move |step, context| {
        if step.number > 1 {
            return Ok(());
        }
        let (begin, released) = (begin.clone(), released.clone());
        context.cancellation().on_cancel(move || {
            begin.send(()).unwrap_or_default();
            released.recv_timeout(LONG * 100).unwrap_or_default();
        });
        until(|| context.cancellation().is_cancelled());
        Err("interrupted".into())
    });
    let running = world.consumer(handler).concurrent_limit(2).start().unwrap();
    interrupted.recv_timeout(LONG).unwrap();
    world.reaches(world.enqueue(2), State::Done);
    assert!(running.stop().is_clean());
    drop(leave);
}

#[test]
fn a_handler_that_does_not_stop_is_done_without_and_voted_down_when_it_comes_back() {
    let world = World::new();
    let retry = RetryPolicy {
        attempts_max: u32::MAX,
        ..brief().retry
    };
    let bad = world.enqueue_with(1, Options { retry, ..brief() });
    let ((leave, released), (end, ended)) = (sender::<()>(), sender());
    let handler = steps(move |step, context| {
        if step.number == 1 && context.attempt().number == 1 {
            let come_back = released.recv_timeout(LONG);
            context.enqueue(&Step { number: 3 })?;
            end.send(come_back.is_ok() && !context.progress("as if it ran")?)?;
        }
        Ok(())
    });
    let consumer = world
        .consumer(handler)
        .timeout_grace(Duration::from_millis(20));
    let running = consumer.start().unwrap();
    assert!(world.reaches(bad, State::Done).counts.attempts >= 1);
    leave.send(()).unwrap();
    assert!(ended.recv_timeout(LONG).unwrap());
    let stats = running.stop().stats;
    assert!(stats.abandoned >= 1 && stats.done == 1, "{stats:?}");
    assert_eq!(world.count("step"), 1);
}
