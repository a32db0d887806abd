//! Follow-ups, chains and groups.
#![cfg(test)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use votive::queue::{Chain, EnqueueError, Group};
use votive::store::Amendment;
use votive::store::memory::MemoryStore;
use votive::task::{FollowUp, OnDuplicate, Options, PayloadLimits, State, Unique};
use votive::{Queue, Task};

use crate::world::{LONG, Seen, Step, World, options};

fn next(number: u32) -> FollowUp {
    FollowUp::new(&Step(number)).unwrap()
}

fn followed() -> Options {
    Options {
        on_success: Some(Box::new(next(2))),
        on_failure: Some(Box::new(next(3))),
        ..options(1)
    }
}

/// Waits for the task that was enqueued after `count` others.
fn wait_for(world: &World, count: usize) {
    let id = world.all("step")[count].id;
    world.queue.handle(id).wait(LONG).unwrap();
}

#[test]
fn a_task_that_is_done_is_followed_in_the_same_step() {
    let world = World::new();
    let seen = Seen::default();
    let running = world.run(seen.handler());
    world.enqueue(&Step(1), followed()).wait(LONG).unwrap();
    wait_for(&world, 1);
    assert_eq!(seen.all(), [1, 2]);
    running.stop();
}

#[test]
fn a_task_that_dies_is_followed_in_the_same_step() {
    let world = World::new();
    let seen = Seen::default();
    let running = world.run(seen.handler());
    let task = world.enqueue(&Step(100), followed());
    assert_eq!(task.wait(LONG).unwrap().state, State::Dead);
    wait_for(&world, 1);
    assert_eq!(seen.all(), [3]);
    running.stop();
}

#[test]
fn a_task_that_expires_is_followed_too() {
    let world = World::new();
    let seen = Seen::default();
    let expired = Options {
        expires_at: Some(world.store.now().unwrap()),
        ..followed()
    };
    let task = world.enqueue(&Step(1), expired);
    let running = world.run(seen.handler());
    assert_eq!(task.wait(LONG).unwrap().state, State::Dead);
    wait_for(&world, 1);
    assert_eq!(seen.all(), [3]);
    running.stop();
}

#[test]
fn a_follow_up_that_no_store_would_take_is_refused_with_the_task() {
    let world = World::new();
    let too_long = next(2).queue("q".repeat(256));
    let options = Options {
        on_success: Some(Box::new(too_long)),
        ..options(1)
    };
    let refused = world.commit(|work| world.queue.enqueue_with(work, &Step(1), options));
    assert!(matches!(refused, Err(EnqueueError::Invalid(_))));
}

#[test]
fn a_chain_runs_in_order_and_hands_results_on() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_file(&folder);
    let chain = (1..=4).fold(Chain::new(), |chain, number| chain.then(Step(number)));
    let tasks = world.commit(|work| chain.enqueue(&world.queue, work).unwrap());
    let running = world.run(|step, context| {
        let before = context.prerequisites().next();
        let before = before.map_or(Ok(0), |task| task.result::<u32>(LONG))?;
        Ok(10 * before + step.0)
    });
    let last = world.queue.handle(tasks[3]);
    assert_eq!(last.result::<u32>(LONG).unwrap(), 1234);
    running.stop();
}

#[test]
fn the_last_of_a_group_has_the_results_of_all() {
    let world = World::new();
    let group = (1..=5).fold(Group::new(), |group, number| group.add(Step(number)));
    let group = group.then(Step(50));
    let ids = world.commit(|work| group.enqueue(&world.queue, work).unwrap());
    let running = world.run(|step, context| {
        let results: Result<Vec<u32>, _> = context
            .prerequisites()
            .map(|task| task.result(LONG))
            .collect();
        Ok(step.0 + results?.iter().sum::<u32>())
    });
    let callback = world.queue.handle(ids.callback.unwrap());
    assert_eq!(callback.result::<u32>(LONG).unwrap(), 65);
    assert_eq!(ids.members.len(), 5);
    running.stop();
}

#[test]
fn what_waits_for_a_dead_task_goes_on_when_that_is_revived_and_done() {
    let world = World::new();
    let chain = Chain::new().then(Step(1)).then(Step(2));
    let tasks = world.commit(|work| chain.enqueue(&world.queue, work).unwrap());
    let first = world.queue.handle(tasks[0]);
    let fails = std::sync::atomic::AtomicBool::new(true);
    let running = world.run(move |_, _| {
        if fails.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err("once".into());
        }
        Ok(())
    });
    assert_eq!(first.wait(LONG).unwrap().state, State::Dead);
    assert_eq!(world.state(tasks[1]), State::Waiting);
    world.amend(tasks[0], Amendment::Revive);
    let last = world.queue.handle(tasks[1]).wait(LONG).unwrap();
    assert_eq!(last.state, State::Done);
    running.stop();
}

#[test]
fn a_chain_that_cannot_go_on_is_cancelled_and_fails_once() {
    let world = World::new();
    let seen = Seen::default();
    let chain = Chain::new().then(Step(100)).then(Step(1)).then(Step(2));
    let chain = chain.on_failure(next(9));
    let tasks = world.commit(|work| chain.enqueue(&world.queue, work).unwrap());
    let running = world.run(seen.handler());
    world.queue.handle(tasks[0]).wait(LONG).unwrap();
    wait_for(&world, 3);
    let states: Vec<_> = tasks.iter().map(|task| world.state(*task)).collect();
    assert_eq!(states, [State::Dead, State::Cancelled, State::Cancelled]);
    assert_eq!(seen.all(), [9]);
    running.stop();
}

#[test]
fn a_group_whose_members_die_fails_once_and_its_last_task_never_runs() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_file(&folder);
    let seen = Seen::default();
    let group = (100..108).fold(Group::new(), |group, number| group.add(Step(number)));
    let group = group.then(Step(1)).on_failure(next(9));
    let ids = world.commit(|work| group.enqueue(&world.queue, work).unwrap());
    let running = world.run(seen.handler());
    for member in ids.members {
        let ended = world.queue.handle(member).wait(LONG).unwrap();
        assert_eq!(ended.state, State::Dead);
    }
    wait_for(&world, 9);
    running.stop();
    assert_eq!(world.state(ids.callback.unwrap()), State::Cancelled);
    assert_eq!((seen.all(), world.all("step").len()), (vec![9], 10));
}

#[test]
fn a_task_that_would_merge_is_refused_because_it_is_waited_for() {
    let world = World::new();
    let merging = Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Merge,
            ..Unique::new("key")
        }),
        ..Options::default()
    };
    let chain = Chain::new().then_with(Step(1), merging).then(Step(2));
    let refused = world.commit(|work| chain.enqueue(&world.queue, work));
    assert!(matches!(refused, Err(EnqueueError::Invalid(_))));
    assert!(world.all("step").is_empty());
}

/// A task that nests.
#[derive(Serialize, Deserialize)]
struct Nest {
    text: String,
    inner: Option<Box<Nest>>,
}

impl Task for Nest {
    const KIND: &'static str = "nest";
}

fn nest(levels: usize, size: usize) -> Nest {
    let innermost = Nest {
        text: "a".repeat(size),
        inner: None,
    };
    (0..levels).fold(innermost, |inner, _| Nest {
        text: String::new(),
        inner: Some(Box::new(inner)),
    })
}

/// What is wrong with a payload, if anything is.
fn wrong<T>(enqueued: Result<T, EnqueueError>) -> Option<String> {
    match enqueued {
        Ok(_) => None,
        Err(EnqueueError::Payload(error)) => Some(error.source.to_string()),
        Err(error) => panic!("{error}"),
    }
}

const MIB: usize = 1 << 20;

/// The limits of a queue, how deep and large a task is, and whether the queue takes it.
const LIMITS: [([usize; 2], [usize; 2], bool); 7] = [
    ([MIB, 64], [10, 10], true),
    ([MIB, 64], [60, 10], false),
    ([MIB, 200], [60, 10], true),
    ([MIB, 9], [10, 10], false),
    ([MIB, 64], [1, MIB], false),
    ([2 * MIB, 64], [1, MIB], true),
    ([50, 64], [1, 100], false),
];

#[test]
fn a_chain_and_a_group_take_what_their_queue_takes() {
    let world = World::new();
    for ([size_max, depth_max], [levels, size], is_taken) in LIMITS {
        let limits = PayloadLimits {
            size_max,
            depth_max,
        };
        let queue = world.queue.clone().payload_limits(limits);
        let alone = world.commit(|work| wrong(queue.enqueue(work, &nest(levels, size))));
        let chain = Chain::new().then(nest(levels, size));
        let chain = world.commit(|work| wrong(chain.enqueue(&queue, work)));
        let group = Group::new().add(nest(0, 1)).then(nest(levels, size));
        let group = world.commit(|work| wrong(group.enqueue(&queue, work)));
        assert_eq!(alone.is_none(), is_taken, "{alone:?}");
        assert_eq!((&chain, &group), (&alone, &alone));
    }
}

#[test]
fn a_chain_over_two_stores_is_refused() {
    let world = World::new();
    let other = Queue::new(Arc::new(MemoryStore::new()), "default").unwrap();
    let chain = Chain::new().then(Step(1));
    let chain = chain.then_in(&other, Step(2), options(1));
    let refused = world.commit(|work| chain.enqueue(&world.queue, work));
    assert!(matches!(refused, Err(EnqueueError::OtherStore { .. })));
    assert!(world.all("step").is_empty());
}

#[test]
fn nobody_waits_for_a_task_that_was_not_told_to_announce_it() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1)).id();
    let waiting = Options {
        waits_for: vec![task],
        ..options(1)
    };
    let refused = world.commit(|work| world.queue.enqueue_with(work, &Step(2), waiting));
    assert!(matches!(refused, Err(EnqueueError::Invalid(_))));
}
