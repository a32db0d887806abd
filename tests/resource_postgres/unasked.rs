//! Sessions of a database whose transactions change something one after the other, so that they are not asked.
#![cfg(test)]

use votive::register::Tier;
use votive::resource::postgres::{Database, DatabaseError};
use votive::resource::rusqlite;
use votive::store::Stage;
use votive::store::sqlite::SqliteStore;
use votive::txn::{BoxError, Transaction};

use crate::fixture::{Fixture, Tasks, cause, fixture, note};

/// How many transactions have changed something.
const BEFORE: usize = 20;

struct Accustomed {
    fixture: Fixture,
    database: Database,
    tasks: Tasks<SqliteStore>,
}

fn accustomed() -> Option<Accustomed> {
    let fixture = fixture()?.with_register();
    let (database, tasks) = (fixture.open(), fixture.tasks());
    let accustomed = Accustomed {
        fixture,
        database,
        tasks,
    };
    for _ in 0..BEFORE {
        accustomed.begin().commit().unwrap();
    }
    Some(accustomed)
}

impl Accustomed {
    fn begin(&self) -> Transaction {
        let mut txn = self.fixture.manager.begin().unwrap();
        note(&self.database, &mut txn, "one").unwrap();
        self.tasks.enqueue(&mut txn, "one");
        txn
    }

    fn assert_no_more_tasks(&self) {
        assert_eq!(self.tasks.texts().len(), BEFORE);
        assert!(self.tasks.store.in_doubt(None, 9).unwrap().is_empty());
    }
}

#[test]
fn who_has_ended_his_transaction_by_hand_is_refused_by_the_commit() {
    let Some(accustomed) = accustomed() else {
        return;
    };
    for how in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let mut txn = accustomed.begin();
        let session = accustomed.database.join(&mut txn).unwrap();
        session.batch_execute(how).unwrap();
        let refused = txn.commit().unwrap_err();
        assert!(matches!(cause(&refused), DatabaseError::Ended(_)), "{how}");
        accustomed.assert_no_more_tasks();
    }
}

#[test]
fn a_commit_that_may_be_lost_is_refused_by_itself() {
    let Some(accustomed) = accustomed() else {
        return;
    };
    let mut txn = accustomed.begin();
    let session = accustomed.database.join(&mut txn).unwrap();
    let lax = "SET LOCAL synchronous_commit = off";
    session.batch_execute(lax).unwrap();
    let refused = txn.commit().unwrap_err();
    let cause = cause(&refused);
    assert!(
        matches!(cause, DatabaseError::NotDurable { .. }),
        "{cause:?}"
    );
    accustomed.assert_no_more_tasks();
    assert_eq!(accustomed.fixture.notes().len(), BEFORE);
}

#[test]
fn a_transaction_that_has_failed_is_not_committed() {
    let Some(accustomed) = accustomed() else {
        return;
    };
    let mut txn = accustomed.begin();
    let session = accustomed.database.join(&mut txn).unwrap();
    session.batch_execute("SELECT 1 / 0").unwrap_err();
    txn.commit().unwrap_err();
    accustomed.assert_no_more_tasks();
    assert_eq!(accustomed.fixture.notes().len(), BEFORE);
    accustomed.begin().commit().unwrap();
    assert_eq!(accustomed.fixture.notes().len(), BEFORE + 1);
}

#[test]
fn one_that_may_only_read_is_asked_when_it_is_run_again() {
    let Some(accustomed) = accustomed() else {
        return;
    };
    let read = |txn: &mut Transaction| {
        let session = accustomed.database.join(txn)?;
        session.batch_execute("SET TRANSACTION READ ONLY; SELECT * FROM note")?;
        accustomed.tasks.enqueue(txn, "one");
        Ok::<(), BoxError>(())
    };
    accustomed.fixture.manager.run(2, read).unwrap();
    assert_eq!(accustomed.tasks.texts().len(), BEFORE + 1);
    assert_eq!(accustomed.fixture.notes().len(), BEFORE);
}

#[test]
fn one_that_only_read_is_asked_where_another_database_has_to_decide() {
    let Some(accustomed) = accustomed() else {
        return;
    };
    let file = accustomed.fixture.folder.path().join("other.db");
    let other = rusqlite::Database::open(file).unwrap();
    let mut txn = accustomed.fixture.manager.begin().unwrap();
    let session = accustomed.database.join(&mut txn).unwrap();
    session.query("SELECT text FROM note", &[]).unwrap();
    let session = other.join(&mut txn).unwrap();
    session.execute_batch("CREATE TABLE page (text)").unwrap();
    let committed = txn.commit().unwrap();
    assert_eq!(committed.tier, Tier::Enlisted);
}
