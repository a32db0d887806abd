//! Begins transactions, and remembers those whose outcome could not be learnt.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, Registers};
use crate::txn::data_manager::BoxError;
use crate::txn::error::{BeginError, CommitError, IncarnationGone, RunError, find, guarded};
use crate::txn::execution::Execution;
use crate::txn::plan::Committed;
use crate::txn::synchronizer::{Synchronizer, SynchronizerId};
use crate::txn::transaction::Transaction;
use crate::txn::work::{Seat, Work};

/// Begins transactions. Cheap to clone; clones share everything. One for a process is enough.
///
/// A manager belongs to the process that made it: after a fork the child makes its own.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = votive::txn::TransactionManager::new();
/// let mut txn = manager.begin()?;
/// txn.note("nothing to do");
/// let committed = txn.commit()?;
/// assert!(committed.pending.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct TransactionManager(Arc<Shared>);

#[derive(Default)]
struct Shared {
    registers: Registers,
    start: Mutex<Start>,
    synchronizers: Mutex<Synchronizers>,
    undecided: Mutex<Vec<Undecided>>,
}

/// What makes transaction ids unique.
struct Start {
    process: u32,
    incarnation: Incarnation,
    sequence: u64,
}

#[derive(Default)]
struct Synchronizers {
    added: u64,
    present: Vec<(SynchronizerId, Arc<dyn Synchronizer>)>,
}

/// What is left of a transaction whose outcome could not be learnt.
pub(super) struct Undecided {
    pub(super) txn: TxnId,
    pub(super) commit_point: Option<ResourceId>,
    /// Those who voted, in the order of calls.
    pub(super) seats: Vec<Seat>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            process: std::process::id(),
            incarnation: Incarnation::random(),
            sequence: 0,
        }
    }
}

impl TransactionManager {
    /// Creates a manager with an incarnation of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a transaction, after [settling](Self::settle_undecided) what was left undecided.
    ///
    /// # Errors
    /// No transaction began; one that a synchronizer refused was aborted.
    pub fn begin(&self) -> Result<Transaction, BeginError> {
        let txn = self.mint()?;
        self.settle_undecided();
        let work = Work::new(txn, self.0.registers.clone(), Vec::new());
        let mut transaction = Transaction::new(work, self.clone());
        for synchronizer in self.synchronizers() {
            guarded(|| synchronizer.new_transaction(&mut transaction))
                .map_err(BeginError::Synchronizer)?;
        }
        Ok(transaction)
    }

    /// Runs `work` in a transaction and commits it; does it again, up to `attempts` times in all, while
    /// the failure is worth a retry. Each attempt is a transaction of its own.
    ///
    /// A panic of `work` aborts and goes on; it is not retried, nor are a doomed transaction, one whose
    /// outcome is not known, and anything after the decision.
    ///
    /// # Errors
    /// Each says what state the world is in. The error is that of the last attempt.
    pub fn run<T, E: Into<BoxError>>(
        &self,
        attempts: u32,
        mut work: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<(T, Committed), RunError> {
        for left in (0..attempts).rev() {
            match self.attempt(&mut work, left == 0) {
                Err(Attempt {
                    error,
                    retryable: true,
                }) if left > 0 => {
                    tracing::debug!(%error, left, "an attempt failed and is made again");
                }
                Err(Attempt { error, .. }) => return Err(error),
                Ok(done) => return Ok(done),
            }
        }
        Err(RunError::NoAttempts)
    }

    /// Returns the registers that recovery and [`settle_undecided`](Self::settle_undecided) ask.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.0.registers
    }

    /// Returns the present incarnation, under which transactions begin.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.start.lock().incarnation
    }

    /// Mints an id for a transaction that is applied to one store directly.
    ///
    /// # Errors
    /// [`BeginError::Forked`]: two processes would mint the same ids.
    pub fn mint(&self) -> Result<TxnId, BeginError> {
        let mut start = self.0.start.lock();
        if start.process != std::process::id() {
            return Err(BeginError::Forked);
        }
        start.sequence += 1;
        Ok(TxnId {
            incarnation: start.incarnation,
            sequence: start.sequence,
        })
    }

    /// Draws a new incarnation if `gone` is still the present one. Never restores one.
    pub fn renew(&self, gone: Incarnation) {
        let mut start = self.0.start.lock();
        if start.incarnation == gone {
            start.incarnation = Incarnation::random();
            start.sequence = 0;
        }
    }

    pub(super) fn renew_if_gone(&self, error: &(dyn StdError + 'static)) {
        if let Some(IncarnationGone(gone)) = find(error) {
            self.renew(*gone);
        }
    }

    /// Adds a synchronizer, for transactions that begin or end from now on.
    pub fn add_synchronizer(&self, synchronizer: Arc<dyn Synchronizer>) -> SynchronizerId {
        let mut synchronizers = self.0.synchronizers.lock();
        synchronizers.added += 1;
        let id = SynchronizerId(synchronizers.added);
        synchronizers.present.push((id, synchronizer));
        id
    }

    /// Removes a synchronizer; it is told of nothing any more.
    pub fn remove_synchronizer(&self, id: SynchronizerId) {
        let removed = {
            let present = &mut self.0.synchronizers.lock().present;
            let position = present.iter().position(|(other, _)| *other == id);
            position.map(|position| present.remove(position))
        };
        // Its drop is foreign code, and runs without the lock.
        drop(removed);
    }

    /// Whether somebody may have participants join when a transaction is about to end.
    pub(crate) fn has_synchronizers(&self) -> bool {
        !self.0.synchronizers.lock().present.is_empty()
    }

    pub(super) fn synchronizers(&self) -> Vec<Arc<dyn Synchronizer>> {
        let synchronizers = self.0.synchronizers.lock();
        let present = synchronizers.present.iter();
        present
            .map(|(_, synchronizer)| Arc::clone(synchronizer))
            .collect()
    }

    pub(super) fn keep(&self, undecided: Undecided) {
        self.0.undecided.lock().push(undecided);
    }

    /// Finishes or aborts what was left undecided, as far as registers answer; returns how many are left.
    /// Dropping the manager leaves the rest to recovery.
    ///
    /// # Blocking
    /// As long as the registers take to answer; not at all if nothing was left undecided.
    #[expect(
        clippy::must_use_candidate,
        reason = "it is called for what it does; the count is for those who report it"
    )]
    pub fn settle_undecided(&self) -> usize {
        let asked = std::mem::take(&mut *self.0.undecided.lock());
        if asked.is_empty() {
            return 0;
        }
        for undecided in asked {
            match self.ask(&undecided) {
                Some(decision) => self.settle(undecided, decision),
                None => self.keep(undecided),
            }
        }
        self.0.undecided.lock().len()
    }

    /// Asks the register as the owner.
    fn ask(&self, undecided: &Undecided) -> Option<Decision> {
        let txn = undecided.txn;
        let register = self.0.registers.find(undecided.commit_point?)?;
        let answer = guarded(|| Ok(register.decide(txn, Decision::Aborted, &[])?));
        let answer = answer.inspect_err(|error| {
            tracing::warn!(%txn, %error, "the register could not say what became of a transaction");
        });
        answer.ok().and_then(Answer::as_owner)
    }

    fn settle(&self, undecided: Undecided, decision: Decision) {
        let registers = self.0.registers.clone();
        let mut work = Work::new(undecided.txn, registers, undecided.seats);
        Execution::new(&mut work, self).settle(decision);
    }

    fn attempt<T, E: Into<BoxError>>(
        &self,
        work: &mut impl FnMut(&mut Transaction) -> Result<T, E>,
        is_last: bool,
    ) -> Result<(T, Committed), Attempt> {
        let mut txn = self.begin().map_err(Attempt::not_begun)?;
        match work(&mut txn) {
            Ok(value) => {
                let committed = txn.commit().map_err(Attempt::not_committed)?;
                Ok((value, committed))
            }
            Err(error) => Err(self.undone(txn, error.into(), is_last)),
        }
    }

    /// Asks whether a retry is worth it, unless there is none left, then aborts.
    fn undone(&self, txn: Transaction, error: BoxError, is_last: bool) -> Attempt {
        self.renew_if_gone(&*error);
        let retryable = !is_last && !txn.is_doomed() && txn.is_retryable(&*error);
        drop(txn);
        Attempt {
            error: RunError::Work(error),
            retryable,
        }
    }
}

/// An attempt that failed.
struct Attempt {
    error: RunError,
    retryable: bool,
}

impl Attempt {
    fn not_begun(error: BeginError) -> Self {
        Self {
            error: RunError::Begin(error),
            retryable: false,
        }
    }

    fn not_committed(error: CommitError) -> Self {
        let retryable = matches!(
            error,
            CommitError::Refused {
                retryable: true,
                ..
            }
        );
        Self {
            error: RunError::Commit(error),
            retryable,
        }
    }
}

impl fmt::Debug for TransactionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionManager")
            .field("incarnation", &self.incarnation())
            .finish_non_exhaustive()
    }
}
