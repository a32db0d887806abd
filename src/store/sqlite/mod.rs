//! The SQLite store: one file, shared by any number of processes of one machine.
//!
//! Owns one invariant: whatever changes the file goes through [`writer`](self), in one transaction,
//! and is on disk before anybody is told so who may rely on it.
//!
//! | file | what for |
//! | --- | --- |
//! | `options` `connection` `schema` | opening the file, and leaving other programs' alone |
//! | `writer` `gate` `statements` | group commit; one writer of a process at a time |
//! | `batch` `tasks` `keys` `groups` `sweep` `row` | what a batch does to the tables |
//! | `stage` `commit_point` `register` | two-phase commit, and who committed |
//! | `dispatch` `claim` `notify` `presence` | claims, wake-ups, proof of life |
//! | `inspect` `check` | looking |
//! | `render` `inside` | a batch as statements for a driver that is not ours, and whether that is in a transaction |

mod batch;
mod check;
mod claim;
mod commit_point;
mod connection;
mod dispatch;
pub(crate) mod error;
pub(crate) mod gate;
mod groups;
#[cfg(any(test, feature = "diesel", feature = "sqlx", feature = "seaorm"))]
pub(crate) mod inside;
mod inspect;
mod keys;
mod notify;
mod options;
pub(crate) mod presence;
pub(crate) mod register;
mod render;
mod row;
mod schema;
mod stage;
pub(crate) mod statements;
mod sweep;
mod tables;
mod tasks;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

pub(crate) use batch::is_one_insert;
pub use options::Options;

use crate::register::Tier;
use crate::store::notify::{Bell, Watcher};
use crate::store::render::Rendered;
use crate::store::rules::{self, Performer};
use crate::store::spent::Spent;
use crate::store::{self, Applied, Batch, Capabilities, Kind, Store};
use crate::time::{Clock, Monotonic, Timestamp};
use connection::Readers;
use error::{Fault, Result};
use gate::Gate;
use presence::{Guard, Presences};
use register::Identity;
use statements::Statements;
use sweep::Sweeps;
use writer::{Write, Writer};

/// The name of this backend in errors and capabilities.
pub(crate) const BACKEND: &str = "sqlite";

/// A store in a SQLite file, which may be an application's database too.
///
/// Beside the file, SQLite keeps `-wal` and `-shm`, and the store a folder `-votive` with the lock
/// files that prove which processes live.
pub struct SqliteStore {
    path: PathBuf,
    process: u32,
    identity: Identity,
    is_original: bool,
    capabilities: Capabilities,
    clock: Monotonic,
    poll_interval: Duration,
    writer: Writer,
    readers: Readers,
    presences: Presences,
    enrolled: Mutex<Vec<Guard>>,
    spent: Spent,
    sweeps: Arc<Sweeps>,
    bell: Arc<Bell>,
    watcher: Option<Watcher>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`Kind::NoStore`] if there is none and the options say that none is to be made.
    /// [`Kind::Foreign`], [`Kind::Corrupt`] and [`Kind::NewerVersion`]: the file is as it was.
    /// [`Kind::ReadOnly`], [`Kind::Full`], [`Kind::Unavailable`] as they say.
    pub fn open(path: impl AsRef<Path>, options: Options) -> store::Result<Self> {
        Self::open_file(path.as_ref(), options).map_err(|fault| fault.during("open its file"))
    }

    fn open_file(path: &Path, options: Options) -> Result<Self> {
        let writer = connection::open_writer(path, &options)?;
        let path = path.canonicalize()?;
        let identity = register::identity(&writer)?
            .ok_or_else(|| Fault::corrupt("the identity of the store is missing"))?;
        let is_original = register::fingerprint(&writer)? == identity.fingerprint;
        let clock = Monotonic::new(Arc::clone(&options.clock), latest(&writer)?);
        let writer = Writer::new(writer, Gate::of(&path)?, options.busy_timeout);
        let poll_interval = options.poll_interval;
        let readers = Readers::new(&path, options);
        let bell = Arc::new(Bell::default());
        let watcher = notify::watch(&path, readers.open()?, Arc::clone(&bell))?;
        Ok(Self {
            process: std::process::id(),
            capabilities: capabilities(is_original),
            presences: Presences::new(&path)?,
            identity,
            is_original,
            clock,
            poll_interval,
            writer,
            readers,
            enrolled: Mutex::default(),
            spent: Spent::default(),
            sweeps: Arc::default(),
            bell,
            watcher,
            path,
        })
    }

    /// Returns the file, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file of this name, as SQLite says it, is the store's.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        // One name is one file, and SQLite has resolved it; two names may be one file too.
        let is_same = || {
            let files = [path, &self.path].map(register::fingerprint_of);
            matches!(&files, [Ok(here), Ok(there)] if here == there)
        };
        path == self.path || is_same()
    }

    /// Has those who wait in this process look at once: for who has committed tasks on a connection of
    /// their own.
    pub fn announce(&self) {
        self.bell.ring();
    }

    /// Returns how many transactions this store has committed: writes that arrive together share one.
    #[must_use]
    pub fn commit_count(&self) -> u64 {
        self.writer.commit_count()
    }

    /// Returns how many writes are under way or wait for their turn.
    #[must_use]
    pub fn writes_waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// Refuses to go on in a fork: SQLite's locks and connections do not survive one.
    fn here(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Kind::Forked.into())
    }

    fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.here()?;
        self.readers.read(look)
    }

    fn write<T: Send + 'static>(
        &self,
        write: Write,
        operation: impl FnMut(&Statements<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.here()?;
        self.writer.run(write, operation)
    }
}

impl Store for SqliteStore {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn render(&self, batch: &Batch, now: Timestamp) -> store::Result<Rendered> {
        let rendered = render::render(self.identity.id, batch, now);
        rendered.map_err(|fault| fault.during("render a batch"))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("id", &self.identity.id)
            .finish_non_exhaustive()
    }
}

/// Performs a batch in a transaction of a connection that is not the store's: the tasks are visible
/// when the caller commits. After an error the caller rolls back to where it was before; of one insert
/// ([`is_one_insert`]) nothing is left to roll back.
pub(crate) fn write_batch(
    connection: &Connection,
    batch: Batch,
    now: Timestamp,
) -> store::Result<Applied> {
    let write = || {
        rules::check(&batch)?;
        let statements = Statements::new(connection);
        let performer = Performer::at_once(&statements, now);
        if is_one_insert(&batch) {
            return batch::make(performer, batch);
        }
        batch::perform(performer, batch)
    };
    write().map_err(|fault: Fault| fault.during("write a batch in another's transaction"))
}

fn capabilities(is_original: bool) -> Capabilities {
    let mut capabilities = Capabilities::new(BACKEND, Tier::Enlisted);
    capabilities.shared = true;
    capabilities.renders = true;
    if !is_original {
        let caveat = "the file was copied or moved: decisions wait until it is adopted";
        capabilities.caveats.push(caveat.to_owned());
    }
    capabilities
}

/// Returns the latest instant that the store has seen, below which its clock must not fall.
fn latest(connection: &Connection) -> Result<Timestamp> {
    let latest: Option<i64> = connection.query_row(
        "SELECT max(at) FROM (
            SELECT (SELECT published_at FROM votive_task ORDER BY seq DESC LIMIT 1) AS at
            UNION ALL SELECT max(claimed_at) FROM votive_task WHERE state = 4
            UNION ALL SELECT max(staged_at) FROM votive_staged)",
        [],
        |row| row.get(0),
    )?;
    Ok(latest.map_or(Timestamp::EPOCH, Timestamp::from_micros))
}
