//! What every piece of work starts from: a fresh folder, and the sizes of the run.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use votive::id::TaskId;
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{Batch, Change, Store};
use votive::task::{self, Name, Payload, PayloadLimits, Record};
use votive::txn::TransactionManager;
use votive::{Task, queue};

use crate::flushes::Source;
use crate::report::Run;

/// Result of a bench.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The task of every bench: 100 bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Noop(pub Vec<u8>);

impl Task for Noop {
    const KIND: &'static str = "noop";
}

impl Noop {
    /// Creates the task.
    pub(crate) fn new() -> Self {
        Self(vec![b'x'; 98])
    }
}

/// The sizes of the run, where its files are, and what counts flushes.
pub(crate) struct Setting {
    folder: PathBuf,
    /// Counts flushes.
    pub source: Source,
    /// Transactions of one run, where each waits for the disk.
    pub transactions: u64,
    /// Tasks of one run, where many share a wait.
    pub tasks: u64,
    /// The largest backlog.
    pub backlog_max: u64,
    /// How often each pair is run.
    pub rounds: usize,
    /// How long an idle consumer is watched.
    pub idle: Duration,
}

impl Setting {
    /// Reads the command line: `--tiny` for sizes that only show that the bench runs.
    pub(crate) fn new(arguments: &[String]) -> Result<Self> {
        let given = arguments.iter().position(|argument| argument == "--dir");
        let given = given
            .and_then(|at| arguments.get(at + 1))
            .map(PathBuf::from);
        let folder = given.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target").into());
        let folder = folder.join("throughput");
        fs::create_dir_all(&folder)?;
        let tiny = arguments.iter().any(|argument| argument == "--tiny");
        let size = |full, small| if tiny { small } else { full };
        Ok(Self {
            source: Source::find(&folder),
            folder,
            transactions: size(3_000, 20),
            tasks: size(40_000, 400),
            backlog_max: size(1_000_000, 1_000),
            rounds: if tiny { 1 } else { 5 },
            idle: Duration::from_secs(size(20, 1)),
        })
    }

    /// Returns how many wake-ups are measured.
    pub(crate) fn waits(&self) -> u64 {
        (self.transactions / 30).max(5)
    }

    /// Returns where the report goes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns an empty folder; the one of the run before is gone.
    pub(crate) fn fresh(&self) -> Result<PathBuf> {
        let folder = self.folder.join("data");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Times `work`, which does `count` tasks, and counts its flushes.
    pub(crate) fn measure(&self, count: u64, work: impl FnOnce() -> Result<()>) -> Result<Run> {
        let before = self.source.count();
        let start = Instant::now();
        work()?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.source.count();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let per_task = |n: u64| n as f64 / count as f64;
        let flushes = before
            .zip(after)
            .map(|(before, after)| per_task(after - before));
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let rate = count as f64 / seconds;
        Ok(Run { rate, flushes })
    }
}

/// Opens a store in `folder`.
pub(crate) fn store(folder: &Path) -> Result<Arc<SqliteStore>> {
    Ok(Arc::new(SqliteStore::open(
        folder.join("queue.db"),
        Options::default(),
    )?))
}

/// Opens a connection with the pragmas of a careful application.
pub(crate) fn connect(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Makes `count` tasks visible in the queue `default`, untimed.
pub(crate) fn preload(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    count: u64,
) -> Result<()> {
    preload_with(store, manager, count, |_| task::Options::default())
}

/// The same with options of each task's own.
pub(crate) fn preload_with(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    count: u64,
    options: impl Fn(u64) -> task::Options,
) -> Result<()> {
    let numbers: Vec<u64> = (0..count).collect();
    for some in numbers.chunks(10_000) {
        let inserts = some
            .iter()
            .map(|number| insert_with(&**store, options(*number)));
        let batch = inserts.collect::<Result<Batch>>()?;
        queue::apply(store, manager, &batch)?;
    }
    Ok(())
}

/// Creates the change that inserts a task.
pub(crate) fn insert(store: &dyn Store) -> Result<Change> {
    insert_with(store, task::Options::default())
}

fn insert_with(store: &dyn Store, options: task::Options) -> Result<Change> {
    let now = store.now()?;
    let payload = Payload::encode(&Noop::new(), PayloadLimits::default())?;
    let (queue, kind) = (Name::fixed("default"), Name::fixed(Noop::KIND));
    let record = Record::new(TaskId::new(now), queue, kind, payload, now);
    let record = record.with_options(options.shared());
    Ok(Change::Insert(Box::new(record)))
}
