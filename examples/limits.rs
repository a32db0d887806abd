//! Not too much: a queue that is paused, full, or allowed to start so many tasks in a while; and tasks of
//! which one is enough, or of which only so many run at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::queue::Rate;
use votive::store::{self, Kind};
use votive::task::{Options, Unique, kind_key};
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Verify {
    worksheet: u32,
}

impl Task for Verify {
    const KIND: &'static str = "verify";
}

/// A queue of a store of its own.
fn queue() -> Result<(Queue, TransactionManager), BoxError> {
    let queue = Queue::new(votive::open("memory://")?, "default")?;
    Ok((queue, TransactionManager::new()))
}

/// Enqueues a task for each worksheet, in one transaction.
fn enqueue(
    (queue, manager): &(Queue, TransactionManager),
    worksheets: &[u32],
    options: impl Fn(u32) -> Options,
) -> Result<(), BoxError> {
    let mut txn = manager.begin()?;
    for worksheet in worksheets {
        let task = Verify {
            worksheet: *worksheet,
        };
        queue.enqueue_with(&mut txn, &task, options(*worksheet))?;
    }
    txn.commit()?;
    Ok(())
}

fn usual(_: u32) -> Options {
    Options::default()
}

fn pending(queue: &Queue) -> Result<u64, BoxError> {
    let queues = queue.store().stats()?.queues;
    let counts = queues.iter().flat_map(|queue| &queue.counts);
    Ok(counts.map(|(_, count)| count).sum())
}

fn pause() -> Result<(), BoxError> {
    let place = queue()?;
    let (queue, manager) = &place;
    queue.pause(manager, "until the printer has paper")?;
    enqueue(&place, &[1], usual)?;
    let (done, verified) = mpsc::channel();
    let mut registry = Registry::new();
    registry.register(move |task: Verify, _: &mut Context<'_>| done.send(task.worksheet))?;
    let running = Consumer::builder(Arc::clone(queue.store()), registry).start()?;
    let early = verified.recv_timeout(Duration::from_millis(200));
    assert!(early.is_err(), "it ran although the queue is paused");
    queue.resume(manager)?;
    println!(
        "paused, then resumed: worksheet {} is verified",
        verified.recv()?
    );
    running.stop();
    Ok(())
}

fn capacity() -> Result<(), BoxError> {
    let place = queue()?;
    place
        .0
        .change_settings(&place.1, |settings| settings.capacity = Some(2))?;
    let refused = enqueue(&place, &[1, 2, 3], usual);
    let Err(error) = refused else {
        return Err("three tasks got in where there is room for two".into());
    };
    let cause = store::Error::among(&*error).map(|error| error.kind.clone());
    assert!(matches!(cause, Some(Kind::QueueFull { .. })), "{cause:?}");
    println!(
        "three at once are too many, and none got in: {} pending",
        pending(&place.0)?
    );
    assert_eq!(pending(&place.0)?, 0);
    enqueue(&place, &[1, 2], usual)?;
    assert_eq!(pending(&place.0)?, 2);
    Ok(())
}

fn rate() -> Result<(), BoxError> {
    const TASKS: u32 = 5;
    let place = queue()?;
    let (queue, manager) = &place;
    let rate = Rate::new(20, Duration::from_secs(1));
    queue.change_settings(manager, |settings| settings.rate = Some(rate))?;
    let worksheets: Vec<u32> = (0..TASKS).collect();
    enqueue(&place, &worksheets, usual)?;
    let (done, verified) = mpsc::channel();
    let mut registry = Registry::new();
    registry.register(move |task: Verify, _: &mut Context<'_>| done.send(task.worksheet))?;
    let started = queue.store().now()?;
    let running = Consumer::builder(Arc::clone(queue.store()), registry).start()?;
    for _ in 0..TASKS {
        verified.recv()?;
    }
    let least = Duration::from_millis(50) * (TASKS - 1);
    let took = queue.store().now()?.since(started);
    assert!(took >= least, "{took:?}");
    println!("{TASKS} tasks at 20 a second took at least {least:?}");
    running.stop();
    Ok(())
}

fn unique() -> Result<(), BoxError> {
    let place = queue()?;
    let options = |worksheet: u32| Options {
        unique: Some(Unique::by_kind_and::<Verify>(&worksheet.to_string())),
        ..Options::default()
    };
    enqueue(&place, &[1, 1, 2, 1], options)?;
    println!(
        "four tasks about two worksheets: {} pending",
        pending(&place.0)?
    );
    assert_eq!(pending(&place.0)?, 2);
    Ok(())
}

/// Runs four tasks with four workers; returns how many were under way at once, at most, and in what order they
/// ended.
#[expect(clippy::disallowed_methods, reason = "work that takes a while")]
fn run(
    place: &(Queue, TransactionManager),
    options: &Options,
) -> Result<(usize, Vec<u32>), BoxError> {
    enqueue(place, &[1, 2, 3, 4], |_| options.clone())?;
    let (present, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (seen, (done, verified)) = (Arc::clone(&most), mpsc::channel());
    let mut registry = Registry::new();
    registry.register(move |task: Verify, _: &mut Context<'_>| {
        seen.fetch_max(present.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        present.fetch_sub(1, Ordering::SeqCst);
        done.send(task.worksheet)
    })?;
    let consumer = Consumer::builder(Arc::clone(place.0.store()), registry);
    let running = consumer.queue("default").concurrent_limit(4).start()?;
    let order: Result<Vec<_>, _> = (0..4).map(|_| verified.recv()).collect();
    running.stop();
    Ok((most.load(Ordering::SeqCst), order?))
}

fn one_at_a_time() -> Result<(), BoxError> {
    let options = Options {
        group: Some(kind_key::<Verify>("printer")),
        ..Options::default()
    };
    let (most, order) = run(&queue()?, &options)?;
    println!("one at a time, in order: {order:?}");
    assert_eq!((most, order), (1, vec![1, 2, 3, 4]));
    Ok(())
}

fn two_at_a_time() -> Result<(), BoxError> {
    let options = Options {
        group: Some(kind_key::<Verify>("printer")),
        group_limit: Some(2),
        ..Options::default()
    };
    let (most, order) = run(&queue()?, &options)?;
    println!("two at a time: at most {most} of {order:?}");
    assert!(most <= 2);
    Ok(())
}

/// An operator says it of a kind, wherever its tasks are enqueued.
fn two_of_a_kind() -> Result<(), BoxError> {
    let place = queue()?;
    place.0.change_settings(&place.1, |settings| {
        settings.kind_limits.insert(Verify::KIND.to_owned(), 2);
    })?;
    let (most, order) = run(&place, &Options::default())?;
    println!("two of a kind: at most {most} of {order:?}");
    assert!(most <= 2);
    Ok(())
}

fn main() -> Result<(), BoxError> {
    pause()?;
    capacity()?;
    rate()?;
    unique()?;
    one_at_a_time()?;
    two_at_a_time()?;
    two_of_a_kind()
}
