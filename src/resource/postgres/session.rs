//! *Enlisted, ours*, the commit point of *prepared*, and who promises in *preparing*: a participant that
//! owns the connection.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement, ToStatement};

use super::database::{Database, Form};
use super::error::{DatabaseError, is_conflict, report};
use super::pool::Loan;
use crate::id::{ResourceId, TxnId};
use crate::queue::HandedBatch;
use crate::register::{Preparing as _, Registers};
use crate::txn::{Answer, BoxError, DataManager, Mark, PrepareInfo, Prepared, Role, Vote};

/// Ends a wait of the connection from another thread, for as long as it is this session's.
type Interrupt = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

/// A connection inside a transaction of the application's database, which is committed or rolled back
/// together with the [`Work`](crate::txn::Work) that it joined.
///
/// A statement that fails takes the transaction with it, as always in Postgres; a savepoint of the work
/// around it can be gone back to. Whoever ends the transaction by hand, with a `COMMIT` or `ROLLBACK` of
/// their own, makes its commit be refused. What is executed after that is committed by itself, or refused
/// by a database that is shared with a store.
pub struct Session {
    // It goes before the database does, whose connections are closed with care.
    pub(super) connection: Loan,
    pub(super) database: Database,
    pub(super) registers: Registers,
    pub(super) txn: TxnId,
    pub(super) handed: Vec<HandedBatch>,
    marks: u64,
    /// The settings that were off as its transaction ended, so that the server would not wait for its disk.
    pub(super) lax: Vec<&'static str>,
    /// Whether a statement was executed in it.
    is_used: bool,
    /// Whether its commit has to find out whether it is open and will last: nobody has asked before.
    pub(super) is_unasked: bool,
    pub(super) phase: Phase,
    interrupt: Interrupt,
}

/// How far the transaction is.
pub(super) enum Phase {
    /// It is open.
    Open,
    /// It is open, and nobody decides about it.
    Following,
    /// It is prepared, or possibly so, under the name of this register.
    Prepared(ResourceId),
    /// It is committed, or possibly so, with an outcome record that lists these.
    Decided(Vec<ResourceId>),
    /// It is over.
    Ended,
}

impl Session {
    pub(super) fn new(
        database: Database,
        registers: Registers,
        txn: TxnId,
        connection: Loan,
    ) -> Self {
        let interrupt = connection.interrupter();
        let tls = database.inner().pool.tls();
        let interrupt: Box<dyn Fn() + Send> = Box::new(move || interrupt(tls.clone()));
        Self {
            connection,
            database,
            registers,
            txn,
            handed: Vec::new(),
            marks: 0,
            lax: Vec::new(),
            is_used: false,
            is_unasked: false,
            phase: Phase::Open,
            interrupt: Arc::new(Mutex::new(Some(interrupt))),
        }
    }

    /// Executes a statement; returns how many rows it changed.
    ///
    /// # Errors
    /// As the server says; a conflict may be retried.
    pub fn execute<S: ?Sized + ToStatement>(
        &mut self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DatabaseError> {
        self.with(|client| client.execute(statement, parameters))
    }

    /// Executes a statement; returns its rows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn query<S: ?Sized + ToStatement>(
        &mut self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.with(|client| client.query(statement, parameters))
    }

    /// Executes a statement that must return one row.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and if there is no row, or more than one.
    pub fn query_one<S: ?Sized + ToStatement>(
        &mut self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DatabaseError> {
        self.with(|client| client.query_one(statement, parameters))
    }

    /// Executes a statement that returns a row at most.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and if there is more than one row.
    pub fn query_opt<S: ?Sized + ToStatement>(
        &mut self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DatabaseError> {
        self.with(|client| client.query_opt(statement, parameters))
    }

    /// Executes statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn batch_execute(&mut self, statements: &str) -> Result<(), DatabaseError> {
        self.with(|client| client.batch_execute(statements))
    }

    /// Returns a statement that is prepared once for each connection of the [`Database`], and not in each transaction:
    /// then to [execute](Self::execute) it is one round trip, where a text takes two and is planned each time. A
    /// connection keeps a hundred; if there are more, it prepares all anew.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). If tables were changed so that the server refuses to execute what it prepared, or
    /// somebody has deallocated it, the transaction fails, and the next one prepares it anew.
    pub fn prepare_cached(&mut self, statement: &str) -> Result<Statement, DatabaseError> {
        self.is_used = true;
        let pool = &self.database.inner().pool;
        pool.run("prepare a statement", || {
            self.connection.prepare_cached(statement)
        })
    }

    /// Lends the driver's connection, for whatever else it can do. A `transaction` of the driver is no
    /// savepoint there: it would commit what the session holds, so use one of the work.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, DatabaseError> {
        self.is_used = true;
        let pool = &self.database.inner().pool;
        let done = pool.run("execute a statement", || work(&mut self.connection));
        if done.as_ref().is_err_and(DatabaseError::is_outdated) {
            self.connection.spoil();
        }
        done
    }

    /// Returns what ends, from another thread, the statement that is running.
    pub(super) fn interrupter(&self) -> impl Fn() + Send + use<> {
        let interrupt = Arc::clone(&self.interrupt);
        move || {
            if let Some(interrupt) = &*interrupt.lock() {
                interrupt();
            }
        }
    }

    pub(super) fn place(&self) -> String {
        self.database.inner().pool.place().to_owned()
    }

    pub(super) fn command(
        &mut self,
        command: &str,
        operation: &'static str,
    ) -> Result<(), DatabaseError> {
        let pool = &self.database.inner().pool;
        pool.run(operation, || self.connection.batch_execute(command))
    }

    /// Refuses to go on in a transaction that is over or has failed, and tells whether it has changed
    /// anything. Notes how durable its commit is: the application has set what it wants to set.
    pub(super) fn check_open(&mut self) -> Result<bool, DatabaseError> {
        const OPERATION: &str = "say whether its transaction is open";
        let pool = &self.database.inner().pool;
        let row = pool.run(OPERATION, || self.connection.look());
        if row.is_err() {
            // The application may have dropped what was prepared.
            self.connection.spoil();
        }
        let row = row?;
        let read = || {
            let settings: [&str; 2] = [row.try_get(2)?, row.try_get(3)?];
            Ok((row.try_get(0)?, row.try_get(1)?, settings))
        };
        let (open, changed, settings): (Option<String>, bool, _) =
            read().map_err(pool.fails(OPERATION))?;
        if open != Some(self.txn.to_string()) {
            return Err(DatabaseError::Ended(self.place()));
        }
        let settings = ["fsync", "synchronous_commit"].into_iter().zip(settings);
        let lax = settings.filter(|(_, value)| *value == "off");
        self.lax = lax.map(|(name, _)| name).collect();
        Ok(changed)
    }

    /// Refuses to vouch for what may be lost with the power where a setting among these is off.
    pub(super) fn refuse_lax(&self, settings: &[&str]) -> Result<(), DatabaseError> {
        let lax = self.lax.iter().filter(|name| settings.contains(name));
        let lax: Vec<_> = lax.map(|name| format!("{name} = off")).collect();
        if lax.is_empty() {
            return Ok(());
        }
        Err(DatabaseError::NotDurable {
            place: self.place(),
            setting: lax.join(", "),
        })
    }

    /// Ends the transaction without a trace.
    fn end(&mut self) -> Result<(), BoxError> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open | Phase::Following => {
                unless_lost(self.end_by("ROLLBACK", "be rolled back"))
            }
            Phase::Prepared(register) => {
                let database = self.database.clone();
                self.leave();
                database.roll_back_prepared(register, self.txn)
            }
            Phase::Decided(_) | Phase::Ended => {
                self.leave();
                Ok(())
            }
        }
    }

    fn end_by(&mut self, command: &str, operation: &'static str) -> Result<(), DatabaseError> {
        self.phase = Phase::Ended;
        let ended = self.command(command, operation);
        if ended.is_err() {
            self.connection.spoil();
        }
        self.leave();
        ended
    }

    /// Whether it is taken to have changed something without being asked.
    fn is_taken_as_changed(&self, info: &PrepareInfo<'_>) -> bool {
        let is_possible = self.is_used && self.database.register().is_some();
        // Beside another that can only decide it must be known, or the plan fails for what was merely read.
        is_possible && !info.has_decider() && self.database.inner().habit.is_certain()
    }

    /// Leaves a transaction that has changed nothing to be committed after the decision, since it may have said
    /// something to others.
    fn prepare_to_follow(&mut self, is_alone: bool) -> Result<Prepared, BoxError> {
        if is_alone {
            unless_lost(self.end_by("COMMIT", "be committed"))?;
            return Ok(Prepared::Nothing);
        }
        self.phase = Phase::Following;
        Ok(Prepared::Follows)
    }

    /// Commits what nobody decides about. After the decision nobody could do anything about a failure.
    fn follow(&mut self) {
        if let Err(error) = self.end_by("COMMIT", "be committed") {
            let error = BoxError::from(error);
            tracing::warn!(txn = %self.txn, error = &*error, "what a session said to others is lost");
        }
    }

    /// From now on the connection may be lent to another transaction, which is not to be interrupted for
    /// this one.
    pub(super) fn leave(&mut self) {
        *self.interrupt.lock() = None;
    }
}

/// A server that hung up has rolled back, and will not be reached by asking it again.
fn unless_lost(ended: Result<(), DatabaseError>) -> Result<(), BoxError> {
    match ended {
        Err(error) if error.is_refusal() => Err(report(error)),
        _ => Ok(()),
    }
}

impl DataManager for Session {
    fn role(&self) -> Role {
        match self.database.inner().form {
            Form::Decides => Role::OnePhase(self.database.id()),
            Form::Prepares => Role::TwoPhase(self.database.id()),
        }
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        let pool = &self.database.inner().pool;
        Ok(format!(
            "postgres:{}, {}",
            pool.preparing_id(),
            pool.place()
        ))
    }

    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        if self.is_taken_as_changed(info) {
            self.is_unasked = true;
            return Ok(Prepared::Work);
        }
        let changed = self.check_open().map_err(report)?;
        self.database.inner().habit.saw(changed);
        if changed || self.database.inner().store.is_some() {
            return Ok(Prepared::Work);
        }
        if self.is_used {
            return self.prepare_to_follow(info.is_alone());
        }
        self.end()?;
        Ok(Prepared::Nothing)
    }

    fn accept(&mut self, work: Box<dyn Any + Send>) -> Result<(), BoxError> {
        let handed = work
            .downcast::<HandedBatch>()
            .map_err(|_| "a database takes over nothing but a store's batch")?;
        self.handed.push(*handed);
        Ok(())
    }

    fn vote(&mut self, vote: Vote<'_>) -> Answer {
        match vote {
            _ if matches!(self.phase, Phase::Following) => Answer::Ok,
            Vote::Decide { prepared } => self.decide(prepared),
            Vote::Prepare { register, .. } => self.promise(register),
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Prepared(register) => {
                let finished = self.finish_prepared(register);
                if finished.is_err() {
                    self.phase = Phase::Prepared(register);
                }
                finished
            }
            Phase::Decided(prepared) => {
                self.note_committed(prepared);
                self.announce();
                Ok(())
            }
            Phase::Following => {
                self.follow();
                Ok(())
            }
            Phase::Open | Phase::Ended => Ok(()),
        }
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.end()
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        self.marks += 1;
        let name = format!("SAVEPOINT votive_{}", self.marks);
        self.command(&name, "make a savepoint").map_err(report)?;
        Ok(Mark(self.marks))
    }

    fn rollback(&mut self, mark: Mark) -> Result<(), BoxError> {
        let name = format!("ROLLBACK TO votive_{}", mark.0);
        Ok(self.command(&name, "go back to a savepoint")?)
    }

    fn release(&mut self, mark: Mark) -> Result<(), BoxError> {
        let name = format!("RELEASE votive_{}", mark.0);
        Ok(self.command(&name, "release a savepoint")?)
    }

    fn is_retryable(&self, error: &(dyn Error + 'static)) -> bool {
        is_conflict(error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What is prepared, or decided, is not this one's any more to undo.
        if !matches!(self.phase, Phase::Open | Phase::Following) {
            return;
        }
        if let Err(error) = self.end() {
            tracing::error!(error = &*error, txn = %self.txn, "a transaction could not be rolled back");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("database", &self.database)
            .field("txn", &self.txn)
            .finish_non_exhaustive()
    }
}
