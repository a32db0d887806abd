//! Rates: so many tasks start in a period, over all consumers together.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::consumer::Running;
use votive::queue::Rate;
use votive::store::memory::MemoryStore;
use votive::task::State;
use votive::time::{ManualClock, Timestamp};

use crate::world::{World, sender, steps, until};

/// A world whose clock stands still, and the clock.
fn still() -> (World, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
    let store = MemoryStore::with_clock(Arc::new(clock.clone()));
    (World::of(Arc::new(store)), clock)
}

fn limit(world: &World, rate: Rate) {
    let changed = world
        .queue
        .change_settings(&world.manager, |settings| settings.rate = Some(rate));
    changed.unwrap();
}

fn done(fleet: &[Running]) -> u64 {
    fleet.iter().map(|running| running.stats().done).sum()
}

#[test]
fn a_fleet_starts_no_more_tasks_than_the_rate_allows() {
    let (world, clock) = still();
    limit(&world, Rate::new(10, Duration::from_secs(1)).burst(3));
    let tasks: Vec<_> = (0..20).map(|number| world.enqueue(number)).collect();
    let fleet: Vec<_> = (0..3)
        .map(|_| {
            world
                .consumer(steps(|_, _| Ok(())))
                .concurrent_limit(4)
                .start()
                .unwrap()
        })
        .collect();
    for allowed in 3..10 {
        until(|| done(&fleet) == allowed);
        until(|| {
            tasks
                .iter()
                .all(|task| world.record(*task).state != State::Claimed)
        });
        assert_eq!(done(&fleet), allowed);
        clock.advance(Duration::from_millis(100));
    }
    drop(fleet);
}

#[test]
fn a_rate_that_is_taken_away_holds_nobody_up() {
    let (world, _) = still();
    limit(&world, Rate::new(1, Duration::from_secs(3_600)));
    let (runs, ran) = sender();
    let handler = steps(move |step, _| Ok(runs.send(step.number)?));
    let running = world.consumer(handler).start().unwrap();
    let tasks: Vec<_> = (0..3).map(|number| world.enqueue(number)).collect();
    world.reaches(tasks[0], State::Done);
    let lift = world
        .queue
        .change_settings(&world.manager, |settings| settings.rate = None);
    lift.unwrap();
    world.reaches(tasks[2], State::Done);
    assert_eq!(ran.try_iter().count(), 3);
    drop(running);
}

#[test]
fn tasks_that_may_not_start_yet_count_no_attempt() {
    let (world, clock) = still();
    limit(&world, Rate::new(1, Duration::from_secs(1)));
    let first = world.enqueue(1);
    let second = world.enqueue(2);
    let running = world
        .consumer(steps(|_, _| Ok(())))
        .concurrent_limit(4)
        .start()
        .unwrap();
    world.reaches(first, State::Done);
    clock.advance(Duration::from_secs(1));
    let record = world.reaches(second, State::Done);
    assert_eq!(record.counts, votive::task::Counts::default());
    drop(running);
}
