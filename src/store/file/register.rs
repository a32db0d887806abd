//! The store as a register: the place where decisions are written.

use super::FileStore;
use super::desk::Desk;
use super::error::{Fault, Result};
use super::writer::{Durability, Write};
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError};
use crate::store::Kind;
use crate::store::presence::Role;
use crate::time::Timestamp;

const DECIDE: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["file.decide.before_commit", "file.decide.after_commit"],
};
const FORGET: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["file.forget.before_commit", "file.forget.after_commit"],
};

type Answered<T> = std::result::Result<T, RegisterError>;

impl Register for FileStore {
    fn resource(&self) -> ResourceId {
        self.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Answered<()> {
        let operation = "enrol an incarnation";
        // Before anybody can look whether it is alive.
        self.prove_alive(incarnation)
            .map_err(|fault| fault.in_register(self.id, operation))?;
        let host = self.host.clone();
        self.ask(DECIDE, operation, move |desk| {
            if desk.ledger.outcomes.enroll(incarnation, &host, now) {
                return Ok(());
            }
            Err(Kind::IncarnationGone(incarnation).into())
        })
    }

    fn decide(&self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answered<Answer> {
        let stores = stores.to_vec();
        self.ask(DECIDE, "decide a transaction", move |desk| {
            Ok(desk.ledger.outcomes.decide(txn, want, &stores))
        })
    }

    fn outcomes(&self, after: Option<TxnId>, limit: usize) -> Answered<Vec<OutcomeRow>> {
        self.ask(DECIDE, "list outcomes", move |desk| {
            Ok(desk.ledger.outcomes.page(after, limit))
        })
    }

    fn incarnations(&self) -> Answered<Vec<IncarnationRow>> {
        self.ask(DECIDE, "list incarnations", |desk| {
            Ok(desk.ledger.outcomes.incarnations())
        })
    }

    fn departed(&self) -> Answered<Vec<Incarnation>> {
        let mut departed = Vec::new();
        for row in self.incarnations()? {
            match self.presences.is_departed(Role::Manager, row.incarnation) {
                Ok(true) => departed.push(row.incarnation),
                Ok(false) => {}
                Err(error) => {
                    let fault = Fault::from(error);
                    return Err(fault.in_register(self.id, "look who has departed"));
                }
            }
        }
        Ok(departed)
    }

    fn close(&self, incarnation: Incarnation) -> Answered<()> {
        self.ask(DECIDE, "close an incarnation", move |desk| {
            desk.ledger.outcomes.close(incarnation);
            Ok(())
        })
    }

    fn forget(&self, txns: &[TxnId]) -> Answered<usize> {
        let txns = txns.to_vec();
        self.ask(FORGET, "forget outcomes", move |desk| {
            Ok(desk.ledger.outcomes.forget(&txns))
        })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Answered<bool> {
        self.ask(DECIDE, "drop an incarnation", move |desk| {
            Ok(desk.ledger.outcomes.drop_incarnation(incarnation))
        })
    }
}

impl FileStore {
    /// Every question goes through the writer: what others have appended is flushed before an answer
    /// comes from it.
    fn ask<T: Send + 'static>(
        &self,
        write: Write,
        operation: &'static str,
        ask: impl FnOnce(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Answered<T> {
        self.refuse_clone()
            .and_then(|()| self.write(write, ask))
            .map_err(|fault| fault.in_register(self.id, operation))
    }

    /// While the store is open its process's incarnations are not departed.
    fn prove_alive(&self, incarnation: Incarnation) -> Result<()> {
        self.here()?;
        if self.presences.is_attended(Role::Manager, incarnation) {
            return Ok(());
        }
        let guard = self.presences.attend(Role::Manager, incarnation)?;
        let taken = || Kind::Invalid(format!("incarnation {incarnation} is attended elsewhere"));
        self.enrolled.lock().push(guard.ok_or_else(taken)?);
        Ok(())
    }

    /// Of a store and its copy only one may answer for the decisions that were made in it.
    fn refuse_clone(&self) -> Result<()> {
        let (made_in, is_here) = &self.made_in;
        if *is_here {
            return Ok(());
        }
        Err(Fault::copied(made_in))
    }
}
