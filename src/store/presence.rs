//! Proof of life for stores in files: one kernel file lock per incarnation, in a folder.
//!
//! The kernel frees a lock when its process dies, however it dies, and never before: there is no
//! heartbeat to miss and no timeout to wait for.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::Incarnation;

/// What an incarnation lives as. The two lives of one incarnation end apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It holds claims.
    Consumer,
    /// It begins transactions.
    Manager,
}

/// How often a lock is tried before it counts as held.
const MOMENTS: usize = 1_000;

/// The locks that this process holds on behalf of one store, and the folder with everybody's.
pub(crate) struct Presences {
    folder: PathBuf,
    held: Arc<Held>,
}

/// What is held, and by which process: a fork inherits the map, but the locks are not its own.
struct Held {
    process: u32,
    locks: Mutex<BTreeMap<(Role, Incarnation), Lock>>,
}

/// A lock, and how many guards share it.
struct Lock {
    _file: File,
    guards: usize,
}

/// Holds the lock of one incarnation.
pub(crate) struct Guard {
    held: Arc<Held>,
    role: Role,
    incarnation: Incarnation,
    path: PathBuf,
}

impl Presences {
    /// Keeps locks in a folder, which is made if there is none, and clears away those of the dead.
    pub(crate) fn new(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let presences = Self {
            folder,
            held: Arc::new(Held {
                process: std::process::id(),
                locks: Mutex::default(),
            }),
        };
        presences.clean()?;
        Ok(presences)
    }

    /// Takes the lock of an incarnation, or shares it if this store holds it already; `None` if it is
    /// attended elsewhere.
    pub(crate) fn attend(&self, role: Role, incarnation: Incarnation) -> io::Result<Option<Guard>> {
        let path = self.path(role, incarnation);
        let mut locks = self.held.locks.lock();
        if let Some(lock) = locks.get_mut(&(role, incarnation)) {
            lock.guards += 1;
        } else {
            let Some(file) = lock_new(&path)? else {
                return Ok(None);
            };
            let lock = Lock {
                _file: file,
                guards: 1,
            };
            locks.insert((role, incarnation), lock);
        }
        drop(locks);
        Ok(Some(Guard {
            held: Arc::clone(&self.held),
            role,
            incarnation,
            path,
        }))
    }

    /// Whether this store holds the lock of an incarnation.
    pub(crate) fn is_attended(&self, role: Role, incarnation: Incarnation) -> bool {
        self.held.locks.lock().contains_key(&(role, incarnation))
    }

    /// Whether an incarnation is proved dead: nobody holds its lock, or there is none.
    pub(crate) fn is_departed(&self, role: Role, incarnation: Incarnation) -> io::Result<bool> {
        if self.is_attended(role, incarnation) {
            return Ok(false);
        }
        let file = match File::open(self.path(role, incarnation)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        try_lock(&file)
    }

    /// Removes the lock files of the dead: a missing one proves as much as a free one.
    fn clean(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Removed while it is held, so that whoever is about to take it sees that it is gone.
            if try_lock(&file)? {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, role: Role, incarnation: Incarnation) -> PathBuf {
        let role = match role {
            Role::Consumer => "consumer",
            Role::Manager => "manager",
        };
        self.folder.join(format!("{role}-{incarnation}.lock"))
    }
}

/// Makes and locks a file; `None` if somebody holds it. A file that was cleared away between the two
/// steps is made again.
fn lock_new(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        if !try_lock_patiently(&file)? {
            return Ok(None);
        }
        if is_same(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Whoever only asks if a lock is free holds it for a moment.
fn try_lock_patiently(file: &File) -> io::Result<bool> {
    for _ in 0..MOMENTS {
        if try_lock(file)? {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether an open file is still the one at a path.
#[cfg(unix)]
pub(crate) fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
pub(crate) fn is_same(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ends the proof of life. In a fork it does nothing: the life is the parent's.
impl Drop for Guard {
    fn drop(&mut self) {
        if std::process::id() != self.held.process {
            return;
        }
        let key = (self.role, self.incarnation);
        let mut locks = self.held.locks.lock();
        let Some(lock) = locks.get_mut(&key) else {
            return;
        };
        lock.guards -= 1;
        if lock.guards > 0 {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a lock file stays behind");
        }
        locks.remove(&key);
    }
}
