//! The register in an application's database: made once, asked on a connection of its own.
#![cfg(test)]

use votive::id::{Incarnation, TxnId};
use votive::register::{Decision, Register, RegisterErrorKind, Standing};
use votive::resource::postgres::{Database, DatabaseError, Options, statements};
use votive::time::Timestamp;

use crate::fixture::{Fixture, Promising, fixture, impatience, note};

/// A transaction of an incarnation that is enrolled.
fn enrolled(database: &Database) -> TxnId {
    let txn = TxnId {
        incarnation: Incarnation::random(),
        sequence: 1,
    };
    database.enroll(txn.incarnation, Timestamp::EPOCH).unwrap();
    txn
}

#[test]
fn a_second_migration_changes_nothing() {
    let Some(fixture) = fixture() else { return };
    let made = Database::migrate(&fixture.url(), Options::default()).unwrap();
    let again = Database::migrate(&fixture.url(), Options::default()).unwrap();
    assert_eq!((made, fixture.open().id()), (again, made));
}

#[test]
fn many_that_migrate_at_once_make_one_register() {
    let Some(fixture) = fixture() else { return };
    let url = fixture.url();
    let migrate = || Database::migrate(&url, Options::default()).unwrap();
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(migrate)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(made.iter().all(|id| *id == fixture.open().id()));
}

#[test]
fn the_statements_that_are_printed_make_a_register() {
    let Some(fixture) = fixture() else { return };
    fixture
        .raw()
        .batch_execute(&statements("elsewhere").unwrap())
        .unwrap();
    let options = Options::default().schema("elsewhere");
    let id = Database::migrate(&fixture.url(), options.clone()).unwrap();
    assert_eq!(fixture.open_with(options).id(), id);
}

#[test]
fn whoever_runs_needs_no_more_than_to_read_insert_and_delete() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let role = format!("worker_{}", fixture.name);
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA votive TO {role};
         GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA votive TO {role};
         GRANT UPDATE ON votive.incarnation TO {role};
         GRANT ALL ON note, note_id_seq TO {role}"
    );
    fixture.raw().batch_execute(&grants).unwrap();
    let url = fixture.url().replace("postgres@", &format!("{role}@"));
    let database = Database::open(&url).unwrap();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    Promising::join(&mut txn);
    let id = txn.commit().unwrap().txn;
    database.close(id.incarnation).unwrap();
    assert_eq!(database.forget(&[id]).unwrap(), 1);
    assert!(database.drop_incarnation(id.incarnation).unwrap());
}

#[test]
fn the_first_writer_wins() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open();
    let txn = enrolled(&database);
    for want in [Decision::Aborted, Decision::Committed] {
        let answer = database.decide(txn, want, &[]).unwrap();
        assert_eq!(answer.decision, Some(Decision::Aborted));
        assert_eq!(answer.standing, Standing::Open);
    }
}

#[test]
fn a_decision_lists_those_who_promised() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    let promising = Promising::join(&mut txn);
    let id = txn.commit().unwrap().txn;
    let rows = database.outcomes(None, 9).unwrap();
    assert_eq!((rows[0].txn, &rows[0].stores), (id, &vec![promising]));
}

#[test]
fn the_records_of_lone_commits_go_with_the_next_and_with_the_process() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open();
    for _ in 0..5 {
        let mut txn = fixture.manager.begin().unwrap();
        note(&database, &mut txn, "one").unwrap();
        txn.commit().unwrap();
    }
    assert_eq!(fixture.count("votive.outcome"), 1);
    drop(database);
    let url = fixture.url();
    // The manager's registers are the last that hold the database.
    drop(fixture.manager);
    let rest = crate::fixture::connect(&url).query("SELECT FROM votive.outcome", &[]);
    assert!(rest.unwrap().is_empty());
}

#[test]
fn a_question_waits_for_a_lock_no_longer_than_it_was_told_to() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = fixture.open_with(impatience());
    let txn = enrolled(&database);
    let mut other = fixture.raw();
    other
        .batch_execute("BEGIN; LOCK TABLE votive.outcome")
        .unwrap();
    let locked = database.decide(txn, Decision::Aborted, &[]).unwrap_err();
    assert_eq!(locked.kind, RegisterErrorKind::Locked);
    other.batch_execute("ROLLBACK").unwrap();
    database.decide(txn, Decision::Aborted, &[]).unwrap();
}

#[test]
fn a_register_that_is_out_of_reach_says_so_and_is_asked_again_later() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let (proxy, url) = fixture.through();
    let database = Database::open(&url).unwrap();
    let txn = enrolled(&database);
    proxy.refuse();
    let lost = database.decide(txn, Decision::Aborted, &[]).unwrap_err();
    assert_eq!(lost.kind, RegisterErrorKind::Unreachable);
    proxy.pass();
    database.decide(txn, Decision::Aborted, &[]).unwrap();
}

#[test]
fn a_database_without_a_register_cannot_be_asked() {
    let Some(fixture) = fixture() else { return };
    let database = fixture.open();
    let txn = TxnId {
        incarnation: Incarnation::random(),
        sequence: 1,
    };
    let refused = database.decide(txn, Decision::Aborted, &[]).unwrap_err();
    assert_eq!(refused.kind, RegisterErrorKind::Unusable);
}

#[test]
fn nothing_is_adopted_that_holds_no_register() {
    let Some(fixture) = fixture() else { return };
    let refused = Database::adopt(&fixture.url(), Options::default()).unwrap_err();
    assert!(matches!(refused, DatabaseError::NoRegister(_)));
}

/// The server's processes behind the connections of the database that is opened by [`named`].
fn backends(fixture: &Fixture) -> Vec<i32> {
    let select = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 ORDER BY pid";
    let mut client = fixture.server.client().unwrap();
    let rows = client.query(select, &[&fixture.name]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Opens a database by connections that bear its name, and asks its register.
fn named(fixture: &Fixture) -> Database {
    let url = format!("{}?application_name={}", fixture.url(), fixture.name);
    let database = Database::open(&url).unwrap();
    database.incarnations().unwrap();
    database
}

#[test]
fn a_register_that_is_asked_on_an_asynchronous_thread_refuses_and_keeps_its_connection() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = named(&fixture);
    let before = backends(&fixture);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let refused = runtime.block_on(async { database.incarnations() });
    assert!(refused.is_err());
    database.incarnations().unwrap();
    assert_eq!(backends(&fixture), before);
}

#[test]
fn a_fork_leaves_the_register_s_connection_to_its_parent() {
    let Some(fixture) = fixture().map(Fixture::with_register) else {
        return;
    };
    let database = named(&fixture);
    let before = backends(&fixture);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let refused = database.incarnations().is_err();
            drop(database);
            std::process::exit(if refused { 7 } else { 1 });
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            assert_eq!(fork::WEXITSTATUS(status), 7);
        }
    }
    database.incarnations().unwrap();
    assert_eq!(backends(&fixture), before);
}
