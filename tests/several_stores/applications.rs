//! A queue in one store and the application's rows in another: a row and its task, or neither.
#![cfg(test)]

use std::sync::Arc;

use ::postgres::{Client, NoTls};
use rusqlite::Connection;
use votive::id::ResourceId;
use votive::register::Tier;
use votive::resource::postgres;
use votive::resource::rusqlite::Database;
use votive::store::Store;
use votive::txn::{TransactionManager, Work};

use crate::fixture::{Backend, Ground, greet, queue, recover_now, refuse, visible};

/// `needs` refers to what is never there, which is noticed at the COMMIT.
const TABLES: &str = "
    CREATE TABLE nobody (id INTEGER PRIMARY KEY);
    CREATE TABLE note (name TEXT, needs INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED)";

/// An application's database.
trait Application {
    fn id(&self) -> ResourceId;

    /// Writes a row in a transaction, which is refused at the commit if that is wanted.
    fn write(&self, work: &mut Work, name: &str, is_refused: bool);

    /// The rows that are committed.
    fn rows(&self) -> Vec<String>;

    /// Makes its register known.
    fn introduce(&self, manager: &TransactionManager);

    /// Whether it decides, rather than the queue.
    fn decides(&self) -> bool;
}

impl Application for Database {
    fn id(&self) -> ResourceId {
        Self::id(self)
    }

    fn write(&self, work: &mut Work, name: &str, is_refused: bool) {
        let row = (name, is_refused.then_some(1));
        self.join(work)
            .unwrap()
            .execute("INSERT INTO note VALUES (?1, ?2)", row)
            .unwrap();
    }

    fn rows(&self) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut select = connection.prepare("SELECT name FROM note").unwrap();
        let names = select.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    fn introduce(&self, manager: &TransactionManager) {
        manager.registers().insert(Arc::new(self.clone()));
    }

    fn decides(&self) -> bool {
        true
    }
}

struct InPostgres {
    url: String,
    database: postgres::Database,
    decides: bool,
}

impl InPostgres {
    fn new(url: String, database: postgres::Database, decides: bool) -> Self {
        Client::connect(&url, NoTls)
            .unwrap()
            .batch_execute(TABLES)
            .unwrap();
        Self {
            url,
            database,
            decides,
        }
    }
}

impl Application for InPostgres {
    fn id(&self) -> ResourceId {
        self.database.id()
    }

    fn write(&self, work: &mut Work, name: &str, is_refused: bool) {
        let needs = is_refused.then_some(1_i32);
        let session = self.database.join(work).unwrap();
        session
            .execute("INSERT INTO note VALUES ($1, $2)", &[&name, &needs])
            .unwrap();
    }

    fn rows(&self) -> Vec<String> {
        let mut client = Client::connect(&self.url, NoTls).unwrap();
        let rows = client.query("SELECT name FROM note", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn introduce(&self, manager: &TransactionManager) {
        self.database.introduce(manager.registers());
    }

    fn decides(&self) -> bool {
        self.decides
    }
}

/// A kind of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    /// Decides.
    Postgres,
    /// Promises.
    Preparing,
}

struct Pair {
    application: Box<dyn Application>,
    store: Arc<dyn Store>,
    manager: TransactionManager,
    _ground: Ground,
}

impl Pair {
    /// Opens both, or nothing if the server of one is not installed.
    fn open(kind: Kind, backend: Backend) -> Option<Self> {
        let ground = Ground::new();
        let application: Box<dyn Application> = match kind {
            Kind::Sqlite => {
                let path = ground.file("application");
                Database::migrate(&path).unwrap();
                Connection::open(&path)
                    .unwrap()
                    .execute_batch(TABLES)
                    .unwrap();
                Box::new(Database::open(&path).unwrap())
            }
            Kind::Postgres => {
                let url = Ground::database()?;
                postgres::Database::migrate(&url, postgres::Options::default()).unwrap();
                let database = postgres::Database::open(&url).unwrap();
                Box::new(InPostgres::new(url, database, true))
            }
            Kind::Preparing => {
                let url = Ground::database()?;
                let database = postgres::Database::preparing(&url).unwrap();
                Box::new(InPostgres::new(url, database, false))
            }
        };
        let (store, manager) = (ground.store(backend, "tasks")?, TransactionManager::new());
        Some(Self {
            application,
            store,
            manager,
            _ground: ground,
        })
    }

    fn write(&self, work: &mut Work, name: &str) {
        self.application.write(work, name, false);
        queue(&self.store).enqueue(work, &greet(name)).unwrap();
    }

    fn found(&self) -> [Vec<String>; 2] {
        [self.application.rows(), visible(&*self.store)]
    }
}

fn a_commit_reaches_both(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "ann");
    assert_eq!(pair.found(), [[""; 0]; 2]);
    let committed = txn.commit().unwrap();
    assert_eq!(pair.found(), [["ann"]; 2]);
    assert_eq!(committed.tier, Tier::Prepared);
    assert!(committed.pending.is_empty());
}

fn who_can_not_promise_decides(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "ann");
    let plan = txn.plan().unwrap();
    let (application, store) = (pair.application.id(), pair.store.id());
    let expected = if pair.application.decides() {
        (Some(application), vec![store])
    } else {
        (Some(store), vec![application])
    };
    assert_eq!((plan.commit_point, plan.prepared), expected);
    assert_eq!(plan.tier, Tier::Prepared);
    txn.abort().unwrap();
}

fn an_abort_reaches_neither(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "ann");
    txn.abort().unwrap();
    assert_eq!(pair.found(), [[""; 0]; 2]);
}

fn what_the_application_refuses_the_queue_has_not(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.application.write(&mut txn, "ann", true);
    queue(&pair.store).enqueue(&mut txn, &greet("ann")).unwrap();
    assert!(txn.commit().is_err());
    assert_eq!(pair.found(), [[""; 0]; 2]);
    assert!(pair.store.in_doubt(None, 10).unwrap().is_empty());
}

fn what_the_queue_refuses_the_application_has_not(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "ann");
    refuse(&pair.store, &mut txn);
    assert!(txn.commit().is_err());
    assert_eq!(pair.found(), [[""; 0]; 2]);
}

fn a_savepoint_takes_back_from_both(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "kept");
    let mut savepoint = txn.savepoint().unwrap();
    pair.write(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(pair.found(), [["kept"]; 2]);
}

fn recovery_finds_nothing_to_do_after_a_commit(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.write(&mut txn, "ann");
    txn.commit().unwrap();
    let manager = TransactionManager::new();
    pair.application.introduce(&manager);
    let recovered = recover_now(&pair.store, &manager);
    assert_eq!(
        (recovered.published, recovered.discarded, recovered.in_doubt),
        (0, 0, 0)
    );
    assert_eq!(pair.found(), [["ann"]; 2]);
}

/// Makes a test of every story for each pair.
macro_rules! pairs {
    ($($pair:ident: application $kind:expr, queue $backend:expr;)*) => {
        $(mod $pair {
            use super::{Backend, Kind, Pair};

            pairs! { @ $kind, $backend,
                a_commit_reaches_both
                who_can_not_promise_decides
                an_abort_reaches_neither
                what_the_application_refuses_the_queue_has_not
                what_the_queue_refuses_the_application_has_not
                a_savepoint_takes_back_from_both
                recovery_finds_nothing_to_do_after_a_commit
            }
        })*
    };
    (@ $kind:expr, $backend:expr, $($story:ident)*) => {
        $(
            #[test]
            fn $story() {
                if let Some(pair) = Pair::open($kind, $backend) {
                    super::$story(&pair);
                }
            }
        )*
    };
}

pairs! {
    sqlite_with_sqlite: application Kind::Sqlite, queue Backend::Sqlite;
    sqlite_with_redis: application Kind::Sqlite, queue Backend::Redis;
    sqlite_with_file: application Kind::Sqlite, queue Backend::File;
    sqlite_with_postgres: application Kind::Sqlite, queue Backend::Postgres;
    postgres_with_sqlite: application Kind::Postgres, queue Backend::Sqlite;
    postgres_with_file: application Kind::Postgres, queue Backend::File;
    postgres_with_redis: application Kind::Postgres, queue Backend::Redis;
    postgres_with_postgres: application Kind::Postgres, queue Backend::Postgres;
    preparing_with_sqlite: application Kind::Preparing, queue Backend::Sqlite;
    preparing_with_file: application Kind::Preparing, queue Backend::File;
    preparing_with_redis: application Kind::Preparing, queue Backend::Redis;
    preparing_with_postgres: application Kind::Preparing, queue Backend::Postgres;
}
