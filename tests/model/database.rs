//! The application's database and other participants, which fail as they are told.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use votive::id::{Incarnation, ResourceId, TxnId};
use votive::register::{
    Answer as Outcome, Decision, IncarnationRow, OutcomeRow, Register, RegisterError,
    RegisterErrorKind, Registers,
};
use votive::store::memory::MemoryStore;
use votive::time::Timestamp;
use votive::txn::{
    Answer, BoxError, DataManager, JoinError, Mark, PrepareInfo, Prepared, Role, Vote, Work,
};

use crate::program::{Flaw, Whose};

/// The application's database: rows, and the register of who committed.
#[derive(Default)]
pub(crate) struct Database {
    outcomes: MemoryStore,
    pub(crate) rows: Mutex<Vec<u64>>,
    pub(crate) is_away: AtomicBool,
    ends: Mutex<Vec<Ends>>,
}

/// How a participant ended: what it was told how often, and whether it is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ends {
    finished: usize,
    aborted: usize,
    is_gone: bool,
}

impl Database {
    /// Joins a participant to a transaction, if it has not joined yet, and has it write a row.
    pub(crate) fn write(
        self: &Arc<Self>,
        work: &mut Work,
        (whose, flaw): (Whose, Flaw),
        row: u64,
    ) -> Result<(), JoinError> {
        let registers = work.registers().clone();
        let key = match whose {
            Whose::Database => self.resource(),
            Whose::Cache => ResourceId::from_bytes([0; 16]),
        };
        let participant = work.join_with(key, |txn| {
            self.ends.lock().push(Ends::default());
            Ok(Participant {
                database: Arc::clone(self),
                registers,
                number: self.ends.lock().len() - 1,
                txn,
                whose,
                flaw,
                rows: Vec::new(),
            })
        })?;
        participant.rows.push(row);
        Ok(())
    }

    /// The participants that were aborted twice, or told to abort and to finish, or never told.
    pub(crate) fn misled(&self) -> Vec<Ends> {
        let mut ends = self.ends.lock().clone();
        ends.retain(|told| {
            let is_told_both = told.aborted > 0 && told.finished > 0;
            let is_forgotten = told.is_gone && told.aborted + told.finished == 0;
            told.aborted > 1 || is_told_both || is_forgotten
        });
        ends
    }

    /// Forgets the participants: their process died with them.
    pub(crate) fn forgive(&self) {
        self.ends.lock().clear();
    }

    fn ask<T>(
        &self,
        what: &'static str,
        ask: impl FnOnce(&MemoryStore) -> Result<T, RegisterError>,
    ) -> Result<T, RegisterError> {
        if self.is_away.load(Ordering::Relaxed) {
            let kind = RegisterErrorKind::Unreachable;
            return Err(RegisterError::new(kind, self.resource(), what));
        }
        ask(&self.outcomes)
    }
}

impl Register for Database {
    fn resource(&self) -> ResourceId {
        self.outcomes.resource()
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError> {
        self.ask("enrol", |outcomes| outcomes.enroll(incarnation, now))
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Outcome, RegisterError> {
        self.ask("decide", |outcomes| outcomes.decide(txn, want, stores))
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        self.ask("list outcomes", |outcomes| outcomes.outcomes(after, limit))
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        self.ask("list incarnations", Register::incarnations)
    }

    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        self.ask("list the departed", Register::departed)
    }

    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError> {
        self.ask("close", |outcomes| outcomes.close(incarnation))
    }

    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError> {
        self.ask("forget", |outcomes| outcomes.forget(txns))
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError> {
        self.ask("drop", |outcomes| outcomes.drop_incarnation(incarnation))
    }
}

struct Participant {
    database: Arc<Database>,
    registers: Registers,
    number: usize,
    txn: TxnId,
    whose: Whose,
    flaw: Flaw,
    rows: Vec<u64>,
}

impl Participant {
    fn fail_at(&self, flaw: Flaw) -> Result<(), BoxError> {
        if self.flaw == flaw {
            return Err(format!("told to fail: {flaw:?}").into());
        }
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut Ends)) {
        if let Some(ends) = self.database.ends.lock().get_mut(self.number) {
            note(ends);
        }
    }

    /// Fails as the connection does.
    fn lose_at(&self, flaw: Flaw) -> Result<(), BoxError> {
        let is_lost = self.flaw == flaw && self.whose == Whose::Database;
        self.database.is_away.fetch_or(is_lost, Ordering::Relaxed);
        self.fail_at(flaw)
    }

    fn decide(&self, prepared: &[ResourceId]) -> Result<(), BoxError> {
        let decided = self
            .database
            .decide(self.txn, Decision::Committed, prepared)?;
        match decided.as_owner() {
            Some(Decision::Committed) => {
                self.database.rows.lock().extend(&self.rows);
                Ok(())
            }
            other => Err(format!("somebody was faster: {other:?}").into()),
        }
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.note(|ends| ends.is_gone = true);
    }
}

impl DataManager for Participant {
    fn role(&self) -> Role {
        match self.whose {
            Whose::Database => Role::OnePhase(self.database.resource()),
            Whose::Cache => Role::Volatile,
        }
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        Ok(format!("{:?}", self.whose))
    }

    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        self.fail_at(Flaw::Prepare)?;
        if self.whose == Whose::Database {
            let incarnation = info.txn().incarnation;
            self.database.ask("begin", |_| Ok(()))?;
            self.registers
                .enroll(&*self.database, incarnation, Timestamp::EPOCH)?;
        }
        Ok(Prepared::Work)
    }

    fn vote(&mut self, vote: Vote<'_>) -> Answer {
        if let Err(error) = self.fail_at(Flaw::Vote) {
            return Answer::Refused(error);
        }
        if let Err(error) = self.lose_at(Flaw::LostBefore) {
            return Answer::Unknown(error);
        }
        if let Vote::Decide { prepared } = vote
            && let Err(error) = self.decide(prepared)
        {
            return Answer::Refused(error);
        }
        match self.lose_at(Flaw::LostAfter) {
            Ok(()) => Answer::Ok,
            Err(error) => Answer::Unknown(error),
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        self.note(|ends| ends.finished += 1);
        self.fail_at(Flaw::Finish)
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.note(|ends| ends.aborted += 1);
        Ok(())
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        Ok(Mark(self.rows.len() as u64))
    }

    fn rollback(&mut self, mark: Mark) -> Result<(), BoxError> {
        self.rows.truncate(usize::try_from(mark.0)?);
        Ok(())
    }
}
