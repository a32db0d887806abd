//! *Enlisted, ours*, and the commit point of *prepared*: a participant that owns the connection.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle, TransactionState};

use super::database::Database;
use super::error::{DatabaseError, is_conflict, report};
use super::pool::{Loan, execute};
use crate::failpoint;
use crate::id::{ResourceId, TxnId};
use crate::queue::{HandedBatch, garbage};
use crate::register::{self, Decision, OutcomeRow, Registers};
use crate::store::Inspect as _;
use crate::store::sqlite;
use crate::store::sqlite::gate::Pass;
use crate::store::sqlite::register::{self as table, CommitRecord};
use crate::store::sqlite::statements::Statements;
use crate::txn::{Answer, BoxError, DataManager, Mark, PrepareInfo, Prepared, Role, Vote};

/// Ends a wait of the connection from another thread, for as long as it is this session's.
type Interrupt = Arc<Mutex<Option<InterruptHandle>>>;

/// A connection inside a transaction of the application's database, which is committed or rolled back
/// together with the [`Work`](crate::txn::Work) that it joined.
///
/// It derefs to [`rusqlite::Connection`]. Whoever ends the transaction by hand, with a `COMMIT` or
/// `ROLLBACK` of their own, makes its commit be refused.
pub struct Session {
    database: Database,
    registers: Registers,
    txn: TxnId,
    connection: Loan,
    pass: Option<Pass>,
    handed: Vec<HandedBatch>,
    marks: u64,
    /// What the outcome record lists, once it is committed, or possibly so.
    decided: Option<Vec<ResourceId>>,
    interrupt: Interrupt,
}

impl Session {
    pub(super) fn new(
        database: Database,
        registers: Registers,
        txn: TxnId,
        (connection, pass): (Loan, Option<Pass>),
    ) -> Self {
        let interrupt = Arc::new(Mutex::new(Some(connection.get_interrupt_handle())));
        Self {
            database,
            registers,
            txn,
            connection,
            pass,
            handed: Vec::new(),
            marks: 0,
            decided: None,
            interrupt,
        }
    }

    /// Returns what ends, from another thread, the statement that is running.
    pub(super) fn interrupter(&self) -> impl Fn() + Send + use<> {
        let interrupt = Arc::clone(&self.interrupt);
        move || {
            if let Some(handle) = &*interrupt.lock() {
                handle.interrupt();
            }
        }
    }

    /// Refuses to go on in a transaction that is over: whatever is written now would be committed by
    /// itself.
    fn check_open(&self) -> Result<(), DatabaseError> {
        self.database.inner().pool.check_process()?;
        if self.connection.is_autocommit() {
            Err(DatabaseError::Ended(self.database.path().to_owned()))
        } else {
            Ok(())
        }
    }

    fn execute(&self, sql: &str, operation: &'static str) -> Result<(), BoxError> {
        execute(&self.connection, sql)
            .map_err(|error| report(self.database.inner().pool.fails(operation)(error)))
    }

    /// Ends the transaction without a trace. SQLite may have done so before; in a fork the transaction
    /// is the parent's.
    fn end(&mut self) -> Result<(), BoxError> {
        let here = self.database.inner().pool.check_process();
        let ended = if here.is_err() || self.connection.is_autocommit() {
            Ok(())
        } else {
            self.execute("ROLLBACK", "be rolled back")
        };
        self.leave();
        ended
    }

    /// Lets the next writer in. From now on the connection may be lent to another transaction, which
    /// is not to be interrupted for this one.
    fn leave(&mut self) {
        *self.interrupt.lock() = None;
        self.pass = None;
    }

    /// Commits, with the tasks of the store in the same file and the outcome record: the decision.
    fn decide(&mut self, prepared: &[ResourceId]) -> Answer {
        let spent = self.database.inner().spent.take_for(self.txn.incarnation);
        let answer = self.commit(prepared, &spent);
        // A record that is gone all the same is deleted in vain.
        if !matches!(answer, Answer::Ok) {
            self.database.inner().spent.add(spent);
        }
        answer
    }

    fn commit(&mut self, prepared: &[ResourceId], spent: &[TxnId]) -> Answer {
        if let Err(error) = self.write_before_commit(prepared, spent) {
            return Answer::Refused(error);
        }
        failpoint::hit("rusqlite.commit.before_commit");
        // SQLite itself waits here for readers that are in the way, for the busy timeout.
        let Err(error) = execute(&self.connection, "COMMIT") else {
            failpoint::hit("rusqlite.commit.after_commit");
            self.leave();
            self.decided = Some(prepared.to_vec());
            return Answer::Ok;
        };
        let error = report(self.database.inner().pool.fails("be committed")(error));
        if self.connection.is_autocommit() {
            self.ask(prepared, error)
        } else {
            // The transaction is still open, so it is not committed; `abort` rolls it back.
            Answer::Refused(error)
        }
    }

    fn write_before_commit(
        &self,
        prepared: &[ResourceId],
        spent: &[TxnId],
    ) -> Result<(), BoxError> {
        self.check_open()?;
        for handed in &self.handed {
            self.write_handed(handed)?;
        }
        self.write_outcome(prepared, spent).map_err(report)
    }

    fn write_handed(&self, handed: &HandedBatch) -> Result<(), BoxError> {
        let Some(store) = &self.database.inner().store else {
            return Err(DatabaseError::NotShared(self.database.path().to_owned()).into());
        };
        let batch = handed.batch().clone();
        handed.note(sqlite::write_batch(&self.connection, batch, store.now()?)?);
        Ok(())
    }

    fn write_outcome(&self, prepared: &[ResourceId], spent: &[TxnId]) -> Result<(), DatabaseError> {
        let fails = |error| self.database.inner().pool.fails("write an outcome")(error);
        if self.database.register().is_none() {
            return self.check_alone(prepared);
        }
        if !prepared.is_empty() {
            self.check_durable()?;
        }
        let statements = Statements::new(&self.connection);
        match table::commit(&statements, self.txn, prepared, spent).map_err(fails)? {
            CommitRecord::Written => Ok(()),
            CommitRecord::Decided => Err(DatabaseError::Decided(self.txn)),
            CommitRecord::Gone => Err(self.database.gone(self.txn)),
        }
    }

    fn check_alone(&self, prepared: &[ResourceId]) -> Result<(), DatabaseError> {
        if prepared.is_empty() {
            Ok(())
        } else {
            Err(DatabaseError::NoRegister(self.database.path().to_owned()))
        }
    }

    /// Refuses to decide for others if the decision might be lost with the power.
    fn check_durable(&self) -> Result<(), DatabaseError> {
        let settings = self
            .settings()
            .map_err(|error| self.database.inner().pool.fails("say how durable it is")(error))?;
        match (settings.0.as_str(), settings.1) {
            ("wal", 2 | 3) | ("delete" | "truncate" | "persist", 3) => Ok(()),
            (journal, synchronous) => Err(DatabaseError::NotDurable {
                path: self.database.path().to_owned(),
                setting: format!("journal_mode = {journal} and synchronous = {synchronous}"),
            }),
        }
    }

    fn settings(&self) -> rusqlite::Result<(String, i64)> {
        self.connection
            .prepare_cached(
                "SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Finds out whether the transaction was committed, by trying to write that it was not.
    fn ask(&mut self, prepared: &[ResourceId], lost: BoxError) -> Answer {
        self.leave();
        let Some(register) = self.database.register() else {
            return Answer::Unknown(lost);
        };
        let asked = register.decide(self.txn, Decision::Aborted, prepared);
        let answer = match asked.map(register::Answer::as_owner) {
            Ok(Some(Decision::Committed)) => Answer::Ok,
            Ok(Some(Decision::Aborted)) => return Answer::Refused(lost),
            Ok(None) => Answer::Unknown(lost),
            Err(error) => {
                tracing::warn!(txn = %self.txn, %error, "the database could not say whether it committed");
                Answer::Unknown(lost)
            }
        };
        self.decided = Some(prepared.to_vec());
        answer
    }

    /// Notes that the outcome is known here, so that its record is needed only by those it lists.
    fn note_committed(&self, prepared: Vec<ResourceId>) {
        if prepared.is_empty() {
            self.database.inner().spent.add([self.txn]);
            return;
        }
        let row = OutcomeRow {
            txn: self.txn,
            decision: Decision::Committed,
            stores: prepared,
        };
        if let Some(register) = self.database.register() {
            garbage::note_committed(&*register, &self.registers, row);
        }
    }
}

impl Deref for Session {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DataManager for Session {
    fn role(&self) -> Role {
        Role::OnePhase(self.database.id())
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        Ok(format!("sqlite:{}", self.database.path().display()))
    }

    fn prepare(&mut self, _info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        self.check_open()?;
        // In an immediate transaction SQLite does not tell whether anything was written. What is attached counts too:
        // it is committed or rolled back with the rest.
        let state = self.connection.transaction_state(None::<&str>)?;
        if state == TransactionState::Write || self.database.inner().store.is_some() {
            return Ok(Prepared::Work);
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
            Vote::Decide { prepared } => self.decide(prepared),
            Vote::Prepare { .. } => {
                Answer::Refused("a SQLite database cannot promise to commit, only commit".into())
            }
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        let Some(prepared) = self.decided.take() else {
            return Ok(());
        };
        self.note_committed(prepared);
        if let (false, Some(store)) = (self.handed.is_empty(), &self.database.inner().store) {
            store.announce();
        }
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.decided = None;
        self.end()
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        self.check_open()?;
        self.marks += 1;
        self.execute(
            &format!("SAVEPOINT votive_{}", self.marks),
            "make a savepoint",
        )?;
        Ok(Mark(self.marks))
    }

    fn rollback(&mut self, mark: Mark) -> Result<(), BoxError> {
        self.execute(
            &format!("ROLLBACK TO votive_{}", mark.0),
            "go back to a savepoint",
        )
    }

    fn release(&mut self, mark: Mark) -> Result<(), BoxError> {
        self.execute(&format!("RELEASE votive_{}", mark.0), "release a savepoint")
    }

    fn is_retryable(&self, error: &(dyn Error + 'static)) -> bool {
        is_conflict(error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
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
