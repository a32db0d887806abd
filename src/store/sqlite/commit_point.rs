//! The store as a register: the place where decisions are written.

use super::SqliteStore;
use super::error::{Fault, Result};
use super::presence::Role;
use super::register;
use super::statements::Statements;
use super::writer::{Durability, Write};
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError};
use crate::time::Timestamp;

const DECIDE: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["sqlite.decide.before_commit", "sqlite.decide.after_commit"],
};
const FORGET: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["sqlite.forget.before_commit", "sqlite.forget.after_commit"],
};

type Answered<T> = std::result::Result<T, RegisterError>;

impl Register for SqliteStore {
    fn resource(&self) -> ResourceId {
        self.identity.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Answered<()> {
        let operation = "enroll an incarnation";
        // Before anybody can look whether it is alive.
        self.prove_alive(incarnation)
            .map_err(|fault| fault.in_register(self.identity.id, operation))?;
        self.ask(DECIDE, operation, move |connection| {
            Ok(register::enroll(connection, incarnation, now)?)
        })
    }

    fn decide(&self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answered<Answer> {
        let stores = stores.to_vec();
        self.ask(DECIDE, "decide a transaction", move |connection| {
            Ok(register::decide(connection, txn, want, &stores)?)
        })
    }

    fn outcomes(&self, after: Option<TxnId>, limit: usize) -> Answered<Vec<OutcomeRow>> {
        self.ask(DECIDE, "list outcomes", move |connection| {
            Ok(register::outcomes(connection, after, limit)?)
        })
    }

    fn incarnations(&self) -> Answered<Vec<IncarnationRow>> {
        self.ask(DECIDE, "list incarnations", |connection| {
            Ok(register::incarnations(connection)?)
        })
    }

    fn departed(&self) -> Answered<Vec<Incarnation>> {
        let rows = self.incarnations()?;
        let mut departed = Vec::new();
        for row in rows {
            match self.presences.is_departed(Role::Manager, row.incarnation) {
                Ok(true) => departed.push(row.incarnation),
                Ok(false) => {}
                Err(fault) => {
                    return Err(fault.in_register(self.identity.id, "look who has departed"));
                }
            }
        }
        Ok(departed)
    }

    fn close(&self, incarnation: Incarnation) -> Answered<()> {
        self.ask(DECIDE, "close an incarnation", move |connection| {
            Ok(register::close(connection, incarnation)?)
        })
    }

    fn forget(&self, txns: &[TxnId]) -> Answered<usize> {
        let txns = txns.to_vec();
        self.ask(FORGET, "forget outcomes", move |connection| {
            Ok(register::forget(connection, &txns)?)
        })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Answered<bool> {
        self.ask(DECIDE, "drop an incarnation", move |connection| {
            Ok(register::drop_incarnation(connection, incarnation)?)
        })
    }
}

impl SqliteStore {
    /// Every question is a write: an answer must not come from what is not on disk.
    fn ask<T: Send + 'static>(
        &self,
        write: Write,
        operation: &'static str,
        ask: impl FnMut(&Statements<'_>) -> Result<T> + Send + 'static,
    ) -> Answered<T> {
        self.refuse_clone()
            .and_then(|()| self.write(write, ask))
            .map_err(|fault| fault.in_register(self.identity.id, operation))
    }

    /// While the store is open its process's incarnations are not departed.
    fn prove_alive(&self, incarnation: Incarnation) -> Result<()> {
        if self.presences.is_attended(Role::Manager, incarnation) {
            return Ok(());
        }
        let guard = self.presences.attend(Role::Manager, incarnation)?;
        self.enrolled.lock().push(guard);
        Ok(())
    }

    /// Of a store and its copy only one may answer for the decisions that were made in it.
    fn refuse_clone(&self) -> Result<()> {
        if self.is_original {
            return Ok(());
        }
        let made_in = &self.identity.fingerprint;
        Err(Fault::copied(made_in))
    }
}
