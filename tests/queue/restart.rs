//! What a process leaves behind in files, and what the next one makes of it.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use votive::queue::{Queue, Recovered, recover_older_than};
use votive::register::{Decision, Register};
use votive::resource::rusqlite::Database;
use votive::store::Store;
use votive::store::sqlite::{Options, SqliteStore};
use votive::txn::TransactionManager;

use crate::fixture::{greet, visible};

/// One start of a process: two stores, an application database with a register, and a manager.
struct Process {
    stores: [Arc<dyn Store>; 2],
    database: Database,
    manager: TransactionManager,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let open = |name: &str| -> Arc<dyn Store> {
            Arc::new(SqliteStore::open(folder.join(name), Options::default()).unwrap())
        };
        Database::migrate(folder.join("app.db")).unwrap();
        let database = Database::open(folder.join("app.db")).unwrap();
        let manager = TransactionManager::new();
        manager.registers().insert(Arc::new(database.clone()));
        Self {
            stores: [open("one.db"), open("two.db")],
            database,
            manager,
        }
    }

    fn queue(&self, store: usize) -> Queue {
        Queue::new(Arc::clone(&self.stores[store]), "default").unwrap()
    }

    /// Commits a greeting in each of these stores, and a row in the application database.
    fn commit(&self, stores: &[usize]) {
        let mut txn = self.manager.begin().unwrap();
        let session = self.database.join(&mut txn).unwrap();
        session
            .execute_batch("CREATE TABLE IF NOT EXISTS row (id); INSERT INTO row VALUES (1)")
            .unwrap();
        for &store in stores {
            let queue = self.queue(store);
            queue.enqueue(&mut txn, &greet("ann")).unwrap();
        }
        txn.commit().unwrap();
    }

    fn recover(&self) -> [Recovered; 2] {
        let recover = |store| recover_older_than(store, &self.manager, Duration::ZERO).unwrap();
        [recover(&self.stores[0]), recover(&self.stores[1])]
    }

    fn visible(&self) -> [Vec<String>; 2] {
        [visible(&*self.stores[0]), visible(&*self.stores[1])]
    }
}

#[test]
fn a_transaction_over_two_stores_and_a_database_outlives_its_process() {
    let folder = TempDir::new().unwrap();
    Process::start(folder.path()).commit(&[0, 1]);
    let next = Process::start(folder.path());
    assert_eq!(next.visible(), [["ann"], ["ann"]]);
    assert_eq!(next.recover().map(|recovered| recovered.in_doubt), [0, 0]);
}

#[test]
fn the_dead_leave_no_records_behind() {
    let folder = TempDir::new().unwrap();
    Process::start(folder.path()).commit(&[0, 1]);
    let next = Process::start(folder.path());
    assert_eq!(next.database.outcomes(None, 9).unwrap().len(), 1);
    next.recover();
    assert!(next.database.outcomes(None, 9).unwrap().is_empty());
    assert!(next.database.incarnations().unwrap().is_empty());
}

#[test]
fn the_living_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let first = Process::start(folder.path());
    first.commit(&[0, 1]);
    Process::start(folder.path()).recover();
    let incarnations = first.database.incarnations().unwrap();
    assert_eq!(incarnations.len(), 1);
    assert!(!incarnations[0].closed);
    first.commit(&[0, 1]);
}

#[test]
fn what_the_application_committed_is_published_after_its_process_died() {
    let folder = TempDir::new().unwrap();
    let first = Process::start(folder.path());
    first.commit(&[0]);
    let txn = first.manager.mint().unwrap();
    let store = &first.stores[1];
    let now = store.now().unwrap();
    let batch = crate::fixture::batch(&**store, "bob");
    store.stage(txn, first.database.id(), &batch, now).unwrap();
    let prepared = [store.id()];
    first
        .database
        .decide(txn, Decision::Committed, &prepared)
        .unwrap();
    drop(first);
    let next = Process::start(folder.path());
    assert_eq!(next.recover().map(|recovered| recovered.published), [0, 1]);
    assert_eq!(next.visible(), [["ann"], ["bob"]]);
}
