//! *Prepared*: rows in one file and tasks in another, decided by the register beside the rows.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::TxnId;
use votive::queue::recover_older_than;
use votive::register::{Decision, Register, Tier};
use votive::resource::rusqlite::Options;
use votive::store::Stage;
use votive::txn::TransactionManager;

use crate::fixture::{Pair, fixture, undecided};

fn apart() -> Pair {
    let fixture = fixture().with_register();
    Pair {
        tasks: fixture.tasks("tasks.db"),
        database: fixture.open(Options::default()),
        fixture,
    }
}

#[test]
fn rows_and_tasks_in_two_files_are_committed_together() {
    let apart = apart();
    let mut txn = apart.begin();
    apart.write(&mut txn, "one");
    assert!(apart.tasks.texts().is_empty());
    assert_eq!(txn.commit().unwrap().tier, Tier::Prepared);
    apart.assert_both(&["one"]);
}

#[test]
fn rows_and_tasks_in_two_files_are_aborted_together() {
    let apart = apart();
    let mut txn = apart.begin();
    apart.write(&mut txn, "one");
    txn.abort().unwrap();
    apart.assert_both(&[]);
}

#[test]
fn a_savepoint_takes_back_rows_and_tasks_in_both_files() {
    let apart = apart();
    let mut txn = apart.begin();
    apart.write(&mut txn, "kept");
    let mut savepoint = txn.savepoint().unwrap();
    apart.write(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    apart.assert_both(&["kept"]);
}

#[test]
fn a_refused_decision_discards_the_staged_tasks() {
    let apart = apart();
    let mut txn = apart.begin();
    let session = apart.database.join(&mut txn).unwrap();
    session.execute_batch("ROLLBACK; BEGIN; ROLLBACK").unwrap();
    apart.tasks.enqueue(&mut txn, "one");
    assert!(txn.commit().is_err());
    assert!(apart.tasks.store.in_doubt(None, 9).unwrap().is_empty());
    assert!(apart.tasks.texts().is_empty());
}

/// Recovers the store as another process would, which knows the database but not its transactions.
fn recover(apart: &Pair) -> (usize, usize) {
    let manager = TransactionManager::new();
    manager.registers().insert(Arc::new(apart.database.clone()));
    let store = Arc::clone(&apart.tasks.store) as _;
    let recovered = recover_older_than(&store, &manager, Duration::ZERO).unwrap();
    assert_eq!(recovered.in_doubt, 0);
    (recovered.published, recovered.discarded)
}

/// A transaction whose process does not know how its commit ended.
fn in_doubt(apart: &Pair) -> TxnId {
    let (_, txn) = undecided(&apart.fixture, |work| apart.tasks.enqueue(work, "one"));
    assert_eq!(apart.tasks.store.in_doubt(None, 9).unwrap().len(), 1);
    txn
}

#[test]
fn recovery_discards_what_the_register_knows_nothing_of() {
    let apart = apart();
    in_doubt(&apart);
    assert_eq!(recover(&apart), (0, 1));
    assert!(apart.tasks.texts().is_empty());
}

#[test]
fn recovery_publishes_what_the_register_says_was_committed() {
    let apart = apart();
    let txn = in_doubt(&apart);
    let stores = [apart.tasks.store.resource()];
    apart
        .database
        .decide(txn, Decision::Committed, &stores)
        .unwrap();
    assert_eq!(recover(&apart), (1, 0));
    assert_eq!(apart.tasks.texts(), ["one"]);
}

#[test]
fn a_store_stays_in_doubt_while_the_register_is_unknown() {
    let apart = apart();
    in_doubt(&apart);
    let store = Arc::clone(&apart.tasks.store) as _;
    let recovered = recover_older_than(&store, &TransactionManager::new(), Duration::ZERO);
    assert_eq!(recovered.unwrap().in_doubt, 1);
}

#[test]
fn records_are_forgotten_as_their_tasks_are_published() {
    let apart = apart();
    for _ in 0..70 {
        let mut txn = apart.begin();
        apart.write(&mut txn, "one");
        txn.commit().unwrap();
    }
    assert_eq!(
        (apart.fixture.notes().len(), apart.tasks.texts().len()),
        (70, 70)
    );
    assert!(apart.fixture.count("votive_outcome") < 64);
}

#[test]
fn the_application_may_be_away_without_its_tasks_being_lost() {
    let apart = apart();
    let txn = in_doubt(&apart);
    let away = apart.fixture.folder.path().join("away.db");
    std::fs::rename(apart.fixture.path(), &away).unwrap();
    let manager = TransactionManager::new();
    manager.registers().insert(Arc::new(apart.database.clone()));
    let store = Arc::clone(&apart.tasks.store) as _;
    let recovered = recover_older_than(&store, &manager, Duration::ZERO).unwrap();
    assert_eq!(recovered.in_doubt, 1, "{txn}");
    assert!(apart.tasks.texts().is_empty());
}
