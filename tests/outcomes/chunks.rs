//! Tasks of many items, a chunk at a time.
#![cfg(test)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::Running;
use votive::handler::{Chunks, Context, Registry};
use votive::store::Amendment;
use votive::task::{Options, Position, State};
use votive::txn::BoxError;

use crate::world::{LONG, Step, World, options};

/// A task with so many items.
#[derive(Serialize, Deserialize)]
pub(crate) struct Items(pub(crate) usize);

impl Task for Items {
    const KIND: &'static str = "items";
}

/// The chunks that were tried, in order.
type Tried = Arc<Mutex<Vec<Range<usize>>>>;

/// Runs chunks of at most `size`, each by `run`, and notes them.
fn run(
    world: &World,
    size: usize,
    run: impl Fn(Range<usize>, &mut Context<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
) -> (Running, Tried) {
    let tried = Tried::default();
    let noted = Arc::clone(&tried);
    let chunks = Chunks::new(
        size,
        |task: &Items| task.0,
        move |_: &Items, items: Range<usize>, context: &mut Context<'_>| {
            noted.lock().push(items.clone());
            run(items, context)
        },
    );
    let mut registry = Registry::new();
    registry.register(chunks).unwrap();
    let consumer = world.consumer(registry).concurrent_limit(1);
    (consumer.start().unwrap(), tried)
}

#[test]
fn all_chunks_are_one_task() {
    let world = World::new();
    let task = world.enqueue(&Items(10), options(1));
    let (running, tried) = run(&world, 4, |_, _| Ok(()));
    let ended = task.wait(LONG).unwrap();
    assert_eq!(*tried.lock(), [0..4, 4..8, 8..10]);
    assert_eq!((ended.task, ended.state), (task.id(), State::Done));
    let position = ended.position.unwrap();
    assert_eq!((position.done, position.total), (10, 10));
    let stats = running.stop().stats;
    assert_eq!((stats.chunks, stats.done), (2, 1));
}

#[test]
fn a_chunk_and_its_end_are_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_file(&folder);
    let task = world.enqueue(&Items(9), options(1));
    let (running, _) = run(&world, 4, |items, context| {
        for item in items.clone() {
            context.enqueue(&Step(u32::try_from(item)?))?;
        }
        // Fails after its effects, while it has more than one item.
        if items.len() > 1 {
            return Err("too many".into());
        }
        Ok(())
    });
    assert_eq!(task.wait(LONG).unwrap().state, State::Done);
    let steps = world.all("step").into_iter();
    let mut steps: Vec<u32> = steps
        .map(|step| step.payload.decode::<Step>().unwrap().0)
        .collect();
    steps.sort_unstable();
    assert_eq!(steps, (0..9).collect::<Vec<_>>());
    running.stop();
}

#[test]
fn the_item_at_fault_is_found_and_only_it_counts_attempts() {
    let world = World::new();
    let task = world.enqueue(&Items(20), options(2));
    let (running, tried) = run(&world, 8, |items, _| {
        if items.contains(&13) {
            return Err("13".into());
        }
        Ok(())
    });
    let ended = task.wait(LONG).unwrap();
    assert_eq!(ended.state, State::Dead);
    assert_eq!(ended.position.unwrap().done, 13);
    assert_eq!(world.record(task.id()).counts.attempts, 2);
    let sizes: Vec<_> = tried.lock().iter().map(ExactSizeIterator::len).collect();
    assert_eq!(sizes, [8, 8, 4, 8, 4, 2, 1, 2, 1, 1]);
    running.stop();
}

#[test]
fn a_first_chunk_of_one_item_counts_attempts_at_once() {
    let world = World::new();
    let task = world.enqueue(&Items(1), options(1));
    let (_running, tried) = run(&world, 8, |_, _| Err("no".into()));
    assert_eq!(task.wait(LONG).unwrap().state, State::Dead);
    assert_eq!(tried.lock().len(), 1);
}

#[test]
fn a_revived_task_goes_on_where_it_was_and_a_done_one_begins_again() {
    let world = World::new();
    let task = world.enqueue(&Items(4), options(1));
    let fails = std::sync::atomic::AtomicBool::new(true);
    let (running, tried) = run(&world, 2, move |items, _| {
        if items.start >= 2 && fails.load(std::sync::atomic::Ordering::Relaxed) {
            fails.store(items.len() > 1, std::sync::atomic::Ordering::Relaxed);
            return Err("not yet".into());
        }
        Ok(())
    });
    assert_eq!(task.wait(LONG).unwrap().state, State::Dead);
    tried.lock().clear();
    world.amend(task.id(), Amendment::Revive);
    assert_eq!(task.wait(LONG).unwrap().state, State::Done);
    assert_eq!(*tried.lock(), [2..3, 3..4]);
    tried.lock().clear();
    world.amend(task.id(), Amendment::Revive);
    task.wait(LONG).unwrap();
    assert_eq!(*tried.lock(), [0..2, 2..4]);
    running.stop();
}

#[test]
fn a_chunk_that_takes_too_long_is_halved_and_gets_more_time() {
    let world = World::new();
    let impatient = Options {
        timeout: Some(Duration::from_secs(1)),
        ..options(1)
    };
    let task = world.enqueue(&Items(4), impatient);
    let (running, tried) = run(&world, 4, |items, context| {
        while items.len() == 4 && !context.cancellation().is_cancelled() {
            std::thread::yield_now();
        }
        Ok(())
    });
    let position = task.wait(LONG).unwrap().position;
    let size = tried.lock().last().map(|items| items.len() as u64 * 2);
    assert_eq!(
        position,
        Some(Position {
            done: 4,
            total: 4,
            size: size.unwrap(),
            timeouts: 1
        })
    );
    assert_eq!(*tried.lock(), [0..4, 0..2, 2..4]);
    running.stop();
}

#[test]
fn the_others_in_the_line_have_their_turn_between_two_chunks() {
    let world = World::new();
    world.enqueue(&Items(2), options(1));
    let second = world.enqueue(&Items(1), options(1));
    let (running, tried) = run(&world, 1, |_, _| Ok(()));
    second.wait(LONG).unwrap();
    assert_eq!(tried.lock().first(), Some(&(0..1)));
    assert_eq!(tried.lock().get(1), Some(&(0..1)));
    running.stop();
}

#[test]
fn a_task_without_items_is_done() {
    let world = World::new();
    let task = world.enqueue(&Items(0), options(1));
    let (running, tried) = run(&world, 3, |_, _| Ok(()));
    assert_eq!(task.wait(LONG).unwrap().state, State::Done);
    assert!(tried.lock().is_empty());
    running.stop();
}
