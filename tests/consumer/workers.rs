//! Workers that are lost: others take their place, and no task is lost with them.
#![cfg(test)]

use std::time::Duration;

use votive::Task;
use votive::task::{Options, RetryPolicy, State};

use crate::world::{LONG, Step, World, sender, steps};

/// What cannot be cleared away: each attempt throws another one, until none is left.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn a_panic_that_cannot_be_cleared_away_is_a_failure_like_any_other() {
    let world = World::new();
    let (bad, good) = (world.enqueue(1), world.enqueue(2));
    let handler = steps(|step, _| {
        if step.number == 1 {
            std::panic::panic_any(Bomb(2));
        }
        Ok(())
    });
    let running = world.consumer(handler).start().unwrap();
    let record = world.reaches(bad, State::Dead);
    assert_eq!(record.counts.attempts, 2);
    assert_eq!(
        record.failure().unwrap().chain,
        ["panicked: without a message"]
    );
    world.reaches(good, State::Done);
    assert!(running.is_alive());
    assert_eq!(running.stop().stats.panics, 2);
}

#[test]
fn a_hook_whose_panic_cannot_be_cleared_away_costs_no_thread() {
    let world = World::new();
    let tasks = [1, 2].map(|number| world.enqueue(number));
    let consumer = world.consumer(steps(|_, _| Ok(())));
    let running = consumer
        .on(|_| std::panic::panic_any(Bomb(2)))
        .start()
        .unwrap();
    for task in tasks {
        world.reaches(task, State::Done);
    }
    assert!(running.is_alive());
    let stopped = running.stop();
    assert!(
        stopped.is_clean() && stopped.stats.replaced == 0,
        "{stopped:?}"
    );
}

#[test]
fn workers_that_never_come_back_are_replaced_one_after_the_other() {
    const LOST: u32 = 5;
    let world = World::new();
    let once = Options {
        timeout: Some(Duration::from_millis(5)),
        retry: RetryPolicy {
            attempts_max: 1,
            ..RetryPolicy::default()
        },
        ..Step::options()
    };
    let bad: Vec<_> = (0..LOST)
        .map(|_| world.enqueue_with(1, once.clone()))
        .collect();
    let good = world.enqueue(2);
    let (leave, released) = sender::<()>();
    let handler = steps(move |step, _| {
        if step.number == 1 {
            released.recv_timeout(LONG)?;
        }
        Ok(())
    });
    let consumer = world
        .consumer(handler)
        .timeout_grace(Duration::from_millis(5));
    let running = consumer.start().unwrap();
    world.reaches(good, State::Done);
    for task in bad {
        world.reaches(task, State::Dead);
    }
    let stats = running.stats();
    assert_eq!(
        (stats.timeouts, stats.abandoned),
        (u64::from(LOST), u64::from(LOST))
    );
    assert!(stats.replaced >= u64::from(LOST) - 1, "{stats:?}");
    drop(leave);
    assert!(running.stop().is_clean());
}
