//! The decision: a session commits for everybody, or finds out whether it did.

use postgres::error::SqlState;

use super::error::{DatabaseError, report};
use super::session::{Phase, Session};
use crate::failpoint;
use crate::id::{ResourceId, TxnId};
use crate::queue::{HandedBatch, garbage};
use crate::register::{self, Decision, OutcomeRow};
use crate::store::postgres::register::{self as table, NotWritten};
use crate::store::postgres::write_batch;
use crate::store::{self, Inspect as _, Kind};
use crate::txn::{Answer, BoxError, Retryable};

impl Session {
    /// Commits, with the tasks of the store in the same database and the outcome record: the decision.
    pub(super) fn decide(&mut self, prepared: &[ResourceId]) -> Answer {
        let spent = self.database.spent_for_commit();
        let answer = match self.prepare_commit(prepared) {
            Ok(()) => self.commit(prepared, &spent),
            Err(error) => Answer::Refused(error),
        };
        if !matches!(answer, Answer::Ok) {
            self.database.inner().spent.lock().extend(spent);
        }
        answer
    }

    fn commit(&mut self, prepared: &[ResourceId], spent: &[TxnId]) -> Answer {
        let commands = self.commands(prepared, spent);
        failpoint::hit("postgres_resource.commit.before_commit");
        let Err(error) = self.command(&commands, "be committed") else {
            failpoint::hit("postgres_resource.commit.after_commit");
            self.connection.note_prepared();
            self.phase = Phase::Decided(prepared.to_vec());
            self.leave();
            return Answer::Ok;
        };
        self.phase = Phase::Ended;
        self.connection.spoil();
        self.leave();
        if self.is_unasked && error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
            // It has changed nothing, as it will say when it is run again and asked.
            self.database.inner().habit.saw(false);
            return Answer::Refused(Box::new(Retryable(error.into())));
        }
        match self.not_written(&error) {
            Some(reason) => Answer::Refused(report(reason)),
            // Whoever runs it again finds out if its incarnation went meanwhile.
            None if error.is_definite() => Answer::Refused(report(error)),
            None => self.ask(prepared, report(error)),
        }
    }

    /// The outcome record and the `COMMIT`, in one piece.
    fn commands(&self, prepared: &[ResourceId], spent: &[TxnId]) -> String {
        if self.database.register().is_none() {
            return "COMMIT".to_owned();
        }
        let commands = table::commit(self.txn, prepared, spent);
        if self.connection.is_prepared() {
            return commands;
        }
        table::preparation(self.database.inner().pool.schema()) + &commands
    }

    /// Why the outcome could not be written, if that is what failed: the `COMMIT` was not heard then.
    fn not_written(&self, error: &DatabaseError) -> Option<DatabaseError> {
        let schema = self.database.inner().pool.schema();
        Some(match table::not_written(error.by_server()?, schema)? {
            NotWritten::Decided => DatabaseError::Decided(self.txn),
            NotWritten::Gone => self.database.gone(self.txn),
            NotWritten::Ended => DatabaseError::Ended(self.place()),
            NotWritten::NotDurable => DatabaseError::NotDurable {
                place: self.place(),
                setting: "fsync = off or synchronous_commit = off".to_owned(),
            },
        })
    }

    fn prepare_commit(&mut self, prepared: &[ResourceId]) -> Result<(), BoxError> {
        for handed in std::mem::take(&mut self.handed) {
            self.write_handed(&handed)
                .map_err(|error| self.explain(error))?;
            self.handed.push(handed);
        }
        self.check_decider(prepared).map_err(report)
    }

    fn write_handed(&mut self, handed: &HandedBatch) -> Result<(), BoxError> {
        let Some(store) = self.database.inner().store.clone() else {
            return Err(DatabaseError::NotShared(self.place()).into());
        };
        let now = store.now()?;
        let pool = &self.database.inner().pool;
        let batch = handed.batch().clone();
        let written =
            pool.block(|| write_batch(&mut self.connection.session(pool.schema()), batch, now))?;
        handed.note(written?);
        Ok(())
    }

    /// Why tasks could not be written, if that is because the transaction is over, which nobody has asked before.
    fn explain(&mut self, error: BoxError) -> BoxError {
        let is_read_only =
            store::Error::among(&*error).is_some_and(|error| error.kind == Kind::ReadOnly);
        if !(self.is_unasked && is_read_only) {
            return error;
        }
        match self.check_open() {
            Err(ended @ DatabaseError::Ended(_)) => report(ended),
            // It may only read, or is another and has failed with what it was to write.
            _ => error,
        }
    }

    fn check_decider(&self, prepared: &[ResourceId]) -> Result<(), DatabaseError> {
        if prepared.is_empty() {
            Ok(())
        } else if self.database.register().is_none() {
            Err(DatabaseError::NoRegister(self.place()))
        } else {
            self.refuse_lax(&["fsync", "synchronous_commit"])
        }
    }

    /// Finds out whether the transaction was committed, by trying to write that it was not.
    fn ask(&mut self, prepared: &[ResourceId], lost: BoxError) -> Answer {
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
        self.phase = Phase::Decided(prepared.to_vec());
        answer
    }

    /// Notes that the outcome is known here, so that its record is needed only by those it lists.
    pub(super) fn note_committed(&self, prepared: Vec<ResourceId>) {
        let Some(register) = self.database.register() else {
            return;
        };
        if prepared.is_empty() {
            self.database.note_spent(self.txn);
            return;
        }
        let row = OutcomeRow {
            txn: self.txn,
            decision: Decision::Committed,
            stores: prepared,
        };
        garbage::note_committed(&*register, &self.registers, row);
    }

    pub(super) fn announce(&self) {
        if let (false, Some(store)) = (self.handed.is_empty(), &self.database.inner().store) {
            store.announce();
        }
    }
}
