//! The work of every store by votive's public calls. Each function prepares, and returns what is to be timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use votive::consumer::Consumer;
use votive::handler::{Context, Registry};
use votive::queue::Queue;
use votive::store::Store;
use votive::txn::{BoxError, TransactionManager};

use crate::group;
use crate::processor;
use crate::setting::{Noop, Result, preload};

/// What is to be timed.
pub(crate) type Timed = Box<dyn FnOnce() -> Result<()>>;

/// Transactions of `size` tasks each, of the queue alone.
pub(crate) fn batches(store: Arc<dyn Store>, count: u64, size: u64) -> Result<Timed> {
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    Ok(Box::new(move || {
        (0..count / size).try_for_each(|_| enqueue(&queue, &manager, size))
    }))
}

/// Producers that each wait for their own commit.
pub(crate) fn producers(store: Arc<dyn Store>, producers: u64, count: u64) -> Result<Timed> {
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    Ok(Box::new(move || {
        group::on_threads(producers, |_| {
            (0..count / producers).try_for_each(|_| enqueue(&queue, &manager, 1))
        })
    }))
}

fn enqueue(queue: &Queue, manager: &TransactionManager, size: u64) -> Result<()> {
    let mut txn = manager.begin()?;
    for _ in 0..size {
        queue.enqueue(&mut txn, &Noop::new())?;
    }
    txn.commit()?;
    Ok(())
}

/// A consumer that runs tasks which do nothing, and acknowledges each.
pub(crate) fn drain(store: Arc<dyn Store>, workers: usize, count: u64) -> Result<Timed> {
    drain_by(store, workers, count, |_| Ok(()))
}

/// The same with something to do for each task.
pub(crate) fn drain_by(
    store: Arc<dyn Store>,
    workers: usize,
    count: u64,
    run: impl Fn(&mut Context<'_>) -> std::result::Result<(), BoxError> + Send + Sync + 'static,
) -> Result<Timed> {
    let manager = TransactionManager::new();
    preload(&store, &manager, count)?;
    let (ran, runs) = unbounded();
    let mut registry = Registry::new();
    registry.register(move |_: Noop, context: &mut Context<'_>| {
        run(context)?;
        Ok::<(), BoxError>(ran.send(())?)
    })?;
    Ok(Box::new(move || {
        let builder = Consumer::builder(store, registry).manager(manager);
        let running = builder.queue("default").concurrent_limit(workers).start()?;
        for _ in 0..count {
            runs.recv()?;
        }
        // Stopping waits for the last acknowledgement.
        running.stop();
        Ok(())
    }))
}

/// How long nothing happens before each task that is timed: twenty a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// The times from the return of a commit on one handle of a store to the start of its task on the other.
pub(crate) fn latencies(
    producer: Arc<dyn Store>,
    consumer: Arc<dyn Store>,
    count: u64,
) -> Result<Vec<Duration>> {
    let (started, starts) = unbounded();
    let mut registry = Registry::new();
    registry.register(move |_: Noop, _: &mut Context<'_>| started.send(Instant::now()))?;
    let running = Consumer::builder(consumer, registry).start()?;
    let (queue, manager) = (Queue::new(producer, "default")?, TransactionManager::new());
    let mut latencies = Vec::new();
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        enqueue(&queue, &manager, 1)?;
        let committed = Instant::now();
        latencies.push(starts.recv()?.saturating_duration_since(committed));
    }
    running.stop();
    Ok(latencies)
}

/// Per cent of a core that each of a few consumers takes which have nothing to do.
pub(crate) fn idle(open: impl Fn() -> Result<Arc<dyn Store>>, time: Duration) -> Result<f64> {
    const CONSUMERS: u32 = 4;
    let start = || -> Result<_> {
        let mut registry = Registry::new();
        registry.register(|_: Noop, _: &mut Context<'_>| Ok::<(), BoxError>(()))?;
        Ok(Consumer::builder(open()?, registry).start()?)
    };
    let running: Vec<_> = (0..CONSUMERS).map(|_| start()).collect::<Result<_>>()?;
    std::thread::sleep(Duration::from_secs(1));
    let before = processor::time()?;
    std::thread::sleep(time);
    let taken = processor::time()?.saturating_sub(before);
    drop(running);
    Ok(100.0 * taken.as_secs_f64() / time.as_secs_f64() / f64::from(CONSUMERS))
}
