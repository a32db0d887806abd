//! What a person can do about transactions in doubt. The register is asked first; a person's word
//! decides only where it cannot be asked, and is kept, with its reason, until it is forgotten.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ResourceId, TxnId};
use crate::queue::data_manager::introduce;
use crate::queue::decision::Action;
use crate::queue::error::OperatorError;
use crate::queue::mark::Found;
use crate::queue::{apply, recovery};
use crate::register::{Decision, RegisterErrorKind};
use crate::store::{self, Batch, InDoubt, Kind, Published, Store};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// The marks under which heuristic outcomes are kept: this, then the transaction.
const PREFIX: &str = "heuristic/";

/// How a transaction was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// As its register says, which is what the operator asked for.
    ByRegister,
    /// By the operator's word alone.
    ByForce,
}

/// A heuristic outcome: a transaction that was settled by a person's word, because its register could
/// not be asked. If the register says otherwise one day, tasks are lost or are visible wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Heuristic {
    /// The transaction, as text.
    #[serde(with = "text")]
    pub txn: TxnId,
    /// Where the truth is written.
    pub register: ResourceId,
    /// What the person said.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Lists what is in doubt in a store, oldest id first.
///
/// # Errors
/// Nothing changed.
pub fn in_doubt(store: &dyn Store) -> store::Result<Vec<InDoubt>> {
    recovery::all_in_doubt(store)
}

/// Settles one transaction that is in doubt in `store`, because an operator wants it so for a reason.
///
/// The register is asked first, and its word counts. With `force` the operator's word decides where
/// the register cannot be asked, and is recorded.
///
/// # Errors
/// [`OperatorError`]; each kind says whether anything changed.
pub fn settle(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    txn: TxnId,
    want: Wish<'_>,
) -> Result<Settled, OperatorError> {
    if want.reason.trim().is_empty() {
        return Err(OperatorError::NoReason);
    }
    introduce(store, manager.registers());
    let found = find(&**store, txn)?;
    match ask(manager, &found) {
        Ok(Action::Wait) => Err(OperatorError::StillInDoubt(txn)),
        Ok(action) => follow(&**store, txn, action, want.decision),
        Err(OperatorError::Unreachable { .. }) if want.force => {
            record(store, manager, &found, want)?;
            carry_out(&**store, txn, want.decision)?;
            Ok(Settled::ByForce)
        }
        Err(error) => Err(error),
    }
}

/// What an operator wants to become of a transaction in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish<'a> {
    /// What it shall be.
    pub decision: Decision,
    /// Why; for whoever asks later.
    pub reason: &'a str,
    /// Whether it shall be so even if the register cannot be asked.
    pub force: bool,
}

/// Lists the transactions that were settled by a person's word and not forgotten yet.
///
/// # Errors
/// Nothing changed. [`Kind::Corrupt`] names a record that cannot be read.
pub fn heuristics(store: &dyn Store) -> store::Result<Vec<Heuristic>> {
    let marks = store.marks(PREFIX)?;
    let read = |(key, value): (String, Vec<u8>)| {
        serde_json::from_slice(&value).map_err(|error| {
            let backend = store.capabilities().backend;
            let kind = Kind::Corrupt(format!("the mark `{key}`"));
            store::Error::new(kind, backend, "read a heuristic outcome").with_source(error)
        })
    };
    marks.into_iter().map(read).collect()
}

/// Forgets that a transaction was settled by a person's word. Returns whether it had been.
///
/// # Errors
/// It is not forgotten.
pub fn forget_heuristic(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    txn: TxnId,
) -> store::Result<bool> {
    let found = Found::read(&**store, key(txn))?;
    if found.value().is_none() {
        return Ok(false);
    }
    apply(store, manager, &Batch::new(vec![found.removed()]))?;
    Ok(true)
}

fn find(store: &dyn Store, txn: TxnId) -> Result<InDoubt, OperatorError> {
    let mut all = in_doubt(store)?.into_iter();
    all.find(|in_doubt| in_doubt.txn == txn)
        .ok_or(OperatorError::NotInDoubt(txn))
}

fn ask(manager: &TransactionManager, found: &InDoubt) -> Result<Action, OperatorError> {
    let unreachable = |source| OperatorError::Unreachable {
        register: found.register,
        source,
    };
    let register = manager.registers().find(found.register);
    let register = register.ok_or_else(|| unreachable(None))?;
    recovery::ask(&*register, manager.registers(), found.txn).map_err(|error| match error.kind {
        RegisterErrorKind::Locked => OperatorError::StillInDoubt(found.txn),
        _ => unreachable(Some(error)),
    })
}

/// Does what the register says, and tells the operator if that is not what was asked.
fn follow(
    store: &dyn Store,
    txn: TxnId,
    action: Action,
    want: Decision,
) -> Result<Settled, OperatorError> {
    let decision = match action {
        Action::Publish => Decision::Committed,
        Action::Discard => Decision::Aborted,
        Action::Wait => return Err(OperatorError::StillInDoubt(txn)),
    };
    carry_out(store, txn, decision)?;
    if decision == want {
        return Ok(Settled::ByRegister);
    }
    Err(OperatorError::Contradicted { txn, decision })
}

fn carry_out(store: &dyn Store, txn: TxnId, decision: Decision) -> Result<(), OperatorError> {
    match decision {
        Decision::Aborted => store.discard(txn)?,
        Decision::Committed => {
            if store.publish(txn, store.now()?)? == Published::Unknown {
                return Err(OperatorError::NotInDoubt(txn));
            }
        }
    }
    Ok(())
}

/// Keeps the operator's word before it is carried out: a crash between leaves a record and a
/// transaction that is still in doubt, never a transaction settled without a record.
fn record(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    found: &InDoubt,
    want: Wish<'_>,
) -> Result<(), OperatorError> {
    let heuristic = Heuristic {
        txn: found.txn,
        register: found.register,
        decision: want.decision,
        reason: want.reason.to_owned(),
        at: store.now()?,
    };
    let mark = Found::read(&**store, key(found.txn))?;
    let keep = mark.saying(&heuristic, &**store, "write a heuristic outcome")?;
    apply(store, manager, &Batch::new(vec![keep]))?;
    Ok(())
}

fn key(txn: TxnId) -> String {
    format!("{PREFIX}{txn}")
}

/// An id as its text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }
}
