//! A unit of work, from its begin to its end.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::txn::error::{AbortError, CommitError};
use crate::txn::execution::Execution;
use crate::txn::manager::TransactionManager;
use crate::txn::plan::Committed;
use crate::txn::work::Work;

/// A unit of work: all of it happens, or nothing. Aborts when it is dropped.
///
/// Work is done by means of [`Work`], to which it dereferences.
///
/// To end it is to give it away:
///
/// ```compile_fail,E0382
/// let txn = votive::txn::TransactionManager::new().begin().unwrap();
/// txn.commit().unwrap();
/// txn.abort().unwrap(); // there is no transaction any more
/// ```
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction {
    work: Box<Work>,
    manager: TransactionManager,
    ended: bool,
}

impl Transaction {
    pub(super) fn new(work: Box<Work>, manager: TransactionManager) -> Self {
        Self {
            work,
            manager,
            ended: false,
        }
    }

    /// Whether a commit would call nobody: there is no participant, no hook and no synchronizer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.work.is_empty() && self.manager.synchronizers().is_empty()
    }

    /// Commits: prepares and votes, decides, and finishes.
    ///
    /// # Errors
    /// Each says what state the world is in; after all but [`CommitError::Undecided`] nothing happened
    /// and every participant was aborted. Once it is decided there is no error any more.
    ///
    /// # Blocking
    /// As long as the participants' votes do.
    pub fn commit(mut self) -> Result<Committed, CommitError> {
        self.ended = true;
        Execution::new(&mut self.work, &self.manager).commit()
    }

    /// Aborts: every participant forgets what was done.
    ///
    /// # Errors
    /// The transaction is aborted all the same.
    pub fn abort(mut self) -> Result<(), AbortError> {
        self.ended = true;
        Execution::new(&mut self.work, &self.manager).abort()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Err(error) = Execution::new(&mut self.work, &self.manager).abort() {
            tracing::warn!(txn = %self.id(), %error, "a dropped transaction was not aborted cleanly");
        }
    }
}

impl Deref for Transaction {
    type Target = Work;

    fn deref(&self) -> &Work {
        &self.work
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Work {
        &mut self.work
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transaction").field(&&*self.work).finish()
    }
}
