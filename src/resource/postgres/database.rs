//! The handle of an application's database.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use postgres::Config;

use super::error::{DatabaseError, report};
use super::habit::Habit;
use super::options::{Isolation, Options};
use super::pool::Pool;
use super::register::{Desk, Flush, create};
use super::session::Session;
use crate::id::{ResourceId, TxnId};
use crate::register::{Register, Registers};
use crate::store::Inspect as _;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::register;
use crate::store::url::{StoreUrl, UrlError};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::txn::{BoxError, Cancellation, IncarnationGone, JoinError, Work};

/// An application's Postgres database, whose transactions take part in ours. Cheap to clone; clones share
/// its connections.
///
/// # Blocking
/// The driver waits for the server. On a worker of an asynchronous runtime of many threads the others go
/// on meanwhile; on the thread of a runtime that has only one everything is refused with
/// [`DatabaseError::Asynchronous`].
#[derive(Clone)]
pub struct Database(Arc<Inner>);

/// How many own commit records that nobody will ask for are kept at most where commits do not delete them.
const SPENT_MAX: usize = 64;

/// What a database does for a transaction that has parts elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It decides, by its register.
    Decides,
    /// It promises, by preparing its transaction.
    Prepares,
}

pub(super) struct Inner {
    id: ResourceId,
    pub(super) form: Form,
    pub(super) pool: Pool,
    pub(super) desk: Desk,
    pub(super) store: Option<Arc<PostgresStore>>,
    /// Own commit records that nobody will ever ask for; they go with the next own commit.
    pub(super) spent: Mutex<Vec<TxnId>>,
    pub(super) habit: Habit,
}

impl Database {
    /// Opens the database at `url`, such as `postgres://user:password@host:5432/name`, which takes the
    /// parameters of a [store's](crate::open). With a register it can decide for transactions with other
    /// stores; without, it takes part alone.
    ///
    /// # Errors
    /// The database cannot be reached, or the register in it was made for [another
    /// database](DatabaseError::Moved).
    pub fn open(url: &str) -> Result<Self, DatabaseError> {
        let (address, options) = read(url)?;
        Self::open_with(&address, options)
    }

    /// Opens the database at `address`, a connection string or URL of libpq's form without parameters
    /// about TLS, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(address: &str, options: Options) -> Result<Self, DatabaseError> {
        let pool = Pool::open(parse(address)?, options)?;
        Ok(Self::new(pool, Form::Decides, None))
    }

    /// Opens the database at `url` as one of several that promise by `PREPARE TRANSACTION`, while a queue
    /// in the same transaction decides. It needs no register.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn preparing(url: &str) -> Result<Self, DatabaseError> {
        let (address, options) = read(url)?;
        Self::preparing_with(&address, options)
    }

    /// Opens the database at `address` as one that promises, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn preparing_with(address: &str, options: Options) -> Result<Self, DatabaseError> {
        let pool = Pool::open_without_register(parse(address)?, options)?;
        Ok(Self::new(pool, Form::Prepares, None))
    }

    /// Opens the database of a store as the application's database too: tasks that are enqueued beside
    /// the application's changes are committed with them, by one `COMMIT`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sharing(store: Arc<PostgresStore>) -> Result<Self, DatabaseError> {
        Self::sharing_with(store, Options::default())
    }

    /// Opens the database of a store as the application's database too, with options; those that say how
    /// it is reached are the store's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sharing_with(
        store: Arc<PostgresStore>,
        options: Options,
    ) -> Result<Self, DatabaseError> {
        let options = options.of_store(&store);
        let pool = Pool::open(store.reach().0.clone().into(), options)?;
        Ok(Self::new(pool, Form::Decides, Some(store)))
    }

    fn new(pool: Pool, form: Form, store: Option<Arc<PostgresStore>>) -> Self {
        let recorded = pool.identity().map(|identity| identity.id);
        let id = match form {
            Form::Decides => recorded.unwrap_or_else(ResourceId::random),
            Form::Prepares => pool.preparing_id(),
        };
        Self(Arc::new(Inner {
            id,
            form,
            pool,
            desk: Desk::default(),
            store,
            spent: Mutex::default(),
            habit: Habit::default(),
        }))
    }

    /// Makes the register's tables in the database at `address` where they are missing, so that it can decide
    /// for transactions with other stores. Returns the identity by which they will know it. A database
    /// that is open meanwhile has to be opened again.
    ///
    /// At run time `SELECT`, `INSERT` and `DELETE` on the tables suffice, and `UPDATE` on that of the
    /// incarnations.
    ///
    /// # Errors
    /// Nothing was made.
    pub fn migrate(address: &str, options: Options) -> Result<ResourceId, DatabaseError> {
        let pool = Pool::open(parse(address)?, options)?;
        create(&pool).map(|identity| identity.id)
    }

    /// Declares that the database at `address` has taken the place of the one whose register it holds, after it
    /// was restored or moved. Of several clones one may be adopted, never two.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn adopt(address: &str, options: Options) -> Result<(), DatabaseError> {
        let pool = Pool::open_unverified(parse(address)?, options)?;
        if pool.identity().is_none() {
            return Err(DatabaseError::NoRegister(pool.place().to_owned()));
        }
        let desk = Desk::default();
        desk.write(&pool, "be adopted", Flush::Now, |session| {
            register::adopt(session, pool.schema())
        })
    }

    /// Returns the identity of the database: that of its register, or a passing one if it has none; of one
    /// that prepares, the one that its cluster and its place there give it.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        self.0.id
    }

    /// Makes the database known to those who recover: as a register, or as one that prepares. Joining does
    /// so too; a process that recovers before it joins calls this.
    pub fn introduce(&self, registers: &Registers) {
        match self.0.form {
            Form::Prepares if registers.find_database(self.id()).is_none() => {
                registers.insert_database(Arc::new(self.clone()));
            }
            Form::Decides if registers.find(self.id()).is_none() => {
                if let Some(register) = self.register() {
                    registers.insert(register);
                }
            }
            Form::Prepares | Form::Decides => {}
        }
    }

    /// Joins a transaction, and lends its connection: inside a transaction of the database that is
    /// committed or rolled back together with `work`. Joining again lends the same one.
    ///
    /// # Errors
    /// Nothing changed.
    ///
    /// # Blocking
    /// Waits for the server; on the first transaction of a process for the server's disk too.
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
        self.introduce(&registers);
        self.enroll(&registers, txn).map_err(report)?;
        let connection = self.0.pool.begin(txn).map_err(report)?;
        let session = Session::new(self.clone(), registers, txn, connection);
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
        if self.0.store.is_none() && !registers.is_enrolled(self.id(), txn.incarnation) {
            // Where nobody is reached, nothing has been said, and the same incarnation may try again.
            self.0.desk.reach(&self.0.pool)?;
        }
        registers
            .enroll(&*register, txn.incarnation, self.now())
            .map_err(|reason| DatabaseError::NotEnrolled {
                place: self.0.pool.place().to_owned(),
                reason,
                source: IncarnationGone(txn.incarnation),
            })
    }

    pub(super) fn gone(&self, txn: TxnId) -> DatabaseError {
        DatabaseError::Gone {
            place: self.0.pool.place().to_owned(),
            source: IncarnationGone(txn.incarnation),
        }
    }

    /// Returns the register in the database; that of a store there knows which processes live.
    pub(super) fn register(&self) -> Option<Arc<dyn Register>> {
        match (&self.0.store, self.0.form) {
            (Some(store), _) => Some(Arc::clone(store) as _),
            (None, Form::Decides) => self.0.pool.identity().map(|_| Arc::new(self.clone()) as _),
            (None, Form::Prepares) => None,
        }
    }

    /// Takes the records that are to be deleted by a commit. One that sees what was there at its first statement does
    /// not see them all.
    pub(super) fn spent_for_commit(&self) -> Vec<TxnId> {
        if self.sees_others() {
            std::mem::take(&mut *self.0.spent.lock())
        } else {
            Vec::new()
        }
    }

    /// Notes that nobody will ask for the record of a transaction. Those that commits cannot delete are deleted by the
    /// register when there are many.
    pub(super) fn note_spent(&self, txn: TxnId) {
        let mut noted = self.0.spent.lock();
        noted.push(txn);
        if self.sees_others() || noted.len() < SPENT_MAX {
            return;
        }
        let spent = std::mem::take(&mut *noted);
        drop(noted);
        let forgotten = self.register().map(|register| register.forget(&spent));
        if let Some(Err(error)) = forgotten {
            tracing::debug!(%error, "outcome records stay for a while");
            self.0.spent.lock().extend(spent);
        }
    }

    /// Whether its transactions see what others commit meanwhile.
    fn sees_others(&self) -> bool {
        self.0.pool.options().isolation == Isolation::ReadCommitted
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Tells the time of the store in the same database, or else of this machine.
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
    /// Deletes the last commit records too: nobody else may as long as this process lives.
    fn drop(&mut self) {
        let spent = std::mem::take(&mut *self.spent.lock());
        if spent.is_empty() {
            return;
        }
        let forgotten = self
            .desk
            .write(&self.pool, "forget outcomes", Flush::Later, |session| {
                register::forget(session, &spent)
            });
        if let Err(error) = forgotten {
            tracing::debug!(%error, "the last outcome records stay until their process is closed");
        }
    }
}

/// Reads a URL with parameters.
fn read(url: &str) -> Result<(String, Options), DatabaseError> {
    let wrong = |error: UrlError| DatabaseError::Address(error.to_string());
    let url: StoreUrl = url.parse().map_err(wrong)?;
    Options::from_url(&url).map_err(wrong)
}

/// Reads an address; what is wrong with it is told without the password that may be in it.
fn parse(address: &str) -> Result<Config, DatabaseError> {
    address.parse::<Config>().map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        DatabaseError::Address(cause.unwrap_or_else(|| error.to_string()))
    })
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("id", &self.id())
            .field("place", &self.0.pool.place())
            .field("form", &self.0.form)
            .finish_non_exhaustive()
    }
}
