//! The store itself: one file, which is written anew, whole, with every change.
//!
//! A new file is written, flushed and renamed: after a crash it is there, or the one before it is. Only
//! one process can have the file open, so nobody else can hold claims, and whoever did is dead.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use votive::codec;
use votive::id::{Incarnation, ResourceId, StoreId, TxnId};
use votive::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind,
    Standing, Tier,
};
use votive::store::{
    Applied, Batch, Capabilities, Error, InDoubt, Kind, Published, Result, Stage, Store,
};
use votive::time::{Clock, Monotonic, Timestamp};

use crate::book::{Book, Judged, Staged};

const BACKEND: &str = "toy";

/// A store in one file, for one process at a time.
pub(crate) struct ToyStore {
    path: PathBuf,
    pub(crate) id: StoreId,
    pub(crate) capabilities: Capabilities,
    pub(crate) clock: Monotonic,
    pub(crate) shared: Arc<Shared>,
    /// Locked for as long as the store is open.
    _lock: File,
}

/// What the store and the presences that it gave out share.
pub(crate) struct Shared {
    pub(crate) now: Mutex<Present>,
    /// Rung whenever somebody who waits might be served.
    pub(crate) changed: Condvar,
}

/// What is known at present; only the content outlives the process.
pub(crate) struct Present {
    pub(crate) content: Content,
    /// How many presences each attended incarnation has.
    pub(crate) attended: BTreeMap<Incarnation, usize>,
    pub(crate) interrupts: u64,
    /// The file could not be written: what is in it is not known any more.
    is_poisoned: bool,
}

/// What is in the file.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    id: StoreId,
    /// No time before this is told again.
    latest: Timestamp,
    pub(crate) book: Book,
}

impl ToyStore {
    /// Opens the store in a file, and makes it if there is none.
    pub(crate) fn open(path: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let lock = File::create(path.with_extension("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process has the store open"),
            TryLockError::Error(error) => error,
        })?;
        let content = match fs::read(path) {
            Ok(bytes) => codec::decode(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content {
                id: StoreId::random(),
                latest: Timestamp::EPOCH,
                book: Book::default(),
            },
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            id: content.id,
            capabilities: Capabilities::new(BACKEND, Tier::Enlisted),
            clock: Monotonic::new(clock, content.latest),
            shared: Arc::new(Shared {
                now: Mutex::new(Present {
                    content,
                    attended: BTreeMap::new(),
                    interrupts: 0,
                    is_poisoned: false,
                }),
                changed: Condvar::new(),
            }),
            _lock: lock,
        })
    }

    /// Changes a copy of the book; if nothing refuses, the copy is written to the disk and takes its place.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Book, &BTreeMap<Incarnation, usize>) -> Judged<T>,
    ) -> Result<T> {
        let mut now = self.shared.now.lock();
        if now.is_poisoned {
            return Err(error(Kind::Unavailable, operation));
        }
        let mut content = now.content.clone();
        content.latest = self.clock.now();
        let result = change(&mut content.book, &now.attended);
        let result = result.map_err(|kind| error(kind, operation))?;
        if let Err(failed) = self.save(&content) {
            // The new file may be there or not, and nobody can tell which one a crash would leave.
            now.is_poisoned = true;
            return Err(error(Kind::Unknown, operation).with_source(failed));
        }
        now.content = content;
        self.shared.changed.notify_all();
        Ok(result)
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.shared.now.lock().content.book)
    }

    fn save(&self, content: &Content) -> io::Result<()> {
        let bytes = codec::encode(content).map_err(io::Error::other)?;
        let written = self.path.with_extension("new");
        let mut file = File::create(&written)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&written, &self.path)?;
        // The rename is on disk when the folder is.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

pub(crate) fn error(kind: Kind, operation: &'static str) -> Error {
    Error::new(kind, BACKEND, operation)
}

impl Store for ToyStore {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Stage for ToyStore {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        let staged = Staged {
            register,
            batch: batch.clone(),
            since: now,
        };
        self.write("stage a batch", |book, _| book.stage(txn, staged))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        if let Some(is_published) = self.read(|book| book.ended.get(&txn).copied()) {
            return Ok(if is_published {
                Published::Already
            } else {
                Published::Unknown
            });
        }
        let published = self.write("publish a batch", |book, _| book.publish(txn, now));
        Ok(published?.map_or(Published::Unknown, Published::Now))
    }

    fn discard(&self, txn: TxnId) -> Result<()> {
        let now = self.clock.now();
        self.write("discard a batch", |book, _| book.discard(txn, now))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        self.write("apply a batch", |book, _| {
            book.apply(txn, batch, prepared, now)
        })
    }

    /// Every change is on disk before anybody is told of it, so there is nothing to flush.
    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>> {
        self.write("forget batches", |book, _| {
            let is_ended = |txn: &&TxnId| !book.staged.contains_key(txn);
            let ended: Vec<TxnId> = txns.iter().filter(is_ended).copied().collect();
            book.ended.retain(|txn, _| !ended.contains(txn));
            Ok(ended)
        })
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|book| {
            let page = book.staged.range((after, Bound::Unbounded)).take(limit);
            page.map(|(txn, staged)| {
                let size = codec::encode(&staged.batch).map_err(|failed| {
                    error(Kind::Corrupt(txn.to_string()), "measure a batch").with_source(failed)
                })?;
                Ok(InDoubt {
                    txn: *txn,
                    register: staged.register,
                    staged_at: staged.since,
                    change_count: staged.batch.changes.len(),
                    size: size.len(),
                })
            })
            .collect()
        })
    }
}

type Answered<T> = std::result::Result<T, RegisterError>;

impl ToyStore {
    /// Everything that a register answers is on disk: it is written, even if nothing changes.
    fn ask<T>(&self, operation: &'static str, ask: impl FnOnce(&mut Book) -> T) -> Answered<T> {
        let asked = self.write(operation, |book, _| Ok(ask(book)));
        asked.map_err(|failed| {
            let failure = RegisterError::new(RegisterErrorKind::Failed, self.id, operation);
            failure.with_source(failed)
        })
    }
}

impl Register for ToyStore {
    fn resource(&self) -> ResourceId {
        self.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Answered<()> {
        let is_new = self.ask("enroll an incarnation", |book| {
            book.incarnations
                .insert(incarnation, (now, false))
                .is_none()
        })?;
        if is_new {
            return Ok(());
        }
        let (kind, operation) = (RegisterErrorKind::Failed, "enroll an incarnation twice");
        Err(RegisterError::new(kind, self.id, operation))
    }

    fn decide(&self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answered<Answer> {
        self.ask("decide a transaction", |book| {
            let standing = match book.incarnations.get(&txn.incarnation) {
                None => Standing::Gone,
                Some((_, true)) => Standing::Closed,
                Some((_, false)) => Standing::Open,
            };
            // The first writer wins.
            let decide = || {
                book.outcomes
                    .entry(txn)
                    .or_insert((want, stores.to_vec()))
                    .0
            };
            Answer {
                decision: (standing != Standing::Gone).then(decide),
                standing,
            }
        })
    }

    fn outcomes(&self, after: Option<TxnId>, limit: usize) -> Answered<Vec<OutcomeRow>> {
        self.ask("list outcomes", |book| {
            let rows = book.outcome_rows();
            rows.filter(|row| after.is_none_or(|after| row.txn > after))
                .take(limit)
                .collect()
        })
    }

    fn incarnations(&self) -> Answered<Vec<IncarnationRow>> {
        self.ask("list incarnations", |book| {
            book.incarnation_rows().collect()
        })
    }

    /// Who lives cannot be known of managers: an application may have opened the store a moment ago.
    fn departed(&self) -> Answered<Vec<Incarnation>> {
        Ok(Vec::new())
    }

    fn close(&self, incarnation: Incarnation) -> Answered<()> {
        self.ask("close an incarnation", |book| {
            if let Some((_, closed)) = book.incarnations.get_mut(&incarnation) {
                *closed = true;
            }
        })
    }

    fn forget(&self, txns: &[TxnId]) -> Answered<usize> {
        self.ask("forget outcomes", |book| {
            let before = book.outcomes.len();
            book.outcomes
                .retain(|txn, (decision, _)| *decision == Decision::Aborted || !txns.contains(txn));
            before - book.outcomes.len()
        })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Answered<bool> {
        self.ask("drop an incarnation", |book| {
            let mut of_it = book
                .outcomes
                .iter()
                .filter(|(txn, _)| txn.incarnation == incarnation);
            if of_it.any(|(_, (decision, _))| *decision == Decision::Committed) {
                return false;
            }
            book.outcomes
                .retain(|txn, _| txn.incarnation != incarnation);
            book.incarnations.remove(&incarnation).is_some()
        })
    }
}
