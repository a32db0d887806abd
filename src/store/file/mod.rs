//! The file store: a folder with a journal, shared by any number of processes of one machine.
//!
//! Owns one invariant: what the book of a process says follows from the journal, and whatever changes
//! it goes through the [`writer`](self), under the lock of the journal, and is on disk before anybody is
//! told so who may rely on it. What an operation *did* is written down, not what was asked for: who
//! reads the journal decides nothing.
//!
//! | file | what for |
//! | --- | --- |
//! | `journal` | segments and records, the lock, what is torn and what is damaged |
//! | `options` `error` | how it is opened, and what the system's errors mean |
//! | `book` `body` | what of the journal is in memory, and what stays on disk |
//! | `writer` `desk` `state` | group commit |
//! | `compact` | giving back space |
//! | `stage` `register` | two-phase commit, and who committed |
//! | `dispatch` `notify` | claims, wake-ups, proof of life |
//! | `inspect` `check` | looking |

mod body;
mod book;
mod check;
mod compact;
mod desk;
mod dispatch;
mod error;
mod inspect;
mod journal;
mod notify;
mod options;
mod register;
mod stage;
mod state;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use options::Options;

use crate::id::{StoreId, TxnId};
use crate::register::Tier;
use crate::store::notify::{Bell, Watcher};
use crate::store::presence::{Guard, Presences};
use crate::store::{self, Capabilities, Kind, Store};
use crate::time::{Clock, Monotonic, Timestamp};
use book::Book;
use compact::Cleaning;
use desk::Desk;
use error::Result;
use journal::folder::Folder;
use journal::{Journal, New};
use state::State;
use writer::{Write, Writer};

/// The name of this backend in errors and capabilities.
const BACKEND: &str = "file";

/// The longest segment: offsets in it have 32 bits, and the last record of it begins before its end.
const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// How often a look at what others have just cleaned away is tried anew.
const LOOKS_MAX: usize = 10;

/// A store in a folder.
///
/// In memory is what is needed to decide, some hundred bytes for each task; payloads stay on disk until
/// they are claimed or shown.
pub struct FileStore {
    path: PathBuf,
    process: u32,
    id: StoreId,
    /// Where the store was made or adopted, and whether that is here.
    made_in: (String, bool),
    capabilities: Capabilities,
    clock: Arc<Monotonic>,
    poll_interval: Duration,
    host: String,
    writer: Writer,
    state: Arc<Mutex<State>>,
    presences: Presences,
    enrolled: Mutex<Vec<Guard>>,
    /// Outcomes that their owner knows: their records go with the next commit.
    known: Mutex<Vec<TxnId>>,
    visits: Arc<AtomicU64>,
    bell: Arc<Bell>,
    watcher: Option<Watcher>,
}

impl FileStore {
    /// Opens the store in the folder at `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`Kind::NoStore`] if there is none and the options say that none is to be made.
    /// [`Kind::Foreign`], [`Kind::Corrupt`] and [`Kind::NewerVersion`]: the folder is as it was.
    /// [`Kind::ReadOnly`], [`Kind::Full`], [`Kind::Unavailable`] as they say.
    ///
    /// # Blocking
    /// Reads the journal: seconds for a million tasks. Those who have the store open go on meanwhile.
    pub fn open(path: impl AsRef<Path>, options: Options) -> store::Result<Self> {
        let opened = Self::open_folder(path.as_ref(), options);
        opened.map_err(|fault| fault.during("open its folder"))
    }

    fn open_folder(path: &Path, options: Options) -> Result<Self> {
        let folder = Folder::open(path, options.create)?;
        let (path, fingerprint) = (folder.path().to_owned(), folder.fingerprint()?);
        let presences = Presences::new(folder.alive())?;
        let mut book = Book::new(fingerprint.clone());
        let base = book.base()?;
        let segment_size = options.segment_size.clamp(1_000, SEGMENT_SIZE_MAX);
        let new = New {
            base: Some(&base),
            room: options.room.min(segment_size / 8),
        };
        let journal = Journal::open(folder, new, &mut |_, frame| book.take_up(frame))?;
        let made_in = (book.fingerprint.clone(), book.fingerprint == fingerprint);
        let clock = Arc::new(Monotonic::new(options.clock, book.latest));
        let (bell, id) = (Arc::new(Bell::default()), journal.store());
        let state = Arc::new(Mutex::new(State {
            journal,
            book,
            cleaning: Cleaning::default(),
            segment_size,
            bell: Arc::clone(&bell),
            clock: Arc::clone(&clock),
        }));
        Ok(Self {
            process: std::process::id(),
            id,
            capabilities: capabilities(made_in.1),
            made_in,
            clock,
            poll_interval: options.poll_interval,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            writer: Writer::default(),
            watcher: notify::watch(&path, Arc::clone(&state)),
            state,
            presences,
            enrolled: Mutex::default(),
            known: Mutex::default(),
            visits: Arc::default(),
            bell,
            path,
        })
    }

    /// Returns the folder, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many tasks claims have looked at so far. It grows with what is claimed, promoted and
    /// reclaimed, and not with what merely lies in the store.
    #[must_use]
    pub fn visit_count(&self) -> u64 {
        self.visits.load(Ordering::Relaxed)
    }

    /// Returns how often this handle has waited for the disk: operations that arrive together share a
    /// flush.
    #[must_use]
    pub fn flush_count(&self) -> u64 {
        self.state.lock().journal.flush_count()
    }

    /// Returns how many operations are under way or wait for their turn.
    #[must_use]
    pub fn writes_waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// Makes the copy of a store, or one that was moved, the store that decides: its register answers
    /// again. That of the original must not be asked any more.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn adopt(path: impl AsRef<Path>) -> store::Result<StoreId> {
        let options = Options::default().create(false);
        let store = Self::open(path, options)?;
        let mut state = store.state.lock();
        let adopted = state.adopt();
        adopted.map_err(|fault| fault.during("adopt its folder"))?;
        Ok(store.id)
    }

    /// Gives back all the space that is not needed, in small steps between which others go on. The store
    /// does so by itself before its folder is more than twice as large as what is in it.
    ///
    /// # Errors
    /// Some space may have been given back.
    pub fn compact(&self) -> store::Result<()> {
        let compact = || {
            self.here()?;
            let target = self.state.lock().begin_compaction()?;
            while self.state.lock().compact(target)? {}
            Ok(())
        };
        compact().map_err(|fault: error::Fault| fault.during("give back space"))
    }

    /// Refuses to go on in a fork: kernel locks are shared with the parent.
    fn here(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Kind::Forked.into())
    }

    fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks at what all processes have done by now.
    fn read<T>(&self, mut look: impl FnMut(&mut State) -> Result<T>) -> Result<T> {
        self.here()?;
        let mut state = self.state.lock();
        let mut looks = 0;
        loop {
            state.refresh()?;
            let looked = look(&mut state);
            looks += 1;
            // What failed may have been looking for what others have just moved elsewhere.
            if looked.is_ok() || looks == LOOKS_MAX || !state.journal.is_behind()? {
                return looked;
            }
        }
    }

    fn write<T: Send + 'static>(
        &self,
        write: Write,
        operation: impl FnOnce(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.here()?;
        self.writer.run(&self.state, write, operation)
    }
}

impl Store for FileStore {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn capabilities(is_original: bool) -> Capabilities {
    let mut capabilities = Capabilities::new(BACKEND, Tier::Enlisted);
    capabilities.shared = true;
    if !is_original {
        let caveat = "the folder was copied or moved: decisions wait until it is adopted";
        capabilities.caveats.push(caveat.to_owned());
    }
    capabilities
}
