//! The connections of one database. One is lent to one transaction at a time, and used again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::DatabaseError;
use super::options::Options;
use crate::store::sqlite::gate::{Gate, Pass};
use crate::store::sqlite::register::{self, Identity};

/// The statements of a store in the same file fit beside the application's own.
const STATEMENTS_MAX: usize = 256;

/// A connection on loan; dropping it gives it back. Who began a transaction ends it before.
pub(super) type Loan = ArcMutexGuard<RawMutex, Connection>;

/// The connections of one database.
pub(super) struct Pool {
    path: PathBuf,
    options: Options,
    gate: Arc<Gate>,
    identity: Option<Identity>,
    connections: Mutex<Vec<Arc<Mutex<Connection>>>>,
    process: u32,
}

impl Pool {
    pub(super) fn open(path: &Path, options: Options) -> Result<Self, DatabaseError> {
        let connection = create(path, &options)?;
        let path = match connection.path() {
            None | Some("") => return Err(DatabaseError::NotAFile(path.display().to_string())),
            Some(path) => PathBuf::from(path),
        };
        let gate =
            Gate::of(&path).map_err(|_| DatabaseError::NotAFile(path.display().to_string()))?;
        Ok(Self {
            identity: verify(&path, &connection)?,
            connections: Mutex::new(vec![Arc::new(Mutex::new(connection))]),
            process: std::process::id(),
            gate,
            path,
            options,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Lends a connection inside a transaction, with the right to write unless it is deferred.
    pub(super) fn begin(&self) -> Result<(Loan, Option<Pass>), DatabaseError> {
        let deferred = self.options.deferred;
        let pass = (!deferred)
            .then(|| self.pass(self.options.busy_timeout))
            .transpose()?;
        let loan = self.lend()?;
        let begin = if deferred {
            "BEGIN DEFERRED"
        } else {
            "BEGIN IMMEDIATE"
        };
        execute(&loan, begin).map_err(self.fails("begin a transaction"))?;
        Ok((loan, pass))
    }

    /// Waits for this process's turn to write.
    pub(super) fn pass(&self, timeout: Duration) -> Result<Pass, DatabaseError> {
        self.check_process()?;
        self.gate
            .pass(timeout)
            .ok_or_else(|| DatabaseError::Busy(self.path.clone()))
    }

    /// Makes a connection that is not lent to anybody else.
    pub(super) fn connect(&self) -> Result<Connection, DatabaseError> {
        self.check_process()?;
        let connection = connect(&self.path, &self.options).map_err(self.fails("be opened"))?;
        let identity = verify(&self.path, &connection)?;
        if self.identity.is_some() && identity != self.identity {
            return Err(DatabaseError::Replaced(self.path.clone()));
        }
        Ok(connection)
    }

    fn lend(&self) -> Result<Loan, DatabaseError> {
        self.check_process()?;
        let free = self.connections.lock().iter().find_map(Mutex::try_lock_arc);
        let Some(mut loan) = free else {
            return self.lend_another();
        };
        // A connection that could not be rolled back is of no use any more.
        if !loan.is_autocommit() {
            *loan = self.connect()?;
        }
        Ok(loan)
    }

    fn lend_another(&self) -> Result<Loan, DatabaseError> {
        let connection = Arc::new(Mutex::new(self.connect()?));
        let loan = connection.lock_arc();
        self.connections.lock().push(connection);
        Ok(loan)
    }

    /// Names the database and what was being done in an error of the driver.
    pub(super) fn fails(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(rusqlite::Error) -> DatabaseError {
        sqlite(&self.path, operation)
    }

    /// Refuses to go on in a fork: SQLite's locks and connections do not survive one.
    pub(super) fn check_process(&self) -> Result<(), DatabaseError> {
        if self.process == std::process::id() {
            Ok(())
        } else {
            Err(DatabaseError::Forked(self.path.clone()))
        }
    }
}

/// Runs a statement that is run again and again.
pub(super) fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Opens a connection to a file, which is made if it is missing.
pub(super) fn create(path: &Path, options: &Options) -> Result<Connection, DatabaseError> {
    open(path, options, OpenFlags::SQLITE_OPEN_CREATE).map_err(sqlite(path, "be opened"))
}

/// Names the database and what was being done in an error of the driver.
pub(super) fn sqlite(
    path: &Path,
    operation: &'static str,
) -> impl FnOnce(rusqlite::Error) -> DatabaseError {
    let path = path.to_owned();
    move |source| DatabaseError::Sqlite {
        path,
        operation,
        source,
    }
}

/// Opens a connection to a file that is there.
pub(super) fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    open(path, options, OpenFlags::empty())
}

/// `synchronous` is EXTRA because a rollback journal needs it for a commit to be durable; with
/// write-ahead logging it is the same as FULL.
fn open(path: &Path, options: &Options, extra: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags | extra)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this, binding another value may compile a cached statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(options.busy_timeout)?;
    if options.wal {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    }
    connection.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON")?;
    if let Some(setup) = &options.setup {
        setup(&mut connection)?;
    }
    Ok(connection)
}

/// Reads whose register the file holds, and refuses one that was made for another file.
pub(super) fn verify(
    path: &Path,
    connection: &Connection,
) -> Result<Option<Identity>, DatabaseError> {
    let read = |operation| sqlite(path, operation);
    let identity = register::identity(connection).map_err(read("say whose register it holds"))?;
    let Some(identity) = identity else {
        return Ok(None);
    };
    let found = register::fingerprint(connection).map_err(read("be told from its copies"))?;
    if identity.fingerprint == found {
        return Ok(Some(identity));
    }
    Err(DatabaseError::Moved {
        path: path.to_owned(),
        recorded: identity.fingerprint,
        found,
    })
}
