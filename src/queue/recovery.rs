//! Recovery: settles what crashes left staged. Any process may run it, at any time, any number of times
//! at once; what is true is in the registers, and recovery only asks and obeys.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Incarnation, TxnId};
use crate::queue::data_manager::introduce;
use crate::queue::databases::{self, InDatabases};
use crate::queue::decision::{Action, action, is_due};
use crate::queue::garbage::{self, Collected};
use crate::queue::turn::take_turn;
use crate::register::{Decision, Register, RegisterError, Registers, Tier};
use crate::store::{self, InDoubt, Kind, Published, Store};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// How old a staged batch must be before recovery asks about it, unless the caller says otherwise.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// How many staged batches are read at once.
const PAGE: usize = 256;

/// How often in a row a store may fail to answer before its other batches are left for the next time.
const UNANSWERED_MAX: usize = 2;

/// What a recovery did, and what it had to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Batches of committed transactions that are visible now.
    pub published: usize,
    /// Batches of aborted transactions that are forgotten now.
    pub discarded: usize,
    /// Batches that stay in doubt: their register is not known here, could not be asked, or could not
    /// say yet.
    pub in_doubt: usize,
    /// When the oldest of those was staged.
    pub in_doubt_since: Option<Timestamp>,
    /// Batches of committed transactions that the store did not know any more when they were to be
    /// published: another recovery was much faster, or tasks are lost.
    pub unknown: usize,
    /// What became of transactions that databases had prepared.
    pub databases: InDatabases,
    /// Outcome records that were forgotten, and incarnations that were dropped with theirs.
    pub garbage: Collected,
}

/// Settles what crashes left in doubt in `store`, and in the databases that can prepare, asking the manager's
/// registers; then collects garbage.
///
/// What is younger than [`GRACE_DEFAULT`] is left alone, since its owner is probably at work, unless its owner is
/// proved dead.
///
/// # Errors
/// The store failed; this is its first error. A batch that it could not settle keeps no other from being settled,
/// unless the store cannot be reached at all. Databases and garbage have been seen to in any case. Call again.
pub fn recover(store: &Arc<dyn Store>, manager: &TransactionManager) -> store::Result<Recovered> {
    recover_older_than(store, manager, GRACE_DEFAULT)
}

/// As [`recover`], if it is this process's turn: of those that know the same registers and databases one
/// recovers for each `interval`, by the store's clock (see [`take_turn`]). `None` if it is not; what is
/// this process's own to settle is settled all the same.
///
/// # Errors
/// As [`recover`], and as [`take_turn`].
pub fn recover_in_turn(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    interval: Duration,
) -> store::Result<Option<Recovered>> {
    let registers = manager.registers();
    introduce(store, registers);
    let turn = format!("recovery/{:016x}", registers.digest());
    if take_turn(store, manager, &turn, interval)? {
        return recover(store, manager).map(Some);
    }
    manager.settle_undecided();
    garbage::collect_own(registers);
    Ok(None)
}

/// As [`recover`], with another grace period; zero asks about every staged batch, and so aborts
/// transactions that have voted and not yet committed.
///
/// # Errors
/// As [`recover`].
pub fn recover_older_than(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    grace: Duration,
) -> store::Result<Recovered> {
    let registers = manager.registers();
    introduce(store, registers);
    manager.settle_undecided();
    let mut recovered = Recovered::default();
    let settled = settle_staged(&**store, registers, grace, &mut recovered);
    recovered.databases = databases::recover(registers, grace);
    recovered.garbage = garbage::collect_all(registers);
    settled.map(|()| recovered)
}

/// Settles what is staged in a store; returns the first error.
fn settle_staged(
    store: &dyn Store,
    registers: &Registers,
    grace: Duration,
    recovered: &mut Recovered,
) -> store::Result<()> {
    let now = store.now()?;
    let (mut failed, mut unanswered) = (None, 0);
    // Looked up only after what is in doubt was listed: who staged is enrolled before.
    let living = LazyCell::new(|| garbage::or_later(garbage::living(registers).map(Some)));
    let may_live =
        |incarnation: &Incarnation| living.as_ref().is_none_or(|of| of.contains(incarnation));
    for in_doubt in all_in_doubt(store)? {
        let is_young = !is_due(&in_doubt, now, grace);
        if is_young && may_live(&in_doubt.txn.incarnation) {
            continue;
        }
        let action = judge(store, registers, &in_doubt);
        match carry_out(store, &in_doubt, action, recovered) {
            // The store was not asked.
            Ok(()) if action == Action::Wait => {}
            Ok(()) => unanswered = 0,
            Err(error) => {
                tracing::error!(txn = %in_doubt.txn, %error, "a batch could not be settled");
                let is_unanswered = error.kind == Kind::Unavailable;
                unanswered = if is_unanswered { unanswered + 1 } else { 0 };
                failed.get_or_insert(error);
            }
        }
        if unanswered == UNANSWERED_MAX {
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Reads all staged batches of a store, oldest id first.
pub(super) fn all_in_doubt(store: &dyn Store) -> store::Result<Vec<InDoubt>> {
    let mut all: Vec<InDoubt> = Vec::new();
    loop {
        let after = all.last().map(|in_doubt| in_doubt.txn);
        let page = store.in_doubt(after, PAGE)?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Decides what to do with one staged batch. What cannot be learnt stays in doubt.
fn judge(store: &dyn Store, registers: &Registers, in_doubt: &InDoubt) -> Action {
    let capabilities = store.capabilities();
    // Nobody writes outcomes for a store that does not outlive the process: its owner is alive. Not so where a server
    // is merely not trusted to keep what it has.
    if capabilities.tier_max == Tier::Volatile && !capabilities.shared {
        return Action::Wait;
    }
    let (txn, register) = (in_doubt.txn, in_doubt.register);
    let Some(found) = registers.find(register) else {
        tracing::warn!(%txn, %register, "in doubt: the register is not known here; introduce its database to the manager");
        return Action::Wait;
    };
    ask(&*found, registers, txn).unwrap_or_else(|error| {
        tracing::warn!(%txn, %register, %error, "in doubt: the register could not be asked");
        Action::Wait
    })
}

/// Asks a register about a staged batch, writing *aborted* if it has no record yet. Of a transaction that
/// committed, the databases that prepared commit before this returns, or the batch has to wait.
pub(super) fn ask(
    register: &dyn Register,
    registers: &Registers,
    txn: TxnId,
) -> Result<Action, RegisterError> {
    let answer = register.decide(txn, Decision::Aborted, &[])?;
    let unfinished = answer.decision == Some(Decision::Committed)
        && databases::commit_listed(registers, register, txn)?;
    Ok(action(answer, unfinished))
}

fn carry_out(
    store: &dyn Store,
    in_doubt: &InDoubt,
    action: Action,
    recovered: &mut Recovered,
) -> store::Result<()> {
    match action {
        Action::Publish => match store.publish(in_doubt.txn, store.now()?)? {
            Published::Now(_) => recovered.published += 1,
            Published::Already => {}
            Published::Unknown => {
                tracing::error!(txn = %in_doubt.txn, "committed, but the store does not know its batch");
                recovered.unknown += 1;
            }
        },
        Action::Discard => {
            store.discard(in_doubt.txn)?;
            recovered.discarded += 1;
        }
        Action::Wait => {
            recovered.in_doubt += 1;
            let since = recovered.in_doubt_since.unwrap_or(in_doubt.staged_at);
            recovered.in_doubt_since = Some(since.min(in_doubt.staged_at));
        }
    }
    Ok(())
}
