//! How soon a commit starts a task on another handle of its store, as another process would have it:
//! beside the bare signal of that store, in the same run; and what idle consumers cost.
//!
//! `cargo bench --bench wakeups [-- --tiny] [-- --only STORE]` takes about half a minute for each store. Servers are
//! started privately; a store whose program is not installed is left out, which is said. Bare signals and commits are
//! measured in turn, so that both meet the same neighbours on a busy machine.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod raw;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use votive::store::Store;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};
use votive_testbed::{Postgres, Redis, or_skip, postgres, redis};

/// Result of a bench.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long nothing happens before each commit: long enough for everybody to be asleep.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Noop;

impl Task for Noop {
    const KIND: &'static str = "noop";
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Sizes {
    rounds: usize,
    /// Wake-ups of each kind in a round.
    count: usize,
    idle: Duration,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let is_tiny = arguments.iter().any(|argument| argument == "--tiny");
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1));
    let is_asked = |name: &str| only.is_none_or(|only| only == name);
    let sizes = Sizes {
        rounds: if is_tiny { 1 } else { 5 },
        count: if is_tiny { 20 } else { 100 },
        idle: Duration::from_secs(if is_tiny { 1 } else { 10 }),
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    if is_asked("sqlite") {
        let raw = |round| raw::sqlite(&folder.path().join(format!("raw-{round}.db")), sizes.count);
        report(
            "sqlite",
            &format!("sqlite://{}", path("own.db")),
            sizes,
            raw,
        )?;
    }
    if is_asked("file") {
        let raw = |_| raw::file(&folder.path().join("raw.log"), sizes.count);
        report("file", &format!("file://{}", path("own")), sizes, raw)?;
    }
    if is_asked("redis")
        && let Some(server) = or_skip(Redis::start(redis::Options::default()))
    {
        let url = server.url();
        report("redis", &url, sizes, |_| raw::redis(&url, sizes.count))?;
    }
    if is_asked("postgres")
        && let Some(server) = or_skip(Postgres::start(postgres::Options::default()))
    {
        let url = server.url();
        report("postgres", &url, sizes, |_| {
            raw::postgres(&url, sizes.count)
        })?;
    }
    Ok(())
}

/// Measures one store and prints a line. `raw` is told the number of its round.
fn report(
    name: &str,
    url: &str,
    sizes: Sizes,
    raw: impl Fn(usize) -> Result<Vec<Duration>>,
) -> Result<()> {
    let (mut bare, mut commits) = (Vec::new(), Vec::new());
    for round in 0..sizes.rounds {
        bare.extend(raw(round)?);
        commits.extend(own(url, sizes.count)?);
    }
    let (raw, own) = (Percentiles::of(bare), Percentiles::of(commits));
    let idle = idle(url, sizes.idle)?;
    println!(
        "{name:8} commit to start: p50 {:.3} ms, p99 {:.3} ms; bare signal: p50 {:.3} ms, p99 {:.3} ms; \
         p99 {:.1} times the bare one; an idle consumer takes {:.3} % of a core",
        own.p50,
        own.p99,
        raw.p50,
        raw.p99,
        own.p99 / raw.p99,
        idle * 100.0
    );
    Ok(())
}

/// In milliseconds.
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |share: usize| {
            let found = all.get((all.len() * share / 100).min(all.len().saturating_sub(1)));
            found.map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

fn open(url: &str) -> Result<Arc<dyn Store>> {
    Ok(votive::open(url)?)
}

fn consumer(
    url: &str,
    handler: impl Fn(Noop, &mut Context<'_>) -> std::result::Result<(), votive::txn::BoxError>
    + Send
    + Sync
    + 'static,
) -> Result<votive::consumer::Running> {
    let mut registry = Registry::new();
    registry.register(handler)?;
    Ok(Consumer::builder(open(url)?, registry).start()?)
}

/// The times from the return of a commit to the start of its task, on another handle.
fn own(url: &str, count: usize) -> Result<Vec<Duration>> {
    let (starts, started) = crossbeam_channel::unbounded();
    let running = consumer(url, move |_, _| Ok(starts.send(Instant::now())?))?;
    let queue = Queue::new(open(url)?, "default")?;
    let manager = TransactionManager::new();
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        let mut txn = manager.begin()?;
        queue.enqueue(&mut txn, &Noop)?;
        txn.commit()?;
        let committed = Instant::now();
        let started = started.recv()?;
        latencies.push(started.saturating_duration_since(committed));
    }
    running.stop();
    Ok(latencies)
}

/// The share of a core that one idle consumer takes, measured over a few of them.
fn idle(url: &str, time: Duration) -> Result<f64> {
    const CONSUMERS: u32 = 4;
    let running: Result<Vec<_>> = (0..CONSUMERS)
        .map(|_| consumer(url, |_, _| Ok(())))
        .collect();
    let running = running?;
    std::thread::sleep(Duration::from_secs(1));
    let before = processor_time()?;
    std::thread::sleep(time);
    let taken = processor_time()?.saturating_sub(before);
    drop(running);
    Ok(taken.as_secs_f64() / time.as_secs_f64() / f64::from(CONSUMERS))
}

/// The processor time of all threads of this process, which must be those that were there before.
fn processor_time() -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let statistics = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = statistics.split_whitespace().next().unwrap_or("0");
        nanos += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
