//! A session and the transaction that it joined end together.
#![cfg(test)]

use std::error::Error;
use std::time::Duration;

use rusqlite::Connection;
use votive::resource::rusqlite::{Database, DatabaseError, Options};
use votive::txn::{BoxError, Cancellation, CommitError};

use crate::fixture::{cause, fixture, impatience, note};

#[test]
fn others_see_a_session_s_rows_when_it_has_committed() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    assert!(fixture.notes().is_empty());
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
}

#[test]
fn an_aborted_or_dropped_session_leaves_nothing() {
    let fixture = fixture();
    let database = fixture.impatient();
    let mut aborted = fixture.manager.begin().unwrap();
    note(&database, &mut aborted, "one").unwrap();
    aborted.abort().unwrap();
    let mut dropped = fixture.manager.begin().unwrap();
    note(&database, &mut dropped, "two").unwrap();
    drop(dropped);
    assert!(fixture.notes().is_empty());
}

#[test]
fn joining_again_lends_the_same_connection() {
    let fixture = fixture();
    let database = fixture.impatient();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    note(&database, &mut txn, "two").unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one", "two"]);
}

#[test]
fn going_back_to_a_savepoint_takes_back_what_came_after_it() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "kept").unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    for _ in 0..2 {
        note(&database, &mut savepoint, "undone").unwrap();
        savepoint.rollback().unwrap();
    }
    drop(savepoint);
    note(&database, &mut txn, "also kept").unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["kept", "also kept"]);
}

#[test]
fn a_savepoint_nests_in_another() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "kept").unwrap();
    let mut outer = txn.savepoint().unwrap();
    let mut inner = outer.savepoint().unwrap();
    note(&database, &mut inner, "undone with the outer one").unwrap();
    drop(inner);
    outer.rollback().unwrap();
    drop(outer);
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["kept"]);
}

#[test]
fn a_conflict_over_the_write_lock_is_retried() {
    let fixture = fixture();
    let database = fixture.impatient();
    let other = fixture.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut attempts = 0;
    let run = fixture.manager.run(3, |txn| {
        attempts += 1;
        if attempts == 2 {
            other.execute_batch("COMMIT")?;
        }
        note(&database, txn, "one")
    });
    run.unwrap();
    assert_eq!((attempts, fixture.notes().len()), (2, 1));
}

#[test]
fn a_conflict_inside_a_deferred_transaction_is_retried() {
    let fixture = fixture();
    let database = fixture.open(impatience().deferred(true));
    let mut attempts = 0;
    let run = fixture.manager.run(3, |txn| -> Result<(), BoxError> {
        attempts += 1;
        let session = database.join(txn)?;
        session.query_row("SELECT count(*) FROM note", [], |_| Ok(()))?;
        if attempts == 1 {
            fixture
                .raw()
                .execute("INSERT INTO note VALUES ('theirs')", [])?;
        }
        session.execute("INSERT INTO note VALUES ('ours')", [])?;
        Ok(())
    });
    run.unwrap();
    assert_eq!(fixture.notes(), ["theirs", "ours"]);
}

#[test]
fn two_threads_of_a_process_take_turns() {
    let fixture = fixture();
    let database = fixture.open(Options::default().busy_timeout(Duration::from_secs(60)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut txn = fixture.manager.begin().unwrap();
                    note(&database, &mut txn, "one").unwrap();
                    txn.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.notes().len(), 40);
}

#[test]
fn a_session_that_was_ended_by_hand_is_refused() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session.execute_batch("COMMIT").unwrap();
    let error = txn.commit().unwrap_err();
    assert!(matches!(cause(&error), DatabaseError::Ended(_)));
}

#[test]
fn a_constraint_that_fails_at_the_commit_refuses_it() {
    let fixture = fixture();
    let raw = fixture.raw();
    raw.execute_batch(
        "CREATE TABLE page (note REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE parent (id PRIMARY KEY);",
    )
    .unwrap();
    let database = fixture.impatient();
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session
        .execute_batch("INSERT INTO page VALUES (1)")
        .unwrap();
    let refused = txn.commit().unwrap_err();
    assert!(matches!(
        refused,
        CommitError::Refused {
            retryable: false,
            ..
        }
    ));
    assert_eq!(fixture.count("page"), 0);
}

#[test]
fn a_reader_in_the_way_of_the_commit_is_a_conflict() {
    let fixture = fixture();
    let database = fixture.open(impatience().wal(false));
    let reader = fixture.raw();
    reader.execute_batch("BEGIN; SELECT * FROM note").unwrap();
    reader
        .query_row("SELECT count(*) FROM note", [], |_| Ok(()))
        .unwrap();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    let refused = txn.commit().unwrap_err();
    assert!(matches!(
        refused,
        CommitError::Refused {
            retryable: true,
            ..
        }
    ));
    reader.execute_batch("COMMIT").unwrap();
    assert!(fixture.notes().is_empty());
}

#[test]
fn a_deferred_session_that_only_read_leaves() {
    let fixture = fixture();
    let database = fixture.open(impatience().deferred(true));
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session
        .query_row("SELECT count(*) FROM note", [], |_| Ok(()))
        .unwrap();
    let forecast = txn.plan().unwrap().commit_point;
    assert_eq!(forecast, Some(database.id()));
    let other = fixture.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_deferred_session_that_wrote_only_to_an_attached_file_is_committed() {
    let fixture = fixture();
    let attached = fixture.folder.path().join("attached.db");
    let attach = format!("ATTACH '{}' AS beside", attached.display());
    let options = impatience().deferred(true);
    let database = fixture.open(options.setup(move |connection| connection.execute_batch(&attach)));
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session
        .execute_batch("CREATE TABLE beside.page (text); INSERT INTO page VALUES ('one')")
        .unwrap();
    txn.commit().unwrap();
    let attached = Connection::open(attached).unwrap();
    let count = attached.query_row("SELECT count(*) FROM page", [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(1));
}

#[test]
fn two_databases_cannot_be_committed_together() {
    let fixture = fixture();
    let other = Database::open(fixture.folder.path().join("other.db")).unwrap();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    other.join(&mut txn).unwrap();
    let error = txn.commit().unwrap_err();
    let text = error.source().unwrap().to_string();
    assert!(
        text.contains("app.db") && text.contains("other.db"),
        "{text}"
    );
    assert!(fixture.notes().is_empty());
}

#[test]
fn a_database_that_is_no_file_is_refused() {
    for path in [":memory:", ""] {
        let error = Database::open(path).unwrap_err();
        assert!(matches!(error, DatabaseError::NotAFile(_)), "{error}");
    }
}

#[test]
fn a_database_of_a_lost_folder_is_refused() {
    let error = Database::open("/nonexistent/app.db").unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/app.db could not be opened");
}

#[test]
fn a_copy_is_refused_until_it_is_adopted() {
    let fixture = fixture().with_register();
    let id = fixture.open(Options::default()).id();
    let copy = fixture.folder.path().join("copy.db");
    std::fs::copy(fixture.path(), &copy).unwrap();
    let error = Database::open(&copy).unwrap_err();
    assert!(error.to_string().contains("--adopt`"));
    Database::adopt(&copy).unwrap();
    assert_eq!(Database::open(&copy).unwrap().id(), id);
}

#[test]
fn nothing_is_adopted_that_holds_no_register() {
    let fixture = fixture();
    let error = Database::adopt(fixture.path()).unwrap_err();
    assert!(matches!(error, DatabaseError::NoRegister(_)));
    let missing = fixture.folder.path().join("missing.db");
    Database::adopt(&missing).unwrap_err();
    assert!(!missing.exists());
}

#[test]
fn a_second_migration_changes_nothing() {
    let fixture = fixture().with_register();
    let id = fixture.open(Options::default()).id();
    assert_eq!(Database::migrate(fixture.path()).unwrap(), id);
}

#[test]
fn a_statement_that_is_running_ends_when_its_work_is_cancelled() {
    let fixture = fixture();
    let (running, started) = crossbeam_channel::unbounded();
    let database = fixture.open(Options::default().setup(move |connection| {
        let running = running.clone();
        connection.progress_handler(1_000, Some(move || running.send(()).is_err()))
    }));
    let cancellation = Cancellation::new();
    let mut txn = fixture.manager.begin().unwrap();
    txn.set_data(cancellation.clone());
    let session = database.join(&mut txn).unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
         SELECT count(*) FROM n";
    std::thread::scope(|scope| {
        scope.spawn(|| started.recv().map(|()| cancellation.cancel()));
        session.query_row(endless, [], |_| Ok(())).unwrap_err();
    });
}

#[test]
fn a_transaction_belongs_to_the_process_that_began_it() {
    let fixture = fixture();
    let database = fixture.open(Options::default());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let refused = txn.commit().is_err_and(|error| {
                matches!(error, CommitError::Refused { .. })
                    && matches!(cause(&error), DatabaseError::Forked(_))
            });
            std::process::exit(if refused { 7 } else { 1 });
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            assert_eq!(fork::WEXITSTATUS(status), 7);
        }
    }
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
}
