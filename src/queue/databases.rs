//! Databases that have prepared: told how their transactions ended, before anything else becomes visible.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{ResourceId, TxnId};
use crate::queue::decision::{self, Action};
use crate::register::{
    Decision, OutcomeRow, PreparedTxn, Preparing, Register, RegisterError, Registers,
};

/// What recovery did with transactions that databases had prepared, and what it had to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InDatabases {
    /// Those that were committed.
    pub committed: usize,
    /// Those that were rolled back.
    pub rolled_back: usize,
    /// Those that stay prepared: nobody could say how they ended, or the database could not be told.
    pub in_doubt: usize,
}

/// Commits, in every database among `stores`, what it holds of a transaction that is decided to commit;
/// returns those that have committed. One that is unknown here or fails is logged, and the others go on.
pub(super) fn commit(
    registers: &Registers,
    (register, txn): (ResourceId, TxnId),
    stores: &[ResourceId],
) -> BTreeSet<ResourceId> {
    let databases = stores.iter().filter(|id| id.is_preparing_database());
    let mut finished = BTreeSet::new();
    for database in databases {
        let Some(found) = registers.find_database(*database) else {
            tracing::warn!(%txn, %database, "a database that prepared is not known here");
            continue;
        };
        match found.commit_prepared(register, txn) {
            Ok(()) => drop(finished.insert(*database)),
            Err(error) => tracing::warn!(%txn, %database, %error, "a database has yet to commit"),
        }
    }
    finished
}

/// Commits, in every database that the outcome record lists, what it holds of a transaction that is
/// decided to commit; returns whether any has yet to.
pub(super) fn commit_listed(
    registers: &Registers,
    register: &dyn Register,
    txn: TxnId,
) -> Result<bool, RegisterError> {
    let stores = listed(register, txn)?.map_or_else(Vec::new, |row| row.stores);
    let finished = commit(registers, (register.resource(), txn), &stores);
    Ok(decision::unfinished(&stores, &finished))
}

fn listed(register: &dyn Register, txn: TxnId) -> Result<Option<OutcomeRow>, RegisterError> {
    let before = TxnId {
        sequence: txn.sequence.saturating_sub(1),
        ..txn
    };
    let rows = register.outcomes(Some(before), 1)?;
    Ok(rows.into_iter().find(|row| row.txn == txn))
}

/// Ends what was prepared longer than `grace` ago in every database that is known, as its register says.
///
/// What names a register that is not known here belongs to somebody else, and is left alone.
pub(super) fn recover(registers: &Registers, grace: Duration) -> InDatabases {
    let mut total = InDatabases::default();
    for database in registers.databases() {
        let resource = database.resource();
        match database.prepared() {
            Ok(prepared) => {
                let due = prepared.into_iter().filter(|found| found.age >= grace);
                due.for_each(|found| settle(&*database, registers, found, &mut total));
            }
            Err(error) => {
                tracing::warn!(database = %resource, %error, "it could not say what it has prepared");
            }
        }
    }
    total
}

fn settle(
    database: &dyn Preparing,
    registers: &Registers,
    found: PreparedTxn,
    total: &mut InDatabases,
) {
    let PreparedTxn { register, txn, .. } = found;
    let Some(known) = registers.find(register) else {
        return;
    };
    match end(database, &*known, txn) {
        Ok(Action::Publish) => total.committed += 1,
        Ok(Action::Discard) => total.rolled_back += 1,
        Ok(Action::Wait) => total.in_doubt += 1,
        Err(error) => {
            let database = database.resource();
            tracing::warn!(%txn, %register, %database, %error, "a prepared transaction is in doubt");
            total.in_doubt += 1;
        }
    }
}

/// Asks the register, writing *aborted* if it has no record yet, and does what it says.
fn end(
    database: &dyn Preparing,
    register: &dyn Register,
    txn: TxnId,
) -> Result<Action, Box<dyn std::error::Error + Send + Sync>> {
    let answer = register.decide(txn, Decision::Aborted, &[])?;
    let action = decision::action(answer, false);
    match action {
        Action::Publish => database.commit_prepared(register.resource(), txn)?,
        Action::Discard => database.roll_back_prepared(register.resource(), txn)?,
        Action::Wait => {}
    }
    Ok(action)
}
