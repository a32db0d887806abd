//! The register in an application's database, asked on a connection of its own: whoever asks may be
//! waiting for the very transaction that another connection holds open.

use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::database::{Database, Inner};
use super::error::DatabaseError;
use super::pool::Pool;
use crate::failpoint;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind,
};
use crate::store;
use crate::store::sqlite::register;
use crate::store::sqlite::statements::Statements;
use crate::time::Timestamp;

/// Where a crash test may have the process die: before and after the COMMIT of a write.
const DECIDE: [&str; 2] = [
    "rusqlite.decide.before_commit",
    "rusqlite.decide.after_commit",
];
const FORGET: [&str; 2] = [
    "rusqlite.forget.before_commit",
    "rusqlite.forget.after_commit",
];

/// The connection on which a register is asked, opened at the first question.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<Connection>>);

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// It is on disk when it returns.
    Now,
    /// It may be lost with the power, as if it had never been; a later write flushes it too.
    Later,
}

impl Desk {
    /// Runs `work` in a write transaction of its own.
    pub(super) fn write<T>(
        &self,
        pool: &Pool,
        flush: Flush,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let timeout = pool.options().register_timeout;
        let mut slot = self.0.lock();
        let connection = match slot.take() {
            Some(connection) => connection,
            None => open(pool, timeout)?,
        };
        let _pass = pool.pass(timeout)?;
        let done = transact(&connection, flush, work).map_err(pool.fails("write its register"))?;
        // After an error the connection is closed instead, which rolls back.
        *slot = Some(connection);
        Ok(done)
    }
}

fn open(pool: &Pool, timeout: Duration) -> Result<Connection, DatabaseError> {
    let connection = pool.connect()?;
    connection
        .busy_timeout(timeout)
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        .map_err(pool.fails("be set up"))?;
    Ok(connection)
}

/// Runs `work` in a write transaction of its own. After an error the caller drops the connection.
pub(super) fn transact<T>(
    connection: &Connection,
    flush: Flush,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let (synchronous, [before, after]) = match flush {
        Flush::Now => ("EXTRA", DECIDE),
        Flush::Later => ("NORMAL", FORGET),
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = work(connection)?;
    failpoint::hit(before);
    connection.execute_batch("COMMIT")?;
    failpoint::hit(after);
    Ok(done)
}

impl Inner {
    fn ask<T>(
        &self,
        operation: &'static str,
        flush: Flush,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RegisterError> {
        let unusable = |source: DatabaseError| register_error(self.id(), operation, source);
        if self.pool.identity().is_none() {
            return Err(unusable(DatabaseError::NoRegister(
                self.pool.path().to_owned(),
            )));
        }
        self.desk
            .write(&self.pool, flush, question)
            .map_err(unusable)
    }

    fn prove_alive(
        &self,
        operation: &'static str,
        incarnation: Incarnation,
    ) -> Result<(), RegisterError> {
        self.alive
            .prove(self.pool.path(), incarnation)
            .map_err(|error| self.failed(operation, error))
    }

    fn is_departed(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        self.alive
            .is_departed(self.pool.path(), incarnation)
            .map_err(|error| self.failed("look who has departed", error))
    }

    fn failed(&self, operation: &'static str, source: store::Error) -> RegisterError {
        RegisterError {
            kind: RegisterErrorKind::Failed,
            resource: self.id(),
            operation,
            source: Some(source.into()),
        }
    }
}

fn register_error(
    resource: ResourceId,
    operation: &'static str,
    source: DatabaseError,
) -> RegisterError {
    let kind = match &source {
        DatabaseError::Sqlite { source, .. } => register::error_kind(source),
        DatabaseError::Busy(_) => RegisterErrorKind::Locked,
        DatabaseError::Moved { .. } | DatabaseError::Replaced(_) | DatabaseError::NoRegister(_) => {
            RegisterErrorKind::Unusable
        }
        _ => RegisterErrorKind::Failed,
    };
    RegisterError {
        kind,
        resource,
        operation,
        source: Some(source.into()),
    }
}

/// Asks the register in the database's file. What it reports is on disk.
impl Register for Database {
    fn resource(&self) -> ResourceId {
        self.id()
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError> {
        let operation = "enroll an incarnation";
        // Before anybody can look whether it is alive.
        self.inner().prove_alive(operation, incarnation)?;
        self.inner().ask(operation, Flush::Now, |connection| {
            register::enroll(connection, incarnation, now)
        })
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Answer, RegisterError> {
        self.inner()
            .ask("decide a transaction", Flush::Now, |connection| {
                register::decide(connection, txn, want, stores)
            })
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        self.inner().ask("list outcomes", Flush::Now, |connection| {
            register::outcomes(connection, after, limit)
        })
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        self.inner()
            .ask("list incarnations", Flush::Now, register::incarnations)
    }

    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        let mut departed = Vec::new();
        for row in self.incarnations()? {
            if self.inner().is_departed(row.incarnation)? {
                departed.push(row.incarnation);
            }
        }
        Ok(departed)
    }

    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError> {
        self.inner()
            .ask("close an incarnation", Flush::Now, |connection| {
                register::close(connection, incarnation)
            })
    }

    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError> {
        self.inner()
            .ask("forget outcomes", Flush::Later, |connection| {
                register::forget(&Statements::new(connection), txns)
            })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        self.inner()
            .ask("drop an incarnation", Flush::Later, |connection| {
                register::drop_incarnation(connection, incarnation)
            })
    }
}
