//! What the tests have in common.
#![cfg(test)]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use votive::Task;
use votive::id::{ResourceId, TxnId};
use votive::queue::Queue;
use votive::resource::rusqlite::{Database, DatabaseError, Options};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{Filter, Inspect, Listed};
use votive::txn::{
    Answer, BoxError, CommitError, DataManager, PrepareInfo, Prepared, Role, Transaction,
    TransactionManager, Vote, Work,
};

/// A database with one table, and a manager of transactions.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) manager: TransactionManager,
}

pub(crate) fn fixture() -> Fixture {
    let fixture = Fixture {
        folder: tempfile::tempdir().unwrap(),
        manager: TransactionManager::new(),
    };
    fixture
        .raw()
        .execute_batch("CREATE TABLE note (text)")
        .unwrap();
    fixture
}

impl Fixture {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// A connection that knows nothing of votive.
    pub(crate) fn raw(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        connection
    }

    pub(crate) fn open(&self, options: Options) -> Database {
        Database::open_with(self.path(), options).unwrap()
    }

    /// Opens the database without waiting for locks.
    pub(crate) fn impatient(&self) -> Database {
        self.open(impatience())
    }

    pub(crate) fn with_register(self) -> Self {
        Database::migrate(self.path()).unwrap();
        self
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let raw = self.raw();
        let mut select = raw.prepare("SELECT text FROM note ORDER BY rowid").unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.raw().query_row(&sql, [], |row| row.get(0)).unwrap()
    }
}

pub(crate) fn impatience() -> Options {
    Options::default()
        .busy_timeout(Duration::ZERO)
        .register_timeout(Duration::ZERO)
}

pub(crate) fn note(database: &Database, work: &mut Work, text: &str) -> Result<(), BoxError> {
    let session = database.join(work)?;
    session.execute("INSERT INTO note VALUES (?1)", [text])?;
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

/// A store in a file of the fixture's folder, and its default queue.
pub(crate) struct Tasks {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) queue: Queue,
}

impl Fixture {
    pub(crate) fn tasks(&self, file: &str) -> Tasks {
        let store = SqliteStore::open(self.folder.path().join(file), sqlite::Options::default());
        let store = Arc::new(store.unwrap());
        Tasks {
            queue: Queue::new(Arc::clone(&store) as _, "default").unwrap(),
            store,
        }
    }
}

impl Tasks {
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

/// An application's database, and the tasks that belong to its rows: in the same file, or in another.
pub(crate) struct Pair {
    pub(crate) fixture: Fixture,
    pub(crate) tasks: Tasks,
    pub(crate) database: Database,
}

impl Pair {
    /// Begins a transaction that does nothing yet.
    pub(crate) fn begin(&self) -> Transaction {
        self.fixture.manager.begin().unwrap()
    }

    /// Writes a row and enqueues a task that say the same.
    pub(crate) fn write(&self, work: &mut Work, text: &str) {
        note(&self.database, work, text).unwrap();
        self.tasks.enqueue(work, text);
    }

    /// Both the rows and the tasks say these texts.
    #[track_caller]
    pub(crate) fn assert_both(&self, texts: &[&str]) {
        assert_eq!(self.fixture.notes(), texts);
        assert_eq!(self.tasks.texts(), texts);
    }
}

/// A database whose COMMIT fails, and rolls back, while the switch is on.
pub(crate) fn failing(fixture: &Fixture) -> (Database, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&switch);
    let options = impatience().setup(move |connection| {
        let seen = Arc::clone(&seen);
        connection.commit_hook(Some(move || seen.swap(false, Ordering::SeqCst)))
    });
    (fixture.open(options), switch)
}

/// Loses the answer of the COMMIT of a note, and of whatever else `work` does, while the register
/// cannot be asked either.
pub(crate) fn undecided(fixture: &Fixture, work: impl FnOnce(&mut Work)) -> (Database, TxnId) {
    let (database, fail) = failing(fixture);
    let trigger = "CREATE TRIGGER out_of_order BEFORE INSERT ON votive_outcome
         WHEN NEW.outcome = 'abort' BEGIN SELECT RAISE(ABORT, 'out of order'); END";
    fixture.raw().execute_batch(trigger).unwrap();
    let mut txn = fixture.manager.begin().unwrap();
    note(&database, &mut txn, "one").unwrap();
    work(&mut txn);
    let id = txn.id();
    fail.store(true, Ordering::SeqCst);
    assert!(matches!(
        txn.commit().unwrap_err(),
        CommitError::Undecided { .. }
    ));
    fixture
        .raw()
        .execute_batch("DROP TRIGGER out_of_order")
        .unwrap();
    (database, id)
}
