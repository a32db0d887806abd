//! The write gate of a database file: all writers of one process pass it one at a time, in the order
//! in which they came.
//!
//! SQLite lets one writer in and has the others poll for it. Between processes there is nothing
//! better; within a process a queue is both fairer and faster. Whoever is about to begin a write
//! transaction takes a [`Pass`] and keeps it until the transaction has ended.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Tells files apart, and processes: a fork inherits the memory of a gate but not who is inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    process: u32,
    file: Vec<u8>,
}

static GATES: Mutex<BTreeMap<FileId, Weak<Gate>>> = Mutex::new(BTreeMap::new());

/// Where the writers of one database file queue up.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    line: Mutex<Line>,
    moved: Condvar,
}

/// The one who is inside, or to go inside next, is the first of `waiting`.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiting: VecDeque<u64>,
}

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
    pub(crate) fn pass(self: &Arc<Self>, timeout: Duration) -> Option<Pass> {
        let mut line = self.line.lock();
        let ticket = line.next;
        line.next += 1;
        line.waiting.push_back(ticket);
        let in_front = |line: &mut Line| line.waiting.front() != Some(&ticket);
        self.moved.wait_while_for(&mut line, in_front, timeout);
        if line.waiting.front() == Some(&ticket) {
            return Some(Pass(Arc::clone(self)));
        }
        line.waiting.retain(|waiting| *waiting != ticket);
        None
    }
}

/// The right to write; dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "dropping the pass lets the next writer in"]
pub(crate) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.line.lock().waiting.pop_front();
        self.0.moved.notify_all();
    }
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
}
