//! The register in an application's database, asked on a connection of its own: whoever asks may be
//! waiting for the very transaction that another connection holds open.

use parking_lot::{Mutex, MutexGuard};

use super::database::{Database, Form, Inner};
use super::error::DatabaseError;
use super::options::millis;
use super::pool::{Connection, Pool, close};
use crate::failpoint;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError};
use crate::store::postgres::error::Fault;
use crate::store::postgres::register::{self, Identity, SCHEMA};
use crate::store::postgres::schema::Schema;
use crate::store::postgres::session::Session;
use crate::time::Timestamp;

/// Where a crash test may have the process die: before and after the COMMIT of a write.
const DECIDE: [&str; 2] = [
    "postgres_resource.decide.before_commit",
    "postgres_resource.decide.after_commit",
];
const FORGET: [&str; 2] = [
    "postgres_resource.forget.before_commit",
    "postgres_resource.forget.after_commit",
];

/// Returns the statements that make a register in a schema, for whoever may not run
/// [`Database::migrate`].
///
/// # Errors
/// The name cannot be one of a schema.
pub fn statements(schema: &str) -> Result<String, DatabaseError> {
    let schema = named(schema)?;
    Ok(format!("{};\n{}", schema.creation(), schema.fill(SCHEMA)))
}

fn named(schema: &str) -> Result<Schema, DatabaseError> {
    Schema::new(schema).map_err(|fault| DatabaseError::Tables {
        place: format!("the schema `{schema}`"),
        kind: fault.register_kind(),
        source: fault.during("be named"),
    })
}

/// Makes the register where it is missing. Of several processes one does, while the others wait.
pub(super) fn create(pool: &Pool) -> Result<Identity, DatabaseError> {
    let tables = format!(
        "SELECT pg_catalog.pg_advisory_xact_lock({}); {}; {}",
        pool.schema().lock_key(),
        pool.schema().creation(),
        pool.schema().fill(SCHEMA)
    );
    let mut connection = pool.connect()?;
    pool.run("begin a transaction", || {
        connection.batch_execute(&begin(pool, Flush::Now))
    })?;
    pool.run("make a register", || connection.batch_execute(&tables))?;
    let identity = pool.ask(&mut connection, "make a register", |session| {
        register::identify(session, pool.schema())
    })?;
    pool.run("commit a register", || connection.batch_execute("COMMIT"))?;
    close(connection);
    Ok(identity)
}

/// The connection on which a register is asked, opened at the first question.
pub(super) struct Desk {
    idle: Mutex<Option<Connection>>,
    process: u32,
}

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// It is on disk when it returns.
    Now,
    /// It may be lost with the power, as if it had never been; a later write flushes it too.
    Later,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            process: std::process::id(),
        }
    }
}

impl Desk {
    /// Lends the place of the connection. In a fork the connection is still the parent's, and is not to be closed.
    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let mut slot = self.idle.lock();
        if self.process != std::process::id() {
            std::mem::forget(slot.take());
        }
        slot
    }

    /// Makes sure that there is a connection. Nothing is written.
    pub(super) fn reach(&self, pool: &Pool) -> Result<(), DatabaseError> {
        let mut slot = self.slot();
        if let Some(mut idle) = slot.take() {
            match pool.run("be reached", || idle.batch_execute("")) {
                Err(DatabaseError::Postgres { .. }) => close(idle),
                reached => {
                    *slot = Some(idle);
                    return reached;
                }
            }
        }
        *slot = Some(pool.connect()?);
        Ok(())
    }

    /// Runs `work` in a transaction of its own.
    ///
    /// A connection that was closed while nobody used it is replaced; whatever else fails is not tried
    /// again, because whoever asked will.
    pub(super) fn write<T>(
        &self,
        pool: &Pool,
        operation: &'static str,
        flush: Flush,
        work: impl FnOnce(&mut dyn Session) -> Result<T, Fault>,
    ) -> Result<T, DatabaseError> {
        let mut slot = self.slot();
        let begin = begin(pool, flush);
        let mut connection = match slot.take() {
            Some(mut idle) => match pool.run(operation, || idle.batch_execute(&begin)) {
                Ok(()) => idle,
                Err(DatabaseError::Postgres { .. }) => {
                    close(idle);
                    begun(pool, operation, &begin)?
                }
                Err(error) => {
                    // Nobody has called it.
                    *slot = Some(idle);
                    return Err(error);
                }
            },
            None => begun(pool, operation, &begin)?,
        };
        let done = transact(pool, &mut connection, operation, flush, work);
        if done.is_ok() {
            *slot = Some(connection);
        } else {
            // Which rolls back.
            close(connection);
        }
        done
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(connection) = self.slot().take() {
            close(connection);
        }
    }
}

fn begun(pool: &Pool, operation: &'static str, begin: &str) -> Result<Connection, DatabaseError> {
    let mut connection = pool.connect()?;
    match pool.run(operation, || connection.batch_execute(begin)) {
        Ok(()) => Ok(connection),
        Err(error) => {
            close(connection);
            Err(error)
        }
    }
}

fn begin(pool: &Pool, flush: Flush) -> String {
    let durable = match flush {
        Flush::Now => "on",
        Flush::Later => "off",
    };
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = {durable}; \
         SET LOCAL lock_timeout = {}",
        millis(pool.options().register_timeout)
    )
}

fn transact<T>(
    pool: &Pool,
    connection: &mut Connection,
    operation: &'static str,
    flush: Flush,
    work: impl FnOnce(&mut dyn Session) -> Result<T, Fault>,
) -> Result<T, DatabaseError> {
    let [before, after] = match flush {
        Flush::Now => DECIDE,
        Flush::Later => FORGET,
    };
    let done = pool.ask(connection, operation, work)?;
    failpoint::hit(before);
    pool.run(operation, || connection.batch_execute("COMMIT"))?;
    failpoint::hit(after);
    Ok(done)
}

impl Inner {
    fn ask<T>(
        &self,
        operation: &'static str,
        flush: Flush,
        question: impl FnOnce(&mut dyn Session) -> Result<T, Fault>,
    ) -> Result<T, RegisterError> {
        let error = |source: DatabaseError| RegisterError {
            kind: source.register_kind(),
            resource: self.id(),
            operation,
            source: Some(source.into()),
        };
        if self.pool.identity().is_none() || self.form == Form::Prepares {
            return Err(error(DatabaseError::NoRegister(
                self.pool.place().to_owned(),
            )));
        }
        self.desk
            .write(&self.pool, operation, flush, question)
            .map_err(error)
    }
}

/// Asks the register in the database. What it reports is on disk.
///
/// Nobody here can tell which processes are dead: a store that they use can, and they are dead to all.
impl Register for Database {
    fn resource(&self) -> ResourceId {
        self.id()
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError> {
        self.inner()
            .ask("enroll an incarnation", Flush::Now, |session| {
                register::enroll(session, incarnation, now, None)
            })
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Answer, RegisterError> {
        self.inner()
            .ask("decide a transaction", Flush::Now, |session| {
                register::decide(session, txn, want, stores)
            })
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        self.inner().ask("list outcomes", Flush::Now, |session| {
            register::outcomes(session, after, limit)
        })
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        self.inner()
            .ask("list incarnations", Flush::Now, register::incarnations)
    }

    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        Ok(Vec::new())
    }

    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError> {
        self.inner()
            .ask("close an incarnation", Flush::Now, |session| {
                register::close(session, incarnation)
            })
    }

    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError> {
        self.inner()
            .ask("forget outcomes", Flush::Later, |session| {
                register::forget(session, txns)
            })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        self.inner()
            .ask("drop an incarnation", Flush::Now, |session| {
                register::drop_incarnation(session, incarnation)
            })
    }
}
