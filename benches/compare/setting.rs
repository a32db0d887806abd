//! What every piece of work starts from: a fresh folder, and the sizes of the run.

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde::{Deserialize, Serialize};
use votive::id::TaskId;
use votive::store::{Batch, Change, Store};
use votive::task::{self, Name, Payload, PayloadLimits, Record};
use votive::txn::TransactionManager;
use votive::{Task, queue};
use votive_report::{Case, Sample, Work};

use crate::flushes::{self, Source};

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

/// What the command line says.
#[derive(clap::Parser)]
pub(crate) struct Arguments {
    /// Sizes that only show that the bench runs.
    #[arg(long)]
    tiny: bool,
    /// Only cases in whose store, work and name all of these words are; may be given again.
    #[arg(long, value_name = "WORD,…")]
    only: Vec<String>,
    /// How often both sides are measured, in turn.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where data is written; the disk under it is the one that is measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target"))]
    dir: PathBuf,
    /// Where the report is written. [default: in the folder of the data]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// What readers of the report must know, such as that the machine is busy.
    #[arg(long, default_value = "")]
    pub caveat: String,
    /// Weighs a backlog in a process of its own.
    #[arg(long, hide = true, num_args = 2)]
    pub weigh: Option<Vec<String>>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Whether a case is asked for.
    pub(crate) fn wants(&self, case: &Case) -> bool {
        let text = format!("{} {} {}", case.store, case.work, case.name).to_lowercase();
        let has_all = |words: &String| {
            words
                .split(',')
                .all(|word| text.contains(&word.to_lowercase()))
        };
        self.only.is_empty() || self.only.iter().any(has_all)
    }
}

/// The sizes of the run, where its files are, and what counts flushes.
pub(crate) struct Setting {
    folder: PathBuf,
    folders: AtomicU64,
    /// Counts flushes.
    pub source: Source,
    /// Transactions of one run, where each waits for the disk.
    pub transactions: u64,
    /// Transactions of one run, where many share a wait.
    pub shared: u64,
    /// Tasks of one run, where hundreds share a wait.
    pub tasks: u64,
    /// Backlogs, from the least to the greatest.
    pub backlogs: (u64, u64, u64),
    /// Tasks of one run, where nothing waits for a disk.
    pub unwaited: u64,
    /// Tasks that are weighed.
    pub weighed: u64,
    /// Tasks that are timed one by one.
    pub timed: u64,
    /// How long an idle consumer is watched.
    pub idle: Duration,
    rounds: usize,
}

/// How long the waits for the disk of one run should take.
const WAITED: Duration = Duration::from_millis(500);

impl Setting {
    /// Chooses sizes: on a slow disk fewer tasks wait for it.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let folder = arguments.dir.join("compare");
        fs::create_dir_all(&folder)?;
        let size = |full, tiny| if arguments.tiny { tiny } else { full };
        let source = Source::find(&folder);
        let transactions = size(
            flushes::count_within(&folder, WAITED)?.clamp(300, 3_000),
            20,
        );
        let setting = Self {
            folder,
            folders: AtomicU64::new(0),
            source,
            transactions,
            shared: size(6 * transactions, 64),
            tasks: size(40_000, 400),
            backlogs: (size(1_000, 50), size(100_000, 300), size(1_000_000, 1_000)),
            unwaited: size(200_000, 400),
            weighed: size(200_000, 400),
            timed: size(200, 5),
            idle: Duration::from_secs(size(4, 1)),
            rounds: arguments
                .rounds
                .unwrap_or(if arguments.tiny { 1 } else { 5 }),
        };
        setting.clear()?;
        Ok(setting)
    }

    /// Returns how often a kind of work is measured: what takes seconds to be told, less often.
    pub(crate) fn rounds_of(&self, work: Work) -> usize {
        match work {
            Work::W4 | Work::W6 | Work::W8 => self.rounds.min(2),
            _ => self.rounds,
        }
    }

    /// Returns how many tasks are claimed and settled one by one: few beside the least backlog.
    pub(crate) fn claims(&self) -> u64 {
        (self.transactions / 10).min(self.backlogs.0 / 2)
    }

    /// Returns where the report goes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns an empty folder.
    pub(crate) fn fresh(&self) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join("data").join(number.to_string());
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Removes all folders that were handed out.
    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(self.folder.join("data")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Times `work`, which does `count` tasks, and counts its flushes.
    pub(crate) fn measure(&self, count: u64, work: impl FnOnce() -> Result<()>) -> Result<Sample> {
        let before = self.source.count();
        let start = Instant::now();
        work()?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.source.count();
        let flushes = before.zip(after);
        Ok(Sample {
            value: per(count, 1) / seconds,
            flushes: flushes.map(|(before, after)| per(after - before, count)),
            ..Sample::default()
        })
    }
}

/// So many things for each of `count`.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
pub(crate) fn per(things: u64, count: u64) -> f64 {
    things as f64 / count as f64
}

/// The day, as `2026-11-26`.
pub(crate) fn day() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    today.date().to_string()
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "flushes: {}; {} rounds; {} transactions that each wait for the disk",
            self.source.name(),
            self.rounds,
            self.transactions
        )
    }
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
