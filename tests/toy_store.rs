//! The toy store of the examples passes the suite of the contract, as any store does.
#![cfg(test)]

#[path = "../examples/toy_store/book.rs"]
mod book;
#[path = "../examples/toy_store/changes.rs"]
mod changes;
#[path = "../examples/toy_store/dispatch.rs"]
mod dispatch;
#[path = "../examples/toy_store/store.rs"]
mod store;

use std::sync::Arc;

use tempfile::TempDir;
use votive::conformance::Harness;
use votive::store::Store;
use votive::time::ManualClock;

use crate::store::ToyStore;

struct Toy(TempDir);

impl Harness for Toy {
    fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
        let path = self.0.path().join("tasks.toy");
        Arc::new(ToyStore::open(&path, Arc::new(clock.clone())).unwrap())
    }

    /// What is acknowledged is in the file, so a crash leaves what closing leaves.
    fn reopen_after_crash(
        &self,
        store: Arc<dyn Store>,
        clock: &ManualClock,
    ) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.open(clock))
    }
}

votive::conformance!(Toy(tempfile::tempdir().unwrap()));
