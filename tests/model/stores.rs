//! The stores that programs run against, and what a crash leaves of them.
#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use votive::store::Store;
use votive::store::memory::MemoryStore;
use votive::store::sqlite::{Options, SqliteStore};
use votive::time::ManualClock;

/// Where two stores are.
pub(crate) enum Home {
    Memory,
    Files(TempDir),
}

impl Home {
    pub(crate) fn open(&self, clock: &ManualClock) -> Vec<Arc<dyn Store>> {
        (0..2).map(|store| self.open_one(store, clock)).collect()
    }

    fn open_one(&self, store: usize, clock: &ManualClock) -> Arc<dyn Store> {
        match self {
            Self::Memory => Arc::new(MemoryStore::with_clock(Arc::new(clock.clone()))),
            Self::Files(folder) => {
                let options = Options::default().clock(clock.clone());
                Arc::new(SqliteStore::open(file(folder, store, ""), options).unwrap())
            }
        }
    }

    /// Whether the stores outlive their process.
    pub(crate) fn outlives(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// Runs `end`, which closes the stores, as if their process had died before it: the files are what
    /// they were, and the locks are gone.
    pub(crate) fn crash(&self, end: impl FnOnce()) {
        let Self::Files(folder) = self else {
            return end();
        };
        let names = (0..2).flat_map(|store| ["", "-wal"].map(|suffix| file(folder, store, suffix)));
        let left: Vec<_> = names.map(|name| (fs::read(&name).unwrap(), name)).collect();
        end();
        for (content, name) in left {
            fs::write(name, content).unwrap();
        }
        for store in 0..2 {
            fs::remove_dir_all(file(folder, store, "-votive")).unwrap();
        }
    }
}

fn file(folder: &TempDir, store: usize, suffix: &str) -> PathBuf {
    folder.path().join(format!("{store}.db{suffix}"))
}
