//! A queue decides for databases that can only prepare; its tasks wait until they have committed.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::TxnId;
use votive::queue::{Queue, Recovered, Settled, Wish, recover, recover_older_than, settle};
use votive::register::{Decision, Holder, Register, Tier};
use votive::store::{Kind, Stage};
use votive::txn::{CommitError, Committed, Transaction, TransactionManager};

use crate::database::Database;
use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, durable, greet, orphan, queue, stage, visible};

/// A queue, and two databases that can prepare.
struct World {
    store: Arc<Faulty>,
    queue: Queue,
    manager: TransactionManager,
    databases: [Arc<Database>; 2],
}

fn world() -> World {
    let (store, queue, manager) = durable();
    World {
        store,
        queue,
        manager,
        databases: [Database::new(1), Database::new(2)],
    }
}

impl World {
    /// Begins a transaction that enqueues and changes both databases.
    fn begin(&self) -> Transaction {
        let mut txn = self.manager.begin().unwrap();
        self.queue.enqueue(&mut txn, &greet("ann")).unwrap();
        for database in &self.databases {
            database.change(&mut txn);
        }
        txn
    }

    fn commit(&self) -> Result<Committed, CommitError> {
        self.begin().commit()
    }

    fn recover(&self) -> Recovered {
        recover_older_than(&as_store(&self.store), &self.manager, Duration::ZERO).unwrap()
    }

    /// What a process leaves that dies after staging and preparing.
    fn left_prepared(&self) -> TxnId {
        let txn = orphan(&*self.store);
        stage(&self.store, &*self.store, txn, "ann");
        for database in &self.databases {
            self.manager
                .registers()
                .insert_database(Arc::clone(database) as _);
            database.prepare(self.store.resource(), txn, Duration::ZERO);
        }
        txn
    }

    /// What a process leaves that dies after deciding.
    fn left_decided(&self) -> TxnId {
        let txn = self.left_prepared();
        let mut holders: Vec<_> = self.databases.iter().map(|each| each.resource()).collect();
        holders.push(self.store.resource());
        self.store
            .decide(txn, Decision::Committed, &holders)
            .unwrap();
        txn
    }

    fn both_committed(&self, txn: TxnId) -> bool {
        self.databases.iter().all(|each| each.has_committed(txn))
    }

    fn nothing_is_held(&self, txn: TxnId) -> bool {
        self.databases.iter().all(|each| !each.holds(txn))
            && self.store.in_doubt(None, 9).unwrap().is_empty()
    }
}

#[test]
fn two_databases_and_a_queue_commit_together() {
    let world = world();
    let committed = world.commit().unwrap();
    assert_eq!(committed.tier, Tier::Prepared);
    assert!(committed.pending.is_empty());
    assert!(world.both_committed(committed.txn));
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn no_task_is_visible_before_every_database_has_committed() {
    let world = world();
    for database in &world.databases {
        let store = Arc::clone(&world.store);
        let look = move || assert!(visible(&*store).is_empty());
        *database.on_commit.lock() = Some(Box::new(look));
    }
    let committed = world.commit().unwrap();
    assert!(committed.pending.is_empty());
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn a_database_that_cannot_prepare_undoes_everything() {
    let world = world();
    world.databases[1].set_down(true);
    let txn = world.begin();
    let id = txn.id();
    txn.commit().unwrap_err();
    assert!(world.nothing_is_held(id) && visible(&*world.store).is_empty());
}

#[test]
fn a_task_waits_for_a_database_that_went_away_after_the_decision() {
    let world = world();
    let last = Arc::clone(&world.databases[1]);
    let goes_away = move || last.set_down(true);
    *world.databases[0].on_commit.lock() = Some(Box::new(goes_away));
    let committed = world.commit().unwrap();
    assert_eq!(committed.pending.len(), 2, "the database and the queue");
    assert_eq!(world.recover().in_doubt, 1);
    assert!(visible(&*world.store).is_empty());
    world.databases[1].set_down(false);
    assert_eq!(world.recover().published, 1);
    assert!(world.both_committed(committed.txn));
}

#[test]
fn a_crash_between_the_decision_and_the_commits_is_recovered() {
    let world = world();
    let txn = world.left_decided();
    assert_eq!(world.recover().published, 1);
    assert!(world.both_committed(txn) && world.nothing_is_held(txn));
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn a_crash_before_the_decision_is_rolled_back_everywhere() {
    let world = world();
    let txn = world.left_prepared();
    let recovered = world.recover();
    assert_eq!(
        (recovered.discarded, recovered.databases.rolled_back),
        (1, 2)
    );
    assert!(world.nothing_is_held(txn) && !world.both_committed(txn));
    let late = world.store.decide(txn, Decision::Committed, &[]).unwrap();
    assert_eq!(late.decision, Some(Decision::Aborted));
}

#[test]
fn a_prepared_transaction_without_a_batch_is_rolled_back() {
    let world = world();
    let txn = world.left_prepared();
    world.store.discard(txn).unwrap();
    assert_eq!(world.recover().databases.rolled_back, 2);
    assert!(world.nothing_is_held(txn));
}

#[test]
fn what_a_database_prepared_a_moment_ago_is_left_to_its_owner() {
    let world = world();
    let txn = world.left_prepared();
    let recovered = recover(&as_store(&world.store), &world.manager).unwrap();
    assert_eq!(recovered.databases.rolled_back, 0);
    assert!(world.databases[0].holds(txn));
}

#[test]
fn what_another_deployment_prepared_is_left_alone() {
    let world = world();
    let theirs = Faulty::new(Tier::Enlisted);
    let txn = orphan(&*theirs);
    world
        .manager
        .registers()
        .insert_database(Arc::clone(&world.databases[0]) as _);
    world.databases[0].prepare(theirs.resource(), txn, Duration::from_secs(3_600));
    let recovered = world.recover();
    assert_eq!(recovered.databases, votive::queue::InDatabases::default());
    assert!(world.databases[0].holds(txn));
}

#[test]
fn an_unknown_database_keeps_the_batch_staged() {
    let world = world();
    world.left_decided();
    let store = as_store(&world.store);
    let stranger = TransactionManager::new();
    let recovered = recover_older_than(&store, &stranger, Duration::ZERO).unwrap();
    assert_eq!(recovered.in_doubt, 1);
    assert!(visible(&*world.store).is_empty());
}

#[test]
fn the_outcome_stays_until_the_databases_and_the_batch_are_settled() {
    let world = world();
    let txn = world.left_decided();
    world.store.departed.lock().push(txn.incarnation);
    world.databases[1].set_down(true);
    assert_eq!(world.recover().garbage.forgotten, 0);
    world.databases[1].set_down(false);
    assert_eq!(world.recover().garbage.forgotten, 1);
    assert!(world.store.outcomes(None, 9).unwrap().is_empty());
}

#[test]
fn an_owner_that_committed_leaves_no_record() {
    let world = world();
    world.commit().unwrap();
    assert_eq!(world.store.outcomes(None, 9).unwrap().len(), 1);
    assert_eq!(world.recover().garbage.forgotten, 1);
}

#[test]
fn a_transaction_that_recovery_has_aborted_is_refused() {
    let world = world();
    let txn = world.begin();
    let id = txn.id();
    let now = votive::time::Timestamp::EPOCH;
    let registers = world.manager.registers();
    registers
        .enroll(&*world.store, id.incarnation, now)
        .unwrap();
    // Recovery was wrong to suspect the owner dead, and fast.
    world.store.decide(id, Decision::Aborted, &[]).unwrap();
    txn.commit().unwrap_err();
    assert!(world.nothing_is_held(id) && visible(&*world.store).is_empty());
}

#[test]
fn a_decision_whose_answer_was_lost_is_asked_for() {
    let world = world();
    world.store.fail("decide", Fault::LostAfterwards);
    let committed = world.commit().unwrap();
    assert!(world.both_committed(committed.txn));
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn a_decision_that_was_lost_is_found_not_to_have_been_made() {
    let world = world();
    world.store.fail("decide", Fault::Lost);
    let txn = world.begin();
    let id = txn.id();
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
    assert!(world.nothing_is_held(id) && visible(&*world.store).is_empty());
}

#[test]
fn a_decision_that_nobody_can_tell_is_settled_later() {
    let world = world();
    world.store.fail("decide", Fault::LostAfterwards);
    world
        .store
        .fail("decide", Fault::Refused(Kind::Unavailable));
    let undecided = world.commit();
    assert!(matches!(undecided, Err(CommitError::Undecided { .. })));
    assert!(visible(&*world.store).is_empty());
    assert_eq!(world.manager.settle_undecided(), 0);
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn tasks_of_a_second_store_wait_for_the_databases_too() {
    let world = world();
    let other = Faulty::new(Tier::Enlisted);
    let mut txn = world.begin();
    let second = queue(&as_store(&other));
    second.enqueue(&mut txn, &greet("bob")).unwrap();
    let down = Arc::clone(&world.databases[1]);
    *world.databases[0].on_commit.lock() = Some(Box::new(move || down.set_down(true)));
    txn.commit().unwrap();
    assert!(visible(&*world.store).is_empty() && visible(&*other).is_empty());
    world.databases[1].set_down(false);
    world.recover();
    recover_older_than(&as_store(&other), &world.manager, Duration::ZERO).unwrap();
    assert_eq!(
        (visible(&*world.store), visible(&*other)),
        (vec!["ann".to_owned()], vec!["bob".to_owned()])
    );
}

#[test]
fn an_operator_who_commits_commits_the_databases_first() {
    let world = world();
    let txn = world.left_decided();
    let wish = Wish {
        decision: Decision::Committed,
        reason: "the process is gone",
        force: false,
    };
    let settled = settle(&as_store(&world.store), &world.manager, txn, wish).unwrap();
    assert_eq!(settled, Settled::ByRegister);
    assert!(world.both_committed(txn));
    assert_eq!(visible(&*world.store), ["ann"]);
}

#[test]
fn a_database_alone_is_asked_to_commit_at_once() {
    let world = world();
    let mut txn = world.manager.begin().unwrap();
    world.databases[0].change(&mut txn);
    let error = txn.commit().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "it was asked to decide");
}
