//! The files of a layout, opened: notes, tasks and effects.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::{Consumer, Running};
use votive::handler::{Context, Registry};
use votive::queue::{Queue, Recovered, recover_older_than};
use votive::resource::rusqlite::{Database, Options};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{Inspect, Store};
use votive::task::{self, RetryPolicy, State};
use votive::txn::{BoxError, TransactionManager};

use crate::layout::{Effects, Layout, Producer};

pub(crate) type Result<T> = std::result::Result<T, BoxError>;

/// What no run takes as long as.
const LONG: Duration = Duration::from_secs(60);

/// Checkpoints come often, so that crashes meet them.
const CHECKPOINT_PAGES: u32 = 40;

/// `needs` refers to what is never there, and is looked after only at the COMMIT: whoever sets it is
/// refused then.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS nobody (id INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS note (
        name TEXT NOT NULL, needs INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE IF NOT EXISTS effect (
        name TEXT NOT NULL, needs INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED);";

/// What is to be done about a note; then, as an echo, what is to be done about that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) run: u64,
    pub(crate) number: u32,
    pub(crate) is_echo: bool,
}

impl Task for Answer {
    const KIND: &'static str = "answer";

    /// Tried again at once, and kept when it is done.
    fn options() -> task::Options {
        task::Options {
            retry: RetryPolicy {
                attempts_max: 1_000,
                backoff_min: Duration::from_millis(1),
                backoff_max: Duration::from_millis(2),
                ..RetryPolicy::default()
            },
            retention: Some(Duration::from_secs(86_400)),
            ..task::Options::default()
        }
    }
}

impl Answer {
    pub(crate) fn name(&self) -> String {
        let echo = if self.is_echo { "+" } else { "" };
        format!("{:016x}-{}{echo}", self.run, self.number)
    }
}

pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) queue: Queue,
    pub(crate) manager: TransactionManager,
    pub(crate) notes: Database,
    pub(crate) effects: Database,
}

impl World {
    /// Opens the files in `folder`, and makes what is missing.
    pub(crate) fn open(folder: &Path, layout: Layout) -> Result<Self> {
        Self::open_with(folder, layout, &options())
    }

    /// Opens the files, those of the application with options.
    pub(crate) fn open_with(folder: &Path, layout: Layout, options: &Options) -> Result<Self> {
        let tasks = sqlite::Options::default()
            .poll_interval(Duration::from_millis(20))
            .wal_autocheckpoint(CHECKPOINT_PAGES);
        let store = Arc::new(SqliteStore::open(folder.join("tasks.db"), tasks)?);
        let beside = || database(Database::sharing_with(Arc::clone(&store), options.clone())?);
        let apart = |file| {
            let path = folder.join(file);
            Database::migrate(&path)?;
            database(Database::open_with(path, options.clone())?)
        };
        let notes = match layout.producer {
            Producer::Ours | Producer::Yours => beside()?,
            Producer::Prepared => apart("notes.db")?,
        };
        let effects = match layout.effects {
            Effects::Beside => beside()?,
            Effects::Apart => apart("effects.db")?,
        };
        let manager = TransactionManager::new();
        manager.registers().insert(Arc::new(notes.clone()));
        manager.registers().insert(Arc::new(effects.clone()));
        Ok(Self {
            layout,
            queue: Queue::new(Arc::clone(&store) as Arc<dyn Store>, "default")?,
            store,
            manager,
            notes,
            effects,
        })
    }

    /// Settles all that crashes left in doubt.
    pub(crate) fn recover(&self) -> Result<Recovered> {
        let store = Arc::clone(&self.store) as _;
        Ok(recover_older_than(&store, &self.manager, Duration::ZERO)?)
    }

    pub(crate) fn consume(&self) -> Result<Running> {
        let effects = self.effects.clone();
        let mut registry = Registry::new();
        registry.register(
            move |task: Answer, context: &mut Context<'_>| -> Result<()> {
                answer(&effects, &task, context)
            },
        )?;
        let running = Consumer::builder(Arc::clone(&self.store) as _, registry)
            .manager(self.manager.clone())
            .concurrent_limit(2)
            .reclaims_max(u32::MAX)
            .start()?;
        Ok(running)
    }

    /// Waits until all tasks are done.
    pub(crate) fn wait(&self) -> Result<()> {
        let (again, late) = (tick(Duration::from_millis(2)), after(LONG));
        while self.unfinished()? > 0 {
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return Err("some tasks are never done".into()),
            }
        }
        Ok(())
    }

    /// Runs all tasks to their end.
    pub(crate) fn drain(&self) -> Result<()> {
        let running = self.consume()?;
        let waited = self.wait();
        running.stop();
        waited
    }

    fn unfinished(&self) -> Result<u64> {
        let queues = self.store.stats()?.queues;
        let counts = queues.iter().flat_map(|queue| &queue.counts);
        Ok(counts
            .filter(|(state, _)| *state != State::Done)
            .map(|(_, count)| count)
            .sum())
    }
}

/// The options of the application's databases.
pub(crate) fn options() -> Options {
    Options::default()
        .setup(|connection| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
}

fn database(database: Database) -> Result<Database> {
    Connection::open(database.path())?.execute_batch(TABLES)?;
    Ok(database)
}

/// The handler: the first attempt of some tasks fails, and that of others is refused by its COMMIT.
fn answer(effects: &Database, task: &Answer, context: &mut Context<'_>) -> Result<()> {
    let is_first = context.attempt().number == 1;
    let needs = (is_first && task.number % 5 == 1).then_some(1);
    effects
        .join(context.work())?
        .execute("INSERT INTO effect VALUES (?1, ?2)", (task.name(), needs))?;
    if is_first && task.number % 5 == 2 {
        return Err("the first attempt fails on purpose".into());
    }
    if !task.is_echo {
        let echo = Answer {
            is_echo: true,
            ..task.clone()
        };
        context.enqueue(&echo)?;
    }
    Ok(())
}

/// The file in which a process notes what it was told to be committed.
pub(crate) fn acknowledgements(folder: &Path) -> PathBuf {
    folder.join("acknowledged")
}
