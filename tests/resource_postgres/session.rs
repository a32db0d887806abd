//! A session and the transaction that it joined end together.
#![cfg(test)]

use std::time::Duration;

use votive::resource::postgres::{Database, DatabaseError, Isolation, Options};
use votive::txn::{BoxError, Cancellation, CommitError, Transaction};

use crate::fixture::{Fixture, cause, fixture, impatience, make_database, note, story};

#[test]
fn others_see_a_session_s_rows_when_it_has_committed() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    assert!(fixture.notes().is_empty());
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
}

#[test]
fn an_aborted_or_dropped_session_leaves_nothing() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
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
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    note(&database, &mut txn, "two").unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one", "two"]);
}

/// Writes a note by a statement that is prepared once.
fn note_cached(database: &Database, txn: &mut Transaction, text: &str) -> Result<(), BoxError> {
    let session = database.join(txn)?;
    let insert = session.prepare_cached("INSERT INTO note (text) VALUES ($1)")?;
    session.execute(&insert, &[&text])?;
    Ok(())
}

#[test]
fn a_cached_statement_is_prepared_once_for_many_transactions() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    for text in ["one", "two", "three"] {
        let run = |txn: &mut Transaction| note_cached(&database, txn, text);
        fixture.manager.run(1, run).unwrap();
    }
    assert_eq!(fixture.notes(), ["one", "two", "three"]);
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    let prepared =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO note%'";
    let count: i64 = session.query_one(prepared, &[]).unwrap().get(0);
    assert_eq!(count, 1);
}

#[test]
fn a_cached_statement_that_the_server_has_dropped_is_prepared_anew_by_the_next_transaction() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note_cached(&database, &mut txn, "lost").unwrap();
    let session = database.join(&mut txn).unwrap();
    session.batch_execute("DEALLOCATE ALL").unwrap();
    note_cached(&database, &mut txn, "lost").unwrap_err();
    drop(txn);
    let mut txn = fixture.manager.begin().unwrap();
    note_cached(&database, &mut txn, "one").unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
}

#[test]
fn going_back_to_a_savepoint_takes_back_what_came_after_it() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
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
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
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
fn a_savepoint_outlives_a_statement_that_failed() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "kept").unwrap();
    let mut savepoint = txn.savepoint().unwrap();
    let session = database.join(&mut savepoint).unwrap();
    session
        .execute("INSERT INTO nowhere VALUES (1)", &[])
        .unwrap_err();
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(fixture.notes(), ["kept"]);
}

#[test]
fn a_failed_statement_that_was_ignored_refuses_the_commit() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "lost").unwrap();
    let session = database.join(&mut txn).unwrap();
    session
        .execute("INSERT INTO nowhere VALUES (1)", &[])
        .unwrap_err();
    let refused = txn.commit().unwrap_err();
    assert!(matches!(refused, CommitError::Refused { .. }));
    assert!(fixture.notes().is_empty());
}

#[test]
fn a_conflict_over_a_lock_is_retried() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open_with(impatience());
    let mut other = fixture.raw();
    other.batch_execute("BEGIN; LOCK TABLE note").unwrap();
    let mut attempts = 0;
    let run = fixture.manager.run(3, |txn| {
        attempts += 1;
        if attempts == 2 {
            other.batch_execute("COMMIT")?;
        }
        note(&database, txn, "one")
    });
    run.unwrap();
    assert_eq!((attempts, fixture.notes().len()), (2, 1));
}

#[test]
fn a_commit_that_is_refused_since_its_incarnation_went_meanwhile_may_be_run_again_as_another() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open_with(Options::default().isolation(Isolation::RepeatableRead));
    let before = fixture.manager.incarnation();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "lost").unwrap();
    let mut raw = fixture.raw();
    raw.batch_execute("DELETE FROM votive.incarnation").unwrap();
    let refused = txn.commit().unwrap_err();
    let is_retryable = matches!(
        refused,
        CommitError::Refused {
            retryable: true,
            ..
        }
    );
    assert!(is_retryable, "{refused:?}");
    assert_eq!(fixture.count("votive.outcome"), 0);
    let run = |txn: &mut Transaction| note(&database, txn, "kept");
    fixture.manager.run(3, run).unwrap();
    assert_ne!(fixture.manager.incarnation(), before);
    assert_eq!(fixture.notes(), ["kept"]);
}

#[test]
fn a_conflict_between_serializable_transactions_is_retried() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open_with(Options::default().isolation(Isolation::Serializable));
    fixture
        .raw()
        .batch_execute("INSERT INTO note (text) VALUES ('a')")
        .unwrap();
    let mut attempts = 0;
    let run = fixture.manager.run(3, |txn| -> Result<(), BoxError> {
        attempts += 1;
        let session = database.join(txn)?;
        session.query_one("SELECT text FROM note", &[])?;
        if attempts == 1 {
            fixture
                .raw()
                .batch_execute("UPDATE note SET text = 'theirs'")?;
        }
        session.execute("UPDATE note SET text = text || ' and ours'", &[])?;
        Ok(())
    });
    run.unwrap();
    assert_eq!(
        (attempts, fixture.notes()),
        (2, vec!["theirs and ours".to_owned()])
    );
}

#[test]
fn threads_of_a_process_have_connections_of_their_own() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
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
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    for how in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let mut txn = fixture.manager.begin().unwrap();
        let session = database.join(&mut txn).unwrap();
        session.batch_execute(how).unwrap();
        let refused = txn.commit().unwrap_err();
        assert!(matches!(cause(&refused), DatabaseError::Ended(_)), "{how}");
    }
}

#[test]
fn a_constraint_that_fails_at_the_commit_refuses_it() {
    let Some(fixture) = fixture() else { return };
    let constraint =
        "ALTER TABLE note ADD CONSTRAINT once UNIQUE (text) DEFERRABLE INITIALLY DEFERRED";
    fixture.raw().batch_execute(constraint).unwrap();
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "same").unwrap();
    note(&database, &mut txn, "same").unwrap();
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
    let mut next = fixture.manager.begin().unwrap();
    note(&database, &mut next, "other").unwrap();
    next.commit().unwrap();
    assert_eq!(fixture.notes(), ["other"]);
}

#[test]
fn a_session_that_only_read_leaves_no_record() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    let session = database.join(&mut txn).unwrap();
    session.query("SELECT text FROM note", &[]).unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.count("votive.outcome"), 0);
}

#[test]
fn two_databases_that_decide_cannot_be_committed_together() {
    let Some(fixture) = fixture() else { return };
    let names = [fixture.name.clone(), make_database(fixture.server)];
    let databases = names.each_ref().map(|name| {
        let url = fixture.server.url_of(name);
        Database::open(&url).unwrap()
    });
    let mut txn = fixture.manager.begin().unwrap();
    for database in &databases {
        note(database, &mut txn, "one").unwrap();
    }
    let refused = txn.commit().unwrap_err();
    let story = story(&refused);
    assert!(names.iter().all(|name| story.contains(name)), "{story}");
}

#[test]
fn a_connection_that_was_cut_while_idle_is_replaced() {
    let Some(fixture) = fixture() else { return };
    let (proxy, url) = fixture.through();
    let database = Database::open(&url).unwrap();
    for text in ["one", "two"] {
        let mut txn = fixture.manager.begin().unwrap();
        note(&database, &mut txn, text).unwrap();
        txn.commit().unwrap();
        proxy.cut();
    }
    assert_eq!(fixture.notes(), ["one", "two"]);
}

#[test]
fn a_database_is_named_without_user_and_password() {
    let Some(fixture) = fixture() else { return };
    let (proxy, url) = fixture.through();
    proxy.refuse();
    let secret = url.replace("postgres@", "postgres:hunter2@");
    let refused = Database::open_with(&secret, Options::default()).unwrap_err();
    let told = format!("{} {refused:?}", story(&refused));
    assert!(
        told.contains(&fixture.name) && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn an_address_that_is_none_is_told_without_its_password() {
    let refused = Database::open("postgres://me:hunter2@host/name?no_such_option=1").unwrap_err();
    let told = format!("{} {refused:?}", story(&refused));
    assert!(
        told.contains("no_such_option") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn a_statement_that_is_running_ends_when_its_work_is_cancelled() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let cancellation = Cancellation::new();
    let mut txn = fixture.manager.begin().unwrap();
    txn.set_data(cancellation.clone());
    let session = database.join(&mut txn).unwrap();
    std::thread::scope(|scope| {
        let mut watcher = fixture.raw();
        scope.spawn(move || {
            let asleep = "SELECT 1 FROM pg_stat_activity WHERE state = 'active'
                 AND query = 'SELECT pg_sleep(600)'";
            while watcher.query(asleep, &[]).unwrap().is_empty() {}
            cancellation.cancel();
        });
        session.query("SELECT pg_sleep(600)", &[]).unwrap_err();
    });
    txn.abort().unwrap();
    let mut next = fixture.manager.begin().unwrap();
    note(&database, &mut next, "one").unwrap();
    next.commit().unwrap();
}

#[test]
fn a_thread_of_an_asynchronous_runtime_is_refused_rather_than_stopped() {
    let Some(fixture) = fixture() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let database = fixture.open();
    runtime.block_on(async {
        let mut txn = fixture.manager.begin().unwrap();
        let refused = database.join(&mut txn).err().unwrap();
        assert!(matches!(cause(&refused), DatabaseError::Asynchronous(_)));
    });
}

#[test]
fn a_worker_of_a_runtime_of_many_threads_may_wait() {
    let Some(fixture) = fixture() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let (url, manager) = (fixture.url(), fixture.manager.clone());
    let committed = runtime.block_on(runtime.spawn(async move {
        let database = Database::open_with(&url, Options::default()).unwrap();
        let mut txn = manager.begin().unwrap();
        note(&database, &mut txn, "one").unwrap();
        txn.commit().map(drop).map_err(|error| story(&error))
    }));
    committed.unwrap().unwrap();
    assert_eq!(fixture.notes(), ["one"]);
}

#[test]
fn a_database_that_is_out_of_reach_says_so_in_time() {
    let Some(fixture) = fixture() else { return };
    let (proxy, url) = fixture.through();
    proxy.refuse();
    let options = Options::default().connect_timeout(Duration::from_secs(20));
    Database::open_with(&url, options).unwrap_err();
}

#[test]
fn a_transaction_belongs_to_the_process_that_began_it() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
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
