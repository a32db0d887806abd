//! Who is told of every begin and every end, for all transactions of a manager.

use crate::id::TxnId;
use crate::txn::data_manager::BoxError;
use crate::txn::hooks::Outcome;
use crate::txn::work::Work;

/// Is told of every begin and every end of a manager's transactions. Every method is provided and does
/// nothing. No lock is held during a call, so it may begin transactions of its own.
///
/// # Order of calls
/// 1. [`new_transaction`](Self::new_transaction), by `begin`;
/// 2. [`before_completion`](Self::before_completion), before the participants are sorted, or before
///    they are aborted; not called if the transaction was doomed or a before-commit hook refused;
/// 3. [`after_completion`](Self::after_completion), when no participant is called any more.
///
/// Called in the order of adding. One that is added or removed meanwhile takes part from the next step on.
#[doc(alias = "listener")]
pub trait Synchronizer: Send + Sync {
    /// A transaction began.
    ///
    /// # Errors
    /// The transaction is aborted, and `begin` fails.
    fn new_transaction(&self, _work: &mut Work) -> Result<(), BoxError> {
        Ok(())
    }

    /// A transaction is about to commit or to abort. It may still join participants.
    ///
    /// # Errors
    /// A commit is refused, and the synchronizers that follow are not called. An abort goes on.
    fn before_completion(&self, _work: &mut Work) -> Result<(), BoxError> {
        Ok(())
    }

    /// A transaction ended. The outcome is that of a commit; `None` if the application aborted.
    ///
    /// # Errors
    /// Logged. Changes no outcome.
    fn after_completion(&self, _txn: TxnId, _outcome: Option<Outcome>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Names a synchronizer of a manager, to remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SynchronizerId(pub(super) u64);
