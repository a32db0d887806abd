//! *Preparing*: rows in two databases and tasks in a file, whose store decides.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::TxnId;
use votive::queue::{InDatabases, Recovered, recover_older_than};
use votive::register::{Decision, Preparing, Register, Tier};
use votive::resource::postgres::{Database, DatabaseError};
use votive::store::sqlite::SqliteStore;
use votive::store::{Inspect, Stage};
use votive::txn::{CommitError, Transaction, TransactionManager};
use votive_testbed::{Fault, Postgres, Proxy, or_skip, postgres};

use crate::fixture::{
    Fixture, Tasks, batch, cause, connect, fixture, make_database, note, notes_at, story,
};

/// Two databases that can prepare, one of them behind a proxy, and a queue.
struct World {
    fixture: Fixture,
    urls: [String; 2],
    proxy: Proxy,
    databases: [Database; 2],
    tasks: Tasks<SqliteStore>,
}

fn world() -> Option<World> {
    let fixture = fixture()?;
    let second = fixture.server.url_of(&make_database(fixture.server));
    let (proxy, through) = fixture.through();
    Some(World {
        databases: [&through, &second].map(|url| Database::preparing(url).unwrap()),
        urls: [fixture.url(), second],
        tasks: fixture.tasks(),
        proxy,
        fixture,
    })
}

impl World {
    fn begin(&self) -> Transaction {
        let mut txn = self.fixture.manager.begin().unwrap();
        for database in &self.databases {
            note(database, &mut txn, "one").unwrap();
        }
        self.tasks.enqueue(&mut txn, "one");
        txn
    }

    fn notes(&self) -> [Vec<String>; 2] {
        self.urls.each_ref().map(|url| notes_at(url))
    }

    /// What the server holds of this world's databases.
    fn prepared(&self) -> usize {
        let mut listed = Vec::new();
        for url in &self.urls {
            listed.extend(Database::preparing(url).unwrap().prepared().unwrap());
        }
        listed.len()
    }

    fn assert_all(&self) {
        assert_eq!(self.notes(), [["one"], ["one"]]);
        assert_eq!(self.tasks.texts(), ["one"]);
        self.assert_nothing_is_held();
    }

    fn assert_none(&self) {
        assert!(self.notes().iter().all(Vec::is_empty));
        assert!(self.tasks.texts().is_empty());
        self.assert_nothing_is_held();
    }

    fn assert_nothing_is_held(&self) {
        assert_eq!(self.prepared(), 0);
        assert!(self.tasks.store.in_doubt(None, 9).unwrap().is_empty());
    }

    /// Recovers as a process would that knows these databases.
    fn recover(&self, databases: &[&Database]) -> Recovered {
        let manager = TransactionManager::new();
        for database in databases {
            database.introduce(manager.registers());
        }
        recover_older_than(&self.tasks.shared(), &manager, Duration::ZERO).unwrap()
    }

    fn recover_all(&self) -> Recovered {
        let [first, second] = &self.databases;
        self.recover(&[first, second])
    }

    /// What a process leaves that dies when it has prepared and staged.
    fn left_prepared(&self) -> TxnId {
        let process = TransactionManager::new();
        let txn = process.begin().unwrap().id();
        let (store, now) = (&self.tasks.store, self.tasks.store.now().unwrap());
        store.enroll(txn.incarnation, now).unwrap();
        for url in &self.urls {
            prepare(url, store.id(), txn);
        }
        store
            .stage(txn, store.id(), &batch("one", now), now)
            .unwrap();
        txn
    }

    /// What a process leaves that dies when it has decided.
    fn left_decided(&self) -> TxnId {
        let txn = self.left_prepared();
        let store = &self.tasks.store;
        let mut holders: Vec<_> = self.databases.iter().map(Database::id).collect();
        holders.push(store.id());
        store.decide(txn, Decision::Committed, &holders).unwrap();
        txn
    }
}

/// Prepares a note, as a process does that dies then.
fn prepare(url: &str, register: votive::id::ResourceId, txn: TxnId) {
    let mut client = connect(url);
    let own = "SELECT oid FROM pg_database WHERE datname = current_database()";
    let oid: u32 = client.query_one(own, &[]).unwrap().get(0);
    let prepare = format!(
        "BEGIN; INSERT INTO note (text) VALUES ('one'); PREPARE TRANSACTION 'votive:{register}:{txn}:{oid}'"
    );
    client.batch_execute(&prepare).unwrap();
}

#[test]
fn two_databases_and_a_queue_commit_together() {
    let Some(world) = world() else { return };
    let txn = world.begin();
    let committed = txn.commit().unwrap();
    assert_eq!(
        (committed.tier, committed.pending),
        (Tier::Prepared, vec![])
    );
    world.assert_all();
}

#[test]
fn two_databases_and_a_queue_abort_together() {
    let Some(world) = world() else { return };
    world.begin().abort().unwrap();
    world.assert_none();
}

#[test]
fn a_database_that_only_read_is_left_out() {
    let Some(world) = world() else { return };
    let mut txn = world.fixture.manager.begin().unwrap();
    let session = world.databases[0].join(&mut txn).unwrap();
    session.query("SELECT 1", &[]).unwrap();
    world.tasks.enqueue(&mut txn, "one");
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
}

#[test]
fn a_database_alone_commits_in_one_step() {
    let Some(world) = world() else { return };
    let mut txn = world.fixture.manager.begin().unwrap();
    note(&world.databases[0], &mut txn, "one").unwrap();
    assert_eq!(txn.commit().unwrap().tier, Tier::Enlisted);
    assert_eq!(world.notes()[0], ["one"]);
}

#[test]
fn a_promise_whose_answer_is_lost_is_a_no_and_is_taken_back() {
    let Some(world) = world() else { return };
    for fault in [Fault::CutAnswer, Fault::CutBefore] {
        let txn = world.begin();
        world.proxy.arm(fault(b"PREPARE TRANSACTION".to_vec()));
        assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
        world.assert_none();
    }
    assert_eq!(world.proxy.triggered(), 2);
}

#[test]
fn a_commit_whose_answer_is_lost_is_made_once() {
    let Some(world) = world() else { return };
    for fault in [Fault::CutAnswer, Fault::CutBefore] {
        let txn = world.begin();
        world.proxy.arm(fault(b"COMMIT PREPARED".to_vec()));
        assert_eq!(txn.commit().unwrap().pending, Vec::<String>::new());
    }
    assert_eq!(world.proxy.triggered(), 2);
    assert_eq!(world.notes(), [["one", "one"], ["one", "one"]]);
    assert_eq!(world.tasks.texts(), ["one", "one"]);
}

#[test]
fn a_crash_between_the_decision_and_the_commits_is_recovered() {
    let Some(world) = world() else { return };
    world.left_decided();
    assert_eq!(world.recover_all().published, 1);
    world.assert_all();
    assert_eq!(world.recover_all().published, 0);
}

#[test]
fn a_crash_before_the_decision_is_rolled_back() {
    let Some(world) = world() else { return };
    let txn = world.left_prepared();
    let recovered = world.recover_all();
    assert_eq!(
        (recovered.discarded, recovered.databases.rolled_back),
        (1, 2)
    );
    world.assert_none();
    let late = world.tasks.store.decide(txn, Decision::Committed, &[]);
    assert_eq!(late.unwrap().decision, Some(Decision::Aborted));
}

#[test]
fn a_prepared_transaction_without_a_batch_is_rolled_back() {
    let Some(world) = world() else { return };
    let txn = world.left_prepared();
    world.tasks.store.discard(txn).unwrap();
    assert_eq!(world.recover_all().databases.rolled_back, 2);
    world.assert_none();
}

#[test]
fn a_database_that_is_out_of_reach_keeps_the_batch_staged() {
    let Some(world) = world() else { return };
    world.left_decided();
    world.proxy.refuse();
    let recovered = world.recover_all();
    assert_eq!((recovered.published, recovered.in_doubt), (0, 1));
    assert_eq!(world.notes(), [vec![], vec!["one".to_owned()]]);
    assert!(world.tasks.texts().is_empty());
    world.proxy.pass();
    assert_eq!(world.recover_all().published, 1);
    world.assert_all();
}

#[test]
fn a_process_that_does_not_know_a_database_leaves_the_batch_staged() {
    let Some(world) = world() else { return };
    world.left_decided();
    let recovered = world.recover(&[&world.databases[1]]);
    assert_eq!((recovered.published, recovered.in_doubt), (0, 1));
    assert!(world.tasks.texts().is_empty());
}

#[test]
fn a_second_deployment_never_resolves_another_s_transactions() {
    let Some(world) = world() else { return };
    let txn = world.left_prepared();
    let theirs = Tasks::of(Arc::new(other_store(&world.fixture)));
    let manager = TransactionManager::new();
    for database in &world.databases {
        database.introduce(manager.registers());
    }
    let recovered = recover_older_than(&theirs.shared(), &manager, Duration::ZERO).unwrap();
    assert_eq!(recovered.databases, InDatabases::default());
    assert_eq!(world.prepared(), 2);
    let mut holders: Vec<_> = world.databases.iter().map(Database::id).collect();
    holders.push(world.tasks.store.id());
    world
        .tasks
        .store
        .decide(txn, Decision::Committed, &holders)
        .unwrap();
    world.recover_all();
    world.assert_all();
}

fn other_store(fixture: &Fixture) -> SqliteStore {
    let file = fixture.folder.path().join("theirs.db");
    SqliteStore::open(file, votive::store::sqlite::Options::default()).unwrap()
}

#[test]
fn a_clone_of_a_database_says_nothing_of_what_the_original_holds() {
    let Some(world) = world() else { return };
    // A clone has no prepared transactions, which must not be taken for their having been committed.
    let clone = Database::preparing(&world.fixture.clone_database()).unwrap();
    world.left_decided();
    assert_ne!(clone.id(), world.databases[0].id());
    let recovered = world.recover(&[&clone, &world.databases[1]]);
    assert_eq!((recovered.published, recovered.in_doubt), (0, 1));
    assert!(world.tasks.texts().is_empty());
    world.recover_all();
    world.assert_all();
}

#[test]
fn an_outcome_goes_when_neither_the_batch_nor_a_database_is_in_doubt() {
    let Some(world) = world() else { return };
    world.begin().commit().unwrap();
    let store = &world.tasks.store;
    assert_eq!(store.outcomes(None, 9).unwrap().len(), 1);
    world.proxy.refuse();
    let recover = || {
        let manager = &world.fixture.manager;
        recover_older_than(&world.tasks.shared(), manager, Duration::ZERO).unwrap()
    };
    assert_eq!(recover().garbage.forgotten, 0, "one cannot be asked");
    world.proxy.pass();
    assert_eq!(recover().garbage.forgotten, 1);
    assert!(store.outcomes(None, 9).unwrap().is_empty());
}

/// How a server that is set up so refuses to promise. Nothing is left of the transaction.
fn refused_on(options: postgres::Options) -> Option<CommitError> {
    let server = or_skip(Postgres::start(options))?;
    let fixture = fixture()?;
    let url = server.url_of(&make_database(&server));
    let (database, tasks) = (Database::preparing(&url).unwrap(), fixture.tasks());
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    tasks.enqueue(&mut txn, "one");
    let refused = txn.commit().unwrap_err();
    assert!(notes_at(&url).is_empty() && tasks.texts().is_empty());
    Some(refused)
}

#[test]
fn a_server_that_keeps_no_prepared_transactions_is_refused_by_the_name_of_the_setting() {
    let options = postgres::Options::default().setting("max_prepared_transactions", "0");
    let Some(refused) = refused_on(options) else {
        return;
    };
    assert!(matches!(cause(&refused), DatabaseError::CannotPrepare(_)));
    assert!(story(&refused).contains("max_prepared_transactions"));
}

#[test]
fn a_server_that_may_lose_what_it_has_prepared_is_refused_by_the_name_of_the_setting() {
    let options = postgres::Options::default().setting("max_prepared_transactions", "9");
    let Some(refused) = refused_on(options.setting("fsync", "off")) else {
        return;
    };
    assert!(matches!(cause(&refused), DatabaseError::NotDurable { .. }));
    assert!(story(&refused).contains("fsync = off"));
}

#[test]
fn a_promise_waits_for_the_disk_whatever_commits_do() {
    let Some(world) = world() else { return };
    let mut txn = world.begin();
    let session = world.databases[1].join(&mut txn).unwrap();
    let lax = "SET LOCAL synchronous_commit = off";
    session.batch_execute(lax).unwrap();
    assert_eq!(txn.commit().unwrap().tier, Tier::Prepared);
    world.assert_all();
}

#[test]
fn a_transaction_that_cannot_be_prepared_is_refused() {
    let Some(world) = world() else { return };
    let mut txn = world.begin();
    let session = world.databases[0].join(&mut txn).unwrap();
    session
        .batch_execute("CREATE TEMPORARY TABLE passing (id int)")
        .unwrap();
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
    world.assert_none();
}

#[test]
fn a_server_that_is_killed_between_the_promise_and_the_commit_keeps_the_promise() {
    let options = postgres::Options::default().setting("max_prepared_transactions", "9");
    let Some(server) = or_skip(Postgres::start(options)) else {
        return;
    };
    let Some(fixture) = fixture() else { return };
    let url = server.url_of(&make_database(&server));
    let database = Database::preparing(&url).unwrap();
    let tasks = fixture.tasks();
    let txn = TransactionManager::new().begin().unwrap().id();
    let now = tasks.store.now().unwrap();
    tasks.store.enroll(txn.incarnation, now).unwrap();
    prepare(&url, tasks.store.id(), txn);
    tasks
        .store
        .stage(txn, tasks.store.id(), &batch("one", now), now)
        .unwrap();
    let holders = [database.id(), tasks.store.id()];
    tasks
        .store
        .decide(txn, Decision::Committed, &holders)
        .unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    let manager = TransactionManager::new();
    database.introduce(manager.registers());
    let recovered = recover_older_than(&tasks.shared(), &manager, Duration::ZERO).unwrap();
    assert_eq!(recovered.published, 1);
    assert_eq!(
        (notes_at(&url), tasks.texts()),
        (vec!["one".into()], vec!["one".into()])
    );
}
