//! How a consumer stops: within a bound, and at the cost of no attempt.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use votive::handler::Context;
use votive::store::Kind;
use votive::task::{Counts, Record, State};
use votive::txn::{Answer, BoxError, Role};

use crate::faulty::Faulty;
use crate::voter::Votes;
use crate::world::{LONG, World, sender, steps, until};

#[test]
fn a_stop_lets_what_runs_end_and_gives_back_what_waits() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let (first, second) = (world.enqueue(1), world.enqueue(2));
    let ((start, started), (leave, released)) = (sender(), sender::<()>());
    let handler = steps(move |_, _| {
        start.send(())?;
        Ok(released.recv()?)
    });
    let running = world.consumer(handler).start().unwrap();
    started.recv_timeout(LONG).unwrap();
    let stopping = std::thread::Builder::new().spawn(move || running.stop());
    until(|| faulty.interrupts.load(Ordering::Relaxed) > 0);
    leave.send(()).unwrap();
    let stopped = stopping.unwrap().join().unwrap();
    assert!(stopped.is_clean());
    assert_eq!(stopped.stats.done, 1);
    assert_eq!(world.record(first).state, State::Done);
    assert_eq!(world.record(second).state, State::Ready);
    assert_eq!(world.record(second).counts, Counts::default());
}

/// Stops a consumer at once while it runs a task whose handler waits until it is told to, and then does this; returns
/// the task.
fn stopped_while_running(
    then: impl Fn(&mut Context<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
) -> Record {
    let world = World::new();
    let task = world.enqueue(1);
    let (start, started) = sender();
    let handler = steps(move |_, context| {
        start.send(())?;
        until(|| context.cancellation().is_cancelled());
        then(context)
    });
    let consumer = world.consumer(handler).stop_timeout(Duration::ZERO);
    let running = consumer.start().unwrap();
    started.recv_timeout(LONG).unwrap();
    assert!(running.stop().is_clean());
    world.record(task)
}

fn assert_given_back(record: &Record) {
    assert_eq!(
        (record.state, record.counts),
        (State::Ready, Counts::default())
    );
}

#[test]
fn a_task_that_outlasts_the_stop_is_told_to_end_and_given_back_without_an_attempt() {
    let record = stopped_while_running(|_| Err("told to stop".into()));
    assert_given_back(&record);
}

#[test]
fn a_task_that_ends_well_after_it_was_told_to_stop_is_done() {
    let record = stopped_while_running(|_| Ok(()));
    assert_eq!(record.state, State::Done);
}

#[test]
fn a_commit_that_is_refused_after_the_run_was_told_to_stop_costs_no_attempt() {
    let votes = Votes::new(vec![Answer::Refused("interrupted".into())]);
    let record =
        stopped_while_running(move |context| Ok(votes.join(context.work(), Role::Volatile)?));
    assert_given_back(&record);
}

#[test]
fn a_consumer_stops_whose_handlers_are_given_all_the_time_there_is() {
    let world = World::new();
    let consumer = world.consumer(steps(|_, _| Ok(())));
    let running = consumer.timeout_grace(Duration::MAX).start().unwrap();
    assert!(running.stop().is_clean());
}

#[test]
fn a_stop_can_be_hurried_while_it_waits_for_the_store() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let away = std::iter::repeat_with(|| Kind::Unavailable);
    faulty.settlements.lock().extend(away.take(100_000));
    world.enqueue(1);
    let consumer = world.consumer(steps(|_, _| Ok(())));
    let running = consumer.stop_timeout(LONG * 100).start().unwrap();
    until(|| running.stats().store_errors > 0);
    let asked = AtomicU32::new(0);
    let stopped = running.stop_hurried_by(|| asked.fetch_add(1, Ordering::Relaxed) > 3);
    assert_eq!(stopped.left_unsettled, 1);
}

#[test]
fn a_handler_that_never_ends_does_not_keep_the_consumer_from_stopping() {
    let world = World::new();
    let task = world.enqueue(1);
    let ((start, started), (leave, released)) = (sender(), sender::<()>());
    let handler = steps(move |_, _| {
        start.send(())?;
        Ok(released.recv()?)
    });
    let consumer = world.consumer(handler).stop_timeout(Duration::ZERO);
    let running = consumer.timeout_grace(Duration::ZERO).start().unwrap();
    started.recv_timeout(LONG).unwrap();
    let stopped = running.stop();
    assert_eq!(stopped.stats.abandoned, 1);
    assert_eq!(world.record(task).state, State::Ready);
    drop(leave);
}

#[test]
fn a_consumer_that_is_dropped_stops() {
    let world = World::new();
    let first = world.enqueue(1);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    world.reaches(first, State::Done);
    drop(running);
    let second = world.enqueue(2);
    let successor = world
        .consumer(steps(|_, _| Err("not by me".into())))
        .start()
        .unwrap();
    world.reaches(second, State::Dead);
    assert_eq!(successor.stop().stats.failed, 2);
}

#[test]
fn an_idle_consumer_stops_at_once() {
    let world = World::new();
    let consumer = world.consumer(steps(|_, _| Ok(())));
    let running = consumer.poll_interval(LONG * 100).start().unwrap();
    assert!(running.stop().is_clean());
}

#[test]
fn a_stop_that_is_hurried_waits_for_nobody_and_gives_back_what_runs() {
    let world = World::new();
    let task = world.enqueue(1);
    let ((start, started), (leave, released)) = (sender(), sender::<()>());
    let handler = steps(move |_, _| {
        start.send(())?;
        Ok(released.recv_timeout(LONG)?)
    });
    let running = world.consumer(handler).start().unwrap();
    started.recv_timeout(LONG).unwrap();
    running.begin_stop();
    let stopped = running.stop_hurried_by(|| true);
    assert!(stopped.is_clean(), "{stopped:?}");
    assert_eq!(stopped.stats.abandoned, 1);
    assert_given_back(&world.record(task));
    drop(leave);
}
