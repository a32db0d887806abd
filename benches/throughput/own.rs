//! The same work by votive's public calls.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use votive::consumer::Consumer;
use votive::handler::{Context, Registry};
use votive::id::{ConsumerId, Incarnation};
use votive::queue::{self, Queue};
use votive::resource::rusqlite::Database;
use votive::store::memory::MemoryStore;
use votive::store::{Batch, Change, Claim, ClaimRequest, Settlement, Store, Verdict, Want};
use votive::task::Options;
use votive::txn::TransactionManager;

use crate::raw::run;
use crate::setting::{Noop, Result, connect, insert, preload, preload_with, store};

const APP: &str = "CREATE TABLE IF NOT EXISTS app (id INTEGER PRIMARY KEY, v TEXT NOT NULL)";
const ROW: &str = "INSERT INTO app (v) VALUES ('row')";

/// One transaction of the application's own connection that inserts its row and enqueues a task.
pub(crate) fn enlisted(folder: &Path, count: u64) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let store: Arc<dyn Store> = store(folder)?;
    let queue = Queue::new(store, "default")?;
    let connection = connect(&folder.join("queue.db"))?;
    connection.execute_batch(APP)?;
    Ok(Box::new(move || {
        for _ in 0..count {
            run(&connection, "BEGIN IMMEDIATE")?;
            run(&connection, ROW)?;
            queue.enlist(&connection)?.enqueue(&Noop::new())?;
            run(&connection, "COMMIT")?;
        }
        Ok(())
    }))
}

/// The queue in one file, the application in another: two-phase commit.
pub(crate) fn prepared(folder: &Path, count: u64) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let file = folder.join("application.db");
    Database::migrate(&file)?;
    connect(&file)?.execute_batch(APP)?;
    let database = Database::open(&file)?;
    let queue = Queue::new(store(folder)? as Arc<dyn Store>, "default")?;
    let manager = TransactionManager::new();
    Ok(Box::new(move || {
        for _ in 0..count {
            let mut txn = manager.begin()?;
            database.join(&mut txn)?.prepare_cached(ROW)?.execute([])?;
            queue.enqueue(&mut txn, &Noop::new())?;
            txn.commit()?;
        }
        Ok(())
    }))
}

/// Transactions of `size` tasks each, of the queue alone.
pub(crate) fn batches(
    store: Arc<dyn Store>,
    count: u64,
    size: u64,
) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    Ok(Box::new(move || {
        for _ in 0..count / size {
            let mut txn = manager.begin()?;
            for _ in 0..size {
                queue.enqueue(&mut txn, &Noop::new())?;
            }
            txn.commit()?;
        }
        Ok(())
    }))
}

/// Producers that each wait for their own commit.
pub(crate) fn producers(
    store: Arc<dyn Store>,
    producers: u64,
    count: u64,
) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    Ok(Box::new(move || {
        std::thread::scope(|scope| {
            let produce = || -> Result<()> {
                for _ in 0..count / producers {
                    let mut txn = manager.begin()?;
                    queue.enqueue(&mut txn, &Noop::new())?;
                    txn.commit()?;
                }
                Ok(())
            };
            let threads: Vec<_> = (0..producers).map(|_| scope.spawn(produce)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a producer panicked")?)
        })
    }))
}

/// A consumer that runs tasks which do nothing, and acknowledges each.
pub(crate) fn drain(
    store: Arc<dyn Store>,
    workers: usize,
    count: u64,
) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let manager = TransactionManager::new();
    preload(&store, &manager, count)?;
    let (ran, runs) = unbounded();
    let mut registry = Registry::new();
    registry.register(move |_: Noop, _: &mut Context<'_>| ran.send(()))?;
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

/// The times from the return of a commit to the start of its task, in milliseconds, at 20 per second.
pub(crate) fn latencies(store: Arc<dyn Store>, count: u64) -> Result<Vec<f64>> {
    let manager = TransactionManager::new();
    let queue = Queue::new(Arc::clone(&store), "default")?;
    let (started, starts) = unbounded();
    let mut registry = Registry::new();
    registry.register(move |_: Noop, _: &mut Context<'_>| started.send(Instant::now()))?;
    let running = Consumer::builder(store, registry)
        .manager(manager.clone())
        .queue("default")
        .start()?;
    let mut latencies = Vec::new();
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(50));
        let mut txn = manager.begin()?;
        queue.enqueue(&mut txn, &Noop::new())?;
        txn.commit()?;
        let committed = Instant::now();
        let started = starts.recv()?;
        latencies.push(started.saturating_duration_since(committed).as_secs_f64() * 1e3);
    }
    running.stop();
    Ok(latencies)
}

/// The share of a core that a process takes whose consumer has nothing to do.
pub(crate) fn idle(store: Arc<dyn Store>, time: Duration) -> Result<f64> {
    let mut registry = Registry::new();
    registry.register(|_: Noop, _: &mut Context<'_>| std::io::Result::Ok(()))?;
    let running = Consumer::builder(store, registry)
        .queue("default")
        .start()?;
    std::thread::sleep(Duration::from_millis(500));
    let before = processor_time()?;
    std::thread::sleep(time);
    let taken = processor_time()?.saturating_sub(before);
    running.stop();
    Ok(taken.as_secs_f64() / time.as_secs_f64())
}

/// The time that this process has had processors, which Linux tells in hundredths of a second.
fn processor_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no such file as expected")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks
        .map(str::parse::<u64>)
        .sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// A store with a backlog, and who claims from it one by one.
pub(crate) struct Claimer {
    store: Arc<dyn Store>,
    manager: TransactionManager,
    request: ClaimRequest,
    _presence: votive::store::Presence,
}

impl Claimer {
    /// Fills the store with `backlog` tasks.
    pub(crate) fn new(store: Arc<dyn Store>, backlog: u64) -> Result<Self> {
        Self::with(store, backlog, |_| Options::default())
    }

    /// The same with options of each task's own.
    pub(crate) fn with(
        store: Arc<dyn Store>,
        backlog: u64,
        options: impl Fn(u64) -> Options,
    ) -> Result<Self> {
        let manager = TransactionManager::new();
        preload_with(&store, &manager, backlog, options)?;
        let lease = Duration::from_secs(60);
        let incarnation = Incarnation::random();
        let presence = store.attend(incarnation, lease)?;
        let consumer = ConsumerId {
            incarnation,
            name: "bench".into(),
        };
        let wants = vec![Want {
            queue: "default".into(),
            count: 1,
        }];
        let request = ClaimRequest {
            consumer,
            wants,
            lease,
        };
        Ok(Self {
            store,
            manager,
            request,
            _presence: presence,
        })
    }

    /// Claims and settles `count` tasks, one by one.
    pub(crate) fn run(&self, count: u64) -> Result<()> {
        self.run_by(1, count)
    }

    /// Claims and settles `count` tasks, `size` at a time.
    fn run_by(&self, size: usize, count: u64) -> Result<()> {
        let mut request = self.request.clone();
        for want in &mut request.wants {
            want.count = size;
        }
        for _ in 0..count / size as u64 {
            let claims = self.store.claim(&request, self.store.now()?)?;
            let batch = claims.iter().map(settled).collect();
            votive::queue::apply(&self.store, &self.manager, &batch)?;
        }
        Ok(())
    }
}

fn settled(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: votive::task::Counts::default(),
        account: None,
    })
}

/// Enqueues, claims and settles `count` tasks in memory, `size` at a time.
pub(crate) fn memory(size: usize, count: u64) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let queue = Queue::new(Arc::clone(&store), "default")?;
    let claimer = Claimer::new(store, 0)?;
    for _ in 0..count / size as u64 {
        let mut txn = claimer.manager.begin()?;
        for _ in 0..size {
            queue.enqueue(&mut txn, &Noop::new())?;
        }
        txn.commit()?;
    }
    claimer.run_by(size, count)
}

/// The store in memory by itself: `count` records that are made already, inserted, claimed and settled
/// `size` at a time.
pub(crate) fn memory_store(size: usize, count: u64) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let claimer = Claimer::new(Arc::clone(&store), 0)?;
    let batch = |_| (0..size).map(|_| insert(&*store)).collect();
    let batches = (0..count / size as u64)
        .map(batch)
        .collect::<Result<Vec<Batch>>>()?;
    Ok(Box::new(move || {
        for batch in &batches {
            queue::apply(&claimer.store, &claimer.manager, batch)?;
        }
        claimer.run_by(size, count)
    }))
}
