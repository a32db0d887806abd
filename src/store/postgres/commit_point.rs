//! The store as a register: the place where decisions are written.

use std::time::Duration;

use super::PostgresStore;
use super::error::{Fault, Result};
use super::pool::{Durability, Txn, Write};
use super::presence::Role;
use super::register;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError};
use crate::time::Timestamp;

const DECIDE: Write<'static> = Write {
    durability: Durability::Flushed,
    failpoints: [
        "postgres.decide.before_commit",
        "postgres.decide.after_commit",
    ],
    wakes: None,
};
const FORGET: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: [
        "postgres.forget.before_commit",
        "postgres.forget.after_commit",
    ],
    wakes: None,
};

/// How long an incarnation is taken for alive after its process was last heard of.
pub(crate) const MANAGER_LEASE: Duration = Duration::from_secs(60);

type Answered<T> = std::result::Result<T, RegisterError>;

impl Register for PostgresStore {
    fn resource(&self) -> ResourceId {
        self.identity.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Answered<()> {
        // Before anybody can look whether it is alive.
        let guard = self
            .presences
            .attend(Role::Manager, incarnation, MANAGER_LEASE);
        self.ask(DECIDE, "enrol an incarnation", |session| {
            let alive_until = now.saturating_add(MANAGER_LEASE);
            register::enroll(session, incarnation, now, Some(alive_until))
        })?;
        self.enrolled.lock().push(guard);
        self.keeper.nudge();
        Ok(())
    }

    fn decide(&self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answered<Answer> {
        self.ask(DECIDE, "decide a transaction", |session| {
            register::decide(session, txn, want, stores)
        })
    }

    fn outcomes(&self, after: Option<TxnId>, limit: usize) -> Answered<Vec<OutcomeRow>> {
        self.ask(DECIDE, "list outcomes", |session| {
            register::outcomes(session, after, limit)
        })
    }

    fn incarnations(&self) -> Answered<Vec<IncarnationRow>> {
        self.ask(DECIDE, "list incarnations", |session| {
            register::incarnations(session)
        })
    }

    fn departed(&self) -> Answered<Vec<Incarnation>> {
        let operation = "look who has departed";
        let now = self.clock_now();
        let now = now.map_err(|fault| fault.in_register(self.identity.id, operation))?;
        let mut departed = self.ask(DECIDE, operation, |session| {
            register::departed(session, now)
        })?;
        departed.retain(|gone| !self.presences.is_attended(Role::Manager, *gone));
        Ok(departed)
    }

    fn close(&self, incarnation: Incarnation) -> Answered<()> {
        self.ask(DECIDE, "close an incarnation", |session| {
            register::close(session, incarnation)
        })
    }

    fn forget(&self, txns: &[TxnId]) -> Answered<usize> {
        self.ask(FORGET, "forget outcomes", |session| {
            register::forget(session, txns)
        })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Answered<bool> {
        self.ask(DECIDE, "drop an incarnation", |session| {
            register::drop_incarnation(session, incarnation)
        })
    }
}

impl PostgresStore {
    /// Every question is a write: an answer must not come from what is not on disk.
    fn ask<T>(
        &self,
        write: Write<'_>,
        operation: &'static str,
        ask: impl FnOnce(&mut Txn<'_>) -> Result<T>,
    ) -> Answered<T> {
        self.refuse_clone()
            .and_then(|()| self.write(write, ask))
            .map_err(|fault| fault.in_register(self.identity.id, operation))
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
