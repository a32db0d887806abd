//! What the tests have in common: one server for all of them, and databases of their own.
#![cfg(test)]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postgres::{Client, NoTls};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use votive::Task;
use votive::id::{ResourceId, TaskId};
use votive::queue::Queue;
use votive::resource::postgres::{Database, DatabaseError, Options};
use votive::store::postgres::{self as store, PostgresStore};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{Batch, Change, Filter, Listed, Store};
use votive::task::{Payload, PayloadLimits, Record};
use votive::time::Timestamp;
use votive::txn::{
    Answer, BoxError, DataManager, PrepareInfo, Prepared, Role, TransactionManager, Vote, Work,
};
use votive_testbed::{Postgres, Proxy, or_skip, postgres as server};

/// The server of all tests, where it is installed.
fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let options = server::Options::default().setting("max_prepared_transactions", "64");
    SERVER
        .get_or_init(|| or_skip(Postgres::start(options)))
        .as_ref()
}

/// A database with one table, and a manager of transactions.
pub(crate) struct Fixture {
    pub(crate) server: &'static Postgres,
    pub(crate) name: String,
    pub(crate) manager: TransactionManager,
    pub(crate) folder: TempDir,
}

pub(crate) fn fixture() -> Option<Fixture> {
    let server = shared()?;
    let fixture = Fixture {
        name: make_database(server),
        server,
        manager: TransactionManager::new(),
        folder: tempfile::tempdir().unwrap(),
    };
    Some(fixture)
}

/// Makes a database that no other test has, and returns its name.
pub(crate) fn make_database(server: &Postgres) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("app_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let url = server.create_database(&name).unwrap();
    let table = "CREATE TABLE note (id serial, text text)";
    connect(&url).batch_execute(table).unwrap();
    name
}

/// A connection that knows nothing of votive.
pub(crate) fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

/// What the notes in the database at `url` say, in the order of their making.
pub(crate) fn notes_at(url: &str) -> Vec<String> {
    let rows = connect(url).query("SELECT text FROM note ORDER BY id", &[]);
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

impl Fixture {
    pub(crate) fn url(&self) -> String {
        self.server.url_of(&self.name)
    }

    pub(crate) fn raw(&self) -> Client {
        connect(&self.url())
    }

    pub(crate) fn open(&self) -> Database {
        Database::open(&self.url()).unwrap()
    }

    pub(crate) fn open_with(&self, options: Options) -> Database {
        Database::open_with(&self.url(), options).unwrap()
    }

    /// Opens the database through a proxy.
    pub(crate) fn through(&self) -> (Proxy, String) {
        let proxy = Proxy::start(self.server.address()).unwrap();
        let url = self.server.url_at(proxy.address(), &self.name);
        (proxy, url)
    }

    pub(crate) fn with_register(self) -> Self {
        Database::migrate(&self.url(), Options::default()).unwrap();
        self
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        notes_at(&self.url())
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.raw().query_one(&sql, &[]).unwrap().get(0)
    }

    /// Clones the database, and returns the address of the clone.
    pub(crate) fn clone_database(&self) -> String {
        let clone = format!("{}_clone", self.name);
        let mut server = self.server.client().unwrap();
        // Nobody may be connected to what is cloned, and a connection takes a moment to end.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        let command = format!("CREATE DATABASE {clone} TEMPLATE {}", self.name);
        while server.batch_execute(&command).is_err() {
            server.execute(end, &[&self.name]).unwrap();
        }
        self.server.url_of(&clone)
    }

    /// A store in the database itself, and its default queue.
    pub(crate) fn tasks_inside(&self) -> Tasks<PostgresStore> {
        let store = PostgresStore::open(&self.url(), store::Options::default());
        Tasks::of(Arc::new(store.unwrap()))
    }

    /// A store in a file, and its default queue.
    pub(crate) fn tasks(&self) -> Tasks<SqliteStore> {
        let file = self.folder.path().join("tasks.db");
        let store = SqliteStore::open(file, sqlite::Options::default());
        Tasks::of(Arc::new(store.unwrap()))
    }
}

/// Does not wait for locks.
pub(crate) fn impatience() -> Options {
    Options::default()
        .lock_timeout(Duration::from_millis(50))
        .register_timeout(Duration::from_millis(50))
}

pub(crate) fn note(database: &Database, work: &mut Work, text: &str) -> Result<(), BoxError> {
    let session = database.join(work)?;
    session.execute("INSERT INTO note (text) VALUES ($1)", &[&text])?;
    Ok(())
}

/// Another store, which promises whatever it is asked to.
pub(crate) struct Promising(ResourceId);

impl Promising {
    pub(crate) fn join(work: &mut Work) -> ResourceId {
        let id = ResourceId::random();
        work.join_with(id, |_| Ok(Self(id))).unwrap();
        id
    }
}

impl DataManager for Promising {
    fn role(&self) -> Role {
        Role::TwoPhase(self.0)
    }
    fn sort_key(&self) -> Result<String, BoxError> {
        Ok("promising".to_owned())
    }
    fn prepare(&mut self, _: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        Ok(Prepared::Work)
    }
    fn vote(&mut self, _: Vote<'_>) -> Answer {
        Answer::Ok
    }
    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    fn abort(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Finds the database's own error among what an error was caused by.
pub(crate) fn cause<'e>(error: &'e (dyn Error + 'static)) -> &'e DatabaseError {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
        .unwrap()
}

/// All that an error says, to the last cause.
pub(crate) fn story(error: &(dyn Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A task that says what it is about.
#[derive(Serialize, Deserialize)]
pub(crate) struct Remind {
    pub(crate) text: String,
}

impl Task for Remind {
    const KIND: &'static str = "remind";
}

pub(crate) fn remind(text: &str) -> Remind {
    Remind {
        text: text.to_owned(),
    }
}

/// A batch with one task.
pub(crate) fn batch(text: &str, now: Timestamp) -> Batch {
    let payload = Payload::encode(&remind(text), PayloadLimits::default()).unwrap();
    let record = Record::new(TaskId::new(now), "default", Remind::KIND, payload, now);
    Batch::new(vec![Change::Insert(Box::new(record))])
}

/// A store, and its default queue.
pub(crate) struct Tasks<S> {
    pub(crate) store: Arc<S>,
    pub(crate) queue: Queue,
}

impl<S: Store + 'static> Tasks<S> {
    pub(crate) fn of(store: Arc<S>) -> Self {
        Self {
            queue: Queue::new(Arc::clone(&store) as _, "default").unwrap(),
            store,
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    pub(crate) fn enqueue(&self, work: &mut Work, text: &str) {
        self.queue.enqueue(work, &remind(text)).unwrap();
    }

    /// What the visible tasks say, in the order of their enqueueing.
    pub(crate) fn texts(&self) -> Vec<String> {
        let page = self.store.scan(&Filter::default(), None, 100).unwrap();
        let text = |listed: &Listed| listed.record.payload.decode::<Remind>().unwrap().text;
        page.tasks.iter().map(text).collect()
    }
}
