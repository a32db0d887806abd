//! The handle of an application's database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::alive::Alive;
use super::error::{DatabaseError, report};
use super::options::Options;
use super::pool::{self, Pool};
use super::register::{Desk, Flush, transact};
use super::session::Session;
use crate::id::{ResourceId, TxnId};
use crate::register::{Register, Registers};
use crate::store::Inspect as _;
use crate::store::spent::Spent;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::register;
use crate::store::sqlite::statements::Statements;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::txn::{BoxError, Cancellation, IncarnationGone, JoinError, Work};

/// An application's SQLite database, whose transactions take part in ours. Cheap to clone; clones
/// share its connections.
///
/// # Examples
/// An account is opened, and its owner is greeted if and only if it was:
/// ```
/// # use std::sync::Arc;
/// # use votive::{queue::Queue, store::{Inspect, sqlite::{self, SqliteStore}}};
/// # use votive::{resource::rusqlite::Database, txn::TransactionManager};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Greet { name: String }
/// # impl votive::Task for Greet { const KIND: &'static str = "greet"; }
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("bank.db");
/// let store = Arc::new(SqliteStore::open(path, sqlite::Options::default())?);
/// let database = Database::sharing(Arc::clone(&store))?;
/// let queue = Queue::new(store.clone(), "default")?;
///
/// let mut txn = TransactionManager::new().begin()?;
/// let session = database.join(&mut txn)?;
/// session.execute_batch("CREATE TABLE account (name); INSERT INTO account VALUES ('Ada')")?;
/// let task = queue.enqueue(&mut txn, &Greet { name: "Ada".to_owned() })?;
/// assert!(store.get(task)?.is_none());
/// txn.commit()?;
/// assert!(store.get(task)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Database(Arc<Inner>);

pub(super) struct Inner {
    id: ResourceId,
    pub(super) pool: Pool,
    pub(super) desk: Desk,
    pub(super) alive: Alive,
    pub(super) store: Option<Arc<SqliteStore>>,
    pub(super) spent: Spent,
}

impl Database {
    /// Opens the database in the file `path`, which is made if it is missing.
    ///
    /// # Errors
    /// The file cannot be opened, or the register in it was made for [another
    /// file](DatabaseError::Moved).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        Self::open_with(path, Options::default())
    }

    /// Opens the database in the file `path` with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, DatabaseError> {
        Ok(Self::new(Pool::open(path.as_ref(), options)?, None))
    }

    /// Opens the file of a store as the application's database too: tasks that are enqueued beside the
    /// application's changes are committed with them, by one `COMMIT`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sharing(store: Arc<SqliteStore>) -> Result<Self, DatabaseError> {
        Self::sharing_with(store, Options::default())
    }

    /// Opens the file of a store as the application's database too, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sharing_with(store: Arc<SqliteStore>, options: Options) -> Result<Self, DatabaseError> {
        let pool = Pool::open(store.path(), options)?;
        Ok(Self::new(pool, Some(store)))
    }

    fn new(pool: Pool, store: Option<Arc<SqliteStore>>) -> Self {
        let recorded = pool.identity().map(|identity| identity.id);
        Self(Arc::new(Inner {
            id: recorded.unwrap_or_else(ResourceId::random),
            pool,
            desk: Desk::default(),
            alive: Alive::default(),
            store,
            spent: Spent::default(),
        }))
    }

    /// Makes the register's tables in the file `path` where they are missing, so that the database can
    /// decide for transactions with other stores. Returns the identity by which they will know it. A
    /// database that is open meanwhile has to be opened again.
    ///
    /// # Errors
    /// Nothing was made.
    pub fn migrate(path: impl AsRef<Path>) -> Result<ResourceId, DatabaseError> {
        let path = path.as_ref();
        let connection = pool::create(path, &Options::default().wal(false))?;
        pool::verify(path, &connection)?;
        transact(&connection, Flush::Now, register::create)
            .map(|identity| identity.id)
            .map_err(pool::sqlite(path, "be given a register"))
    }

    /// Declares that the file `path` has taken the place of the one whose register it holds, after it
    /// was moved to another disk or restored. Of several copies one may be adopted, never two.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn adopt(path: impl AsRef<Path>) -> Result<(), DatabaseError> {
        let path = path.as_ref();
        let fails = |error| pool::sqlite(path, "be adopted")(error);
        let connection = pool::connect(path, &Options::default().wal(false)).map_err(fails)?;
        if register::identity(&connection).map_err(fails)?.is_none() {
            return Err(DatabaseError::NoRegister(path.to_owned()));
        }
        transact(&connection, Flush::Now, register::adopt).map_err(fails)
    }

    /// Returns the identity of the database: the register's, or a passing one if it has none.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        self.0.id
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.pool.path()
    }

    /// Joins a transaction, and lends its connection: inside a transaction of the database that is
    /// committed or rolled back together with `work`. Joining again lends the same one.
    ///
    /// # Errors
    /// Nothing changed. A lock that was not released within the busy timeout may be retried.
    ///
    /// # Blocking
    /// Waits for the transactions that write to the same file, at most for the busy timeout; a thread
    /// that holds one open waits for itself in vain. On the first transaction of a process it waits
    /// for the disk.
    pub fn join<'w>(&self, work: &'w mut Work) -> Result<&'w mut Session, JoinError> {
        let registers = work.registers().clone();
        let cancellation = work.data::<Cancellation>().cloned();
        work.join_with(self.id(), |txn| self.begin(registers, txn, cancellation))
    }

    fn begin(
        &self,
        registers: Registers,
        txn: TxnId,
        cancellation: Option<Cancellation>,
    ) -> Result<Session, BoxError> {
        self.enroll(&registers, txn).map_err(report)?;
        let transaction = self.0.pool.begin().map_err(report)?;
        let session = Session::new(self.clone(), registers, txn, transaction);
        if let Some(cancellation) = cancellation {
            cancellation.on_cancel(session.interrupter());
        }
        Ok(session)
    }

    /// Makes the process known to the register, before the transaction that will need it begins: a
    /// commit record cannot be written for one that is not.
    fn enroll(&self, registers: &Registers, txn: TxnId) -> Result<(), DatabaseError> {
        let Some(register) = self.register() else {
            return Ok(());
        };
        self.introduce(registers);
        registers
            .enroll(&*register, txn.incarnation, self.now())
            .map_err(|reason| DatabaseError::NotEnrolled {
                path: self.path().to_owned(),
                reason,
                source: IncarnationGone(txn.incarnation),
            })
    }

    pub(super) fn gone(&self, txn: TxnId) -> DatabaseError {
        DatabaseError::Gone {
            path: self.path().to_owned(),
            source: IncarnationGone(txn.incarnation),
        }
    }

    /// Makes the register in the file, if there is one, known to those who recover. Joining does so too; a process
    /// that recovers before it joins calls this.
    pub fn introduce(&self, registers: &Registers) {
        if registers.find(self.id()).is_none()
            && let Some(register) = self.register()
        {
            registers.insert(register);
        }
    }

    /// Returns the register in the file; that of a store there knows which processes live.
    pub(super) fn register(&self) -> Option<Arc<dyn Register>> {
        match &self.0.store {
            Some(store) => Some(Arc::clone(store) as _),
            None => self.0.pool.identity().map(|_| Arc::new(self.clone()) as _),
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Tells the time of the store in the same file, or else of this machine.
    fn now(&self) -> Timestamp {
        let store = self.0.store.as_ref().map(|store| store.now());
        store
            .and_then(Result::ok)
            .unwrap_or_else(|| SystemClock.now())
    }
}

impl Inner {
    pub(super) fn id(&self) -> ResourceId {
        self.id
    }
}

impl Drop for Inner {
    /// Deletes the last commit record too: nobody else may as long as this process lives.
    fn drop(&mut self) {
        let spent = self.spent.take_all();
        if spent.is_empty() {
            return;
        }
        let forget =
            |connection: &Connection| register::forget(&Statements::new(connection), &spent);
        if let Err(error) = self.desk.write(&self.pool, Flush::Later, forget) {
            tracing::debug!(%error, "the last outcome records stay until their process is closed");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("id", &self.id())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
