//! A paused queue: what runs goes on, and nothing else is started.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use votive::task::State;

use crate::faulty::Faulty;
use crate::world::{LONG, World, sender, steps, until};

/// Waits until a consumer has noticed that its queue is paused: it waits for a change of that.
fn until_noticed(faulty: &Faulty) {
    until(|| faulty.mark_waits.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_paused_queue_is_not_claimed_until_it_is_resumed() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    world.queue.pause(&world.manager, "not yet").unwrap();
    let task = world.enqueue(1);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    until_noticed(&faulty);
    assert_eq!(world.record(task).state, State::Ready);
    world.queue.resume(&world.manager).unwrap();
    world.reaches(task, State::Done);
    drop(running);
}

#[test]
fn an_idle_consumer_that_is_paused_starts_nothing_that_comes_later() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    let first = world.enqueue(1);
    world.reaches(first, State::Done);
    world.queue.pause(&world.manager, "enough").unwrap();
    until(|| {
        let later = world.enqueue(2);
        faulty.mark_waits.load(Ordering::Relaxed) > 0 && world.record(later).state == State::Ready
    });
    let done = running.stats().done;
    let last = world.enqueue(3);
    assert_eq!(world.record(last).state, State::Ready);
    assert_eq!(running.stop().stats.done, done);
}

#[test]
fn what_runs_when_a_queue_is_paused_goes_on_and_what_was_claimed_ahead_is_given_back() {
    const TASKS: u32 = 2_000;
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let tasks: Vec<_> = (0..TASKS).map(|number| world.enqueue(number)).collect();
    let (leave, released) = sender::<()>();
    let handler = steps(move |_, _| Ok(released.recv()?));
    let running = world.consumer(handler).stop_timeout(LONG).start().unwrap();
    world.reaches(tasks[0], State::Claimed);
    world.queue.pause(&world.manager, "enough").unwrap();
    until(|| {
        leave.send(()).unwrap();
        faulty.mark_waits.load(Ordering::Relaxed) > 0
    });
    (0..TASKS).for_each(|_| leave.send(()).unwrap());
    let state = |state| {
        tasks
            .iter()
            .filter(|task| world.record(**task).state == state)
            .count()
    };
    until(|| state(State::Claimed) == 0);
    assert!(state(State::Done) > 0 && state(State::Ready) > 0);
    assert_eq!(state(State::Done) + state(State::Ready), tasks.len());
    assert_eq!(running.stop().stats.failed, 0);
}
