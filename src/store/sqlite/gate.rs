//! The write gate of a database file: all writers of one process pass it one at a time.
//!
//! SQLite lets one writer in and has the others poll for it. Between processes there is nothing better; within a
//! process a lock is both fairer and faster. Whoever is about to begin a write transaction takes a [`Pass`] and keeps
//! it until the transaction has ended.
//!
//! Who leaves may come in again before the next one has woken up: the disk does not wait for a thread to be woken, and
//! the pages that a connection has in memory are still the present ones. Every half millisecond or so the lock is
//! handed to the one who waits longest instead, so that nobody starves.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};

/// Tells files apart, and processes: a fork inherits the memory of a gate but not who is inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    process: u32,
    file: Vec<u8>,
}

static GATES: Mutex<BTreeMap<FileId, Weak<Gate>>> = Mutex::new(BTreeMap::new());

/// Where the writers of one database file wait.
#[derive(Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<()>>);

impl Gate {
    /// Returns this process's gate of a database file, which must exist; symbolic and hard links of one
    /// file lead to the same gate.
    pub(crate) fn of(path: &Path) -> io::Result<Arc<Self>> {
        let id = FileId::of(path)?;
        let mut gates = GATES.lock();
        gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = gates.get(&id).and_then(Weak::upgrade) {
            return Ok(gate);
        }
        let gate = Arc::new(Self::default());
        gates.insert(id, Arc::downgrade(&gate));
        Ok(gate)
    }

    /// Waits for its turn, for at most `timeout`; `None` if the time ran out.
    pub(crate) fn pass(&self, timeout: Duration) -> Option<Pass> {
        self.0
            .try_lock_arc_for(timeout)
            .map(|held| Pass { _held: held })
    }
}

/// The right to write; dropping it lets the next one in.
#[must_use = "dropping the pass lets the next writer in"]
pub(crate) struct Pass {
    _held: ArcMutexGuard<RawMutex, ()>,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            process: std::process::id(),
            file: file_id(path)?,
        })
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok([metadata.dev().to_be_bytes(), metadata.ino().to_be_bytes()].concat())
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> io::Result<Vec<u8>> {
    Ok(path
        .canonicalize()?
        .to_string_lossy()
        .into_owned()
        .into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new().unwrap()
    }

    #[test]
    fn two_names_of_one_file_lead_to_the_same_gate() {
        let file = file();
        let link = file.path().with_extension("link");
        std::fs::hard_link(file.path(), &link).unwrap();
        let gate = Gate::of(file.path()).unwrap();
        assert!(Arc::ptr_eq(&gate, &Gate::of(&link).unwrap()));
        std::fs::remove_file(link).unwrap();
    }

    #[test]
    fn who_gives_up_waiting_is_skipped() {
        let file = file();
        let gate = Gate::of(file.path()).unwrap();
        let inside = gate.pass(Duration::ZERO).unwrap();
        assert!(gate.pass(Duration::from_millis(1)).is_none());
        drop(inside);
        assert!(gate.pass(Duration::ZERO).is_some());
    }

    #[test]
    fn one_passes_at_a_time() {
        let file = file();
        let gate = Gate::of(file.path()).unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let pass = gate.pass(Duration::from_secs(60)).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(pass);
                    }
                });
            }
        });
    }

    #[test]
    fn who_waits_gets_in_although_another_comes_again_and_again() {
        let file = file();
        let gate = Gate::of(file.path()).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    drop(gate.pass(Duration::from_secs(60)).unwrap());
                }
            });
            for _ in 0..20 {
                drop(gate.pass(Duration::from_secs(60)).unwrap());
            }
            over.store(true, std::sync::atomic::Ordering::SeqCst);
        });
    }
}
