//! *Prepared*: rows in Postgres and tasks in a file, decided by the register beside the rows.
#![cfg(test)]

use std::thread;
use std::time::Duration;

use crossbeam_channel::tick;
use votive::id::TxnId;
use votive::queue::{Recovered, recover_older_than};
use votive::register::{Decision, Register, Tier};
use votive::resource::postgres::{Database, DatabaseError, Options};
use votive::store::Stage;
use votive::store::sqlite::SqliteStore;
use votive::txn::{CommitError, TransactionManager};
use votive_testbed::{Fault, Proxy};

use crate::fixture::{Fixture, Tasks, cause, fixture, impatience, note};

/// Rows behind a proxy, and tasks elsewhere.
struct Apart {
    fixture: Fixture,
    proxy: Proxy,
    database: Database,
    tasks: Tasks<SqliteStore>,
}

fn apart() -> Option<Apart> {
    let fixture = fixture()?.with_register();
    let (proxy, url) = fixture.through();
    let database = Database::open_with(&url, impatience()).unwrap();
    Some(Apart {
        tasks: fixture.tasks(),
        database,
        proxy,
        fixture,
    })
}

impl Apart {
    fn begin(&self) -> votive::txn::Transaction {
        let mut txn = self.fixture.manager.begin().unwrap();
        note(&self.database, &mut txn, "one").unwrap();
        self.tasks.enqueue(&mut txn, "one");
        txn
    }

    /// Recovers the store as another process would, which reaches the database directly.
    fn recover(&self) -> Recovered {
        let manager = TransactionManager::new();
        let direct = self.fixture.open_with(impatience());
        direct.introduce(manager.registers());
        recover_older_than(&self.tasks.shared(), &manager, Duration::ZERO).unwrap()
    }

    fn assert_both(&self) {
        assert_eq!(self.fixture.notes(), ["one"]);
        assert_eq!(self.tasks.texts(), ["one"]);
    }

    fn assert_neither(&self) {
        assert!(self.fixture.notes().is_empty() && self.tasks.texts().is_empty());
        assert!(self.tasks.store.in_doubt(None, 9).unwrap().is_empty());
    }
}

const COMMIT: &[u8] = b"COMMIT\0";

#[test]
fn rows_and_tasks_are_committed_together() {
    let Some(apart) = apart() else { return };
    let txn = apart.begin();
    assert!(apart.tasks.texts().is_empty());
    assert_eq!(txn.commit().unwrap().tier, Tier::Prepared);
    apart.assert_both();
}

#[test]
fn rows_and_tasks_are_aborted_together() {
    let Some(apart) = apart() else { return };
    apart.begin().abort().unwrap();
    apart.assert_neither();
}

#[test]
fn a_savepoint_takes_back_rows_and_tasks() {
    let Some(apart) = apart() else { return };
    let mut txn = apart.begin();
    let mut savepoint = txn.savepoint().unwrap();
    note(&apart.database, &mut savepoint, "undone").unwrap();
    apart.tasks.enqueue(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    apart.assert_both();
}

#[test]
fn an_enrolment_whose_answer_was_lost_keeps_nobody_from_what_begins_later() {
    let Some(apart) = apart() else { return };
    let mut txn = apart.fixture.manager.begin().unwrap();
    apart.proxy.arm(Fault::CutAnswer(COMMIT.to_vec()));
    note(&apart.database, &mut txn, "lost").unwrap_err();
    assert_eq!(apart.proxy.triggered(), 1);
    drop(txn);
    apart.begin().commit().unwrap();
    apart.assert_both();
}

#[test]
fn while_the_database_cannot_be_reached_the_incarnation_stays_the_same() {
    let Some(apart) = apart() else { return };
    let incarnation = apart.fixture.manager.incarnation();
    apart.proxy.refuse();
    for _ in 0..3 {
        let mut txn = apart.fixture.manager.begin().unwrap();
        note(&apart.database, &mut txn, "lost").unwrap_err();
    }
    assert_eq!(apart.fixture.manager.incarnation(), incarnation);
    apart.proxy.pass();
    apart.begin().commit().unwrap();
    apart.assert_both();
}

#[test]
fn a_commit_whose_answer_was_lost_is_resolved_by_the_register() {
    let Some(apart) = apart() else { return };
    let txn = apart.begin();
    apart.proxy.arm(Fault::CutAnswer(COMMIT.to_vec()));
    txn.commit().unwrap();
    assert_eq!(apart.proxy.triggered(), 1);
    apart.assert_both();
}

#[test]
fn a_commit_that_was_lost_itself_is_resolved_by_the_register() {
    let Some(apart) = apart() else { return };
    let txn = apart.begin();
    apart.proxy.arm(Fault::CutBefore(COMMIT.to_vec()));
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
    assert_eq!(apart.proxy.triggered(), 1);
    apart.assert_neither();
}

#[test]
fn a_commit_that_nobody_can_tell_of_is_settled_once_somebody_can() {
    let Some(apart) = apart() else { return };
    // Once the transaction has committed nobody else may write an outcome, until that is allowed again.
    let mut other = apart.fixture.raw();
    let trigger = "CREATE FUNCTION out_of_order() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''out of order''; END';
         CREATE TRIGGER out_of_order BEFORE INSERT ON votive.outcome
             FOR EACH ROW WHEN (NEW.outcome = 'abort') EXECUTE FUNCTION out_of_order()";
    other.batch_execute(trigger).unwrap();
    let txn = apart.begin();
    apart.proxy.arm(Fault::CutAnswer(COMMIT.to_vec()));
    assert!(matches!(txn.commit(), Err(CommitError::Undecided { .. })));
    assert!(apart.tasks.texts().is_empty());
    other
        .batch_execute("DROP TRIGGER out_of_order ON votive.outcome")
        .unwrap();
    assert_eq!(apart.fixture.manager.settle_undecided(), 0);
    apart.assert_both();
}

#[test]
fn recovery_publishes_what_committed_and_whose_process_died() {
    let Some(apart) = apart() else { return };
    let txn = left_by_the_dead(&apart);
    let holders = [apart.tasks.store.resource()];
    apart
        .database
        .decide(txn, Decision::Committed, &holders)
        .unwrap();
    assert_eq!(apart.recover().published, 1);
    assert_eq!(apart.tasks.texts(), ["left"]);
}

#[test]
fn recovery_discards_what_did_not_commit() {
    let Some(apart) = apart() else { return };
    let txn = left_by_the_dead(&apart);
    assert_eq!(apart.recover().discarded, 1);
    let late = apart
        .database
        .decide(txn, Decision::Committed, &[])
        .unwrap();
    assert_eq!(late.decision, Some(Decision::Aborted));
}

/// A batch that was staged by a process that died before it could commit.
fn left_by_the_dead(apart: &Apart) -> TxnId {
    let process = TransactionManager::new();
    let registers = process.registers();
    let txn = process.begin().unwrap().id();
    let now = votive::store::Inspect::now(&*apart.tasks.store).unwrap();
    registers
        .enroll(&apart.database, txn.incarnation, now)
        .unwrap();
    let register = apart.database.id();
    let batch = crate::fixture::batch("left", now);
    apart.tasks.store.stage(txn, register, &batch, now).unwrap();
    txn
}

#[test]
fn recovery_waits_for_a_commit_that_is_under_way() {
    let Some(apart) = apart() else { return };
    let txn = left_by_the_dead(&apart);
    let mut slow = apart.fixture.raw();
    let insert = "BEGIN; INSERT INTO votive.outcome (txn, incarnation, outcome, stores)
         SELECT decode($1, 'hex'), id, 'commit', '' FROM votive.incarnation";
    let (begin, insert) = insert.split_once(';').unwrap();
    slow.batch_execute(begin).unwrap();
    slow.execute(insert, &[&hex(txn)]).unwrap();
    assert_eq!(apart.recover().in_doubt, 1);
    slow.batch_execute("COMMIT").unwrap();
    assert_eq!(apart.recover().published, 1);
}

fn hex(txn: TxnId) -> String {
    txn.to_string().replace('-', "")
}

#[test]
fn recovery_that_was_faster_refuses_the_commit() {
    let Some(apart) = apart() else { return };
    let txn = apart.begin();
    apart
        .database
        .decide(txn.id(), Decision::Aborted, &[])
        .unwrap();
    let refused = txn.commit().unwrap_err();
    assert!(matches!(cause(&refused), DatabaseError::Decided(_)));
    apart.assert_neither();
}

#[test]
fn a_commit_waits_for_who_drops_its_incarnation_and_is_refused() {
    let Some(apart) = apart() else { return };
    let txn = apart.begin();
    let mut other = apart.fixture.raw();
    let incarnation = txn.id().incarnation.to_u64().cast_signed();
    let drop = format!("BEGIN; DELETE FROM votive.incarnation WHERE id = {incarnation}");
    other.batch_execute(&drop).unwrap();
    let refused = thread::scope(|threads| {
        let commit = threads.spawn(|| txn.commit().unwrap_err());
        let waiting = "SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let (mut watcher, again) = (apart.fixture.raw(), tick(Duration::from_millis(5)));
        while watcher.query(waiting, &[]).unwrap().is_empty() {
            again.recv().unwrap();
        }
        other.batch_execute("COMMIT").unwrap();
        commit.join().unwrap()
    });
    assert!(matches!(cause(&refused), DatabaseError::Gone { .. }));
    apart.assert_neither();
}

#[test]
fn a_dropped_incarnation_is_replaced_and_the_work_done_again() {
    let Some(apart) = apart() else { return };
    let mut incarnations = Vec::new();
    let ran = apart.fixture.manager.run(3, |txn| {
        note(&apart.database, txn, "one")?;
        apart.tasks.enqueue(txn, "one");
        if incarnations.is_empty() {
            apart.database.drop_incarnation(txn.id().incarnation)?;
        }
        incarnations.push(txn.id().incarnation);
        Ok::<_, votive::txn::BoxError>(())
    });
    ran.unwrap();
    assert_eq!(incarnations.len(), 2);
    assert_ne!(incarnations[0], incarnations[1]);
    apart.assert_both();
}

#[test]
fn a_database_whose_commits_may_be_lost_does_not_decide_for_others() {
    let Some(apart) = apart() else { return };
    let mut txn = apart.begin();
    let session = apart.database.join(&mut txn).unwrap();
    session
        .batch_execute("SET LOCAL synchronous_commit = off")
        .unwrap();
    let refused = txn.commit().unwrap_err();
    let told = crate::fixture::story(&refused);
    assert!(told.contains("synchronous_commit = off"), "{told}");
    apart.assert_neither();
}

#[test]
fn a_database_without_a_register_does_not_decide_for_others() {
    let Some(fixture) = fixture() else { return };
    let (database, tasks) = (fixture.open(), fixture.tasks());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    tasks.enqueue(&mut txn, "one");
    let refused = txn.commit().unwrap_err();
    assert!(matches!(cause(&refused), DatabaseError::NoRegister(_)));
    assert!(fixture.notes().is_empty() && tasks.texts().is_empty());
}

#[test]
fn a_clone_of_the_database_is_not_believed() {
    let Some(apart) = apart() else { return };
    let clone = apart.fixture.clone_database();
    let refused = Database::open_with(&clone, Options::default()).unwrap_err();
    assert!(matches!(refused, DatabaseError::Moved { .. }));
    Database::adopt(&clone, Options::default()).unwrap();
    Database::open(&clone).unwrap();
}

#[test]
fn an_owner_that_knows_forgets_its_records() {
    let Some(apart) = apart() else { return };
    apart.begin().commit().unwrap();
    assert_eq!(apart.fixture.count("votive.outcome"), 1);
    let store = apart.tasks.shared();
    let recovered = recover_older_than(&store, &apart.fixture.manager, Duration::ZERO).unwrap();
    assert_eq!(recovered.garbage.forgotten, 1);
    assert_eq!(apart.fixture.count("votive.outcome"), 0);
}
