//! The contract of a participant in a transaction.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use crate::id::{ResourceId, TaskId, TxnId};

/// An error of a participant, a hook or a handler.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What the planner may ask of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Keeps nothing that outlives the process.
    Volatile,
    /// Keeps nothing that outlives the process, and can decide if nobody else has work.
    VolatileAlone(ResourceId),
    /// Can only decide: its vote commits.
    OnePhase(ResourceId),
    /// Can only prepare where others have work that outlives the process; alone it commits in one step.
    TwoPhase(ResourceId),
    /// Can do either.
    Either(ResourceId),
}

impl Role {
    /// Returns what the participant keeps its part in, if that outlives the process.
    #[must_use]
    pub fn resource(self) -> Option<ResourceId> {
        match self {
            Self::Volatile | Self::VolatileAlone(_) => None,
            Self::OnePhase(id) | Self::TwoPhase(id) | Self::Either(id) => Some(id),
        }
    }
}

/// What a participant has to do, said at the end of its prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prepared {
    /// It has work, and will vote.
    Work,
    /// Its work travels in the commit of the participant that owns this resource, to which it was
    /// [handed over](PrepareInfo::hand_over). It counts as volatile and is told how it ends.
    HandedOver(ResourceId),
    /// It has nothing that anybody decides about, but may say something to others if the transaction commits. It counts
    /// as volatile and is told how it ends; what it cannot say then is lost.
    Follows,
    /// It has nothing to do, and leaves, unless work was handed over to it.
    Nothing,
}

/// What a participant is asked at the vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote<'a> {
    /// Promise: after `Ok`, `finish` must be able to succeed after a crash. `register` is where the
    /// outcome will be; `None` if no participant outlives the process.
    Prepare {
        /// The commit point.
        register: Option<ResourceId>,
        /// The resources that promise, this one among them.
        prepared: &'a [ResourceId],
    },
    /// Decide: commit, with the outcome record, which lists `prepared`.
    Decide {
        /// The resources that have promised.
        prepared: &'a [ResourceId],
    },
}

/// What a participant answers.
#[derive(Debug)]
pub enum Answer {
    /// Yes.
    Ok,
    /// No; definitely nothing happened.
    Refused(BoxError),
    /// Asked to decide, it does not know whether it did; it has let go of its connection, so that a
    /// register behind it can be asked. From one that was asked to promise it is a no.
    Unknown(BoxError),
}

/// What a participant is told when it prepares, and where it may leave work for another.
pub struct PrepareInfo<'a> {
    txn: TxnId,
    /// The roles of the others that have work, or have yet to say so.
    others: &'a [Role],
    handed: Vec<(ResourceId, Box<dyn Any + Send>)>,
}

impl<'a> PrepareInfo<'a> {
    pub(crate) fn new(txn: TxnId, others: &'a [Role]) -> Self {
        Self {
            txn,
            others,
            handed: Vec::new(),
        }
    }

    pub(crate) fn into_handed(self) -> Vec<(ResourceId, Box<dyn Any + Send>)> {
        self.handed
    }

    /// Returns the transaction.
    #[must_use]
    pub fn txn(&self) -> TxnId {
        self.txn
    }

    /// Whether another participant owns a transaction of this very resource, so that work can travel
    /// in its commit.
    #[must_use]
    pub fn hosts(&self, resource: ResourceId) -> bool {
        let mut owned = self.others.iter().copied().filter_map(Role::resource);
        owned.any(|owned| owned == resource)
    }

    /// Whether no other participant has work, or has yet to say so: whatever this one does now is all that is done.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Whether another participant that can only decide has work, or has yet to say so: of two that can only decide one
    /// must have none.
    #[must_use]
    pub fn has_decider(&self) -> bool {
        let mut others = self.others.iter();
        others.any(|role| matches!(role, Role::OnePhase(_)))
    }

    /// Leaves `work` for the participant that owns the resource; it gets it with
    /// [`DataManager::accept`] after all have prepared and before any votes.
    pub fn hand_over(&mut self, resource: ResourceId, work: Box<dyn Any + Send>) {
        self.handed.push((resource, work));
    }
}

impl fmt::Debug for PrepareInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrepareInfo")
            .field("txn", &self.txn)
            .finish_non_exhaustive()
    }
}

/// A point that a participant can go back to; its meaning is the participant's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(pub u64);

/// The participant does not support savepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this participant does not support savepoints")]
pub struct NoSavepoints;

/// One participant in one transaction (XA: a resource manager).
///
/// # Order of calls
/// [`savepoint`](Self::savepoint) and [`rollback`](Self::rollback) at any time before the commit; then
/// either [`abort`](Self::abort), once, or
///
/// 1. [`role`](Self::role) and [`sort_key`](Self::sort_key), before anything changes;
/// 2. [`prepare`](Self::prepare), all participants;
/// 3. [`accept`](Self::accept), for what others handed over;
/// 4. [`vote`](Self::vote), all participants, the commit point last: *the decision*;
/// 5. [`finish`](Self::finish), all participants, again if it failed;
///
/// or [`abort`](Self::abort), once, at any point before the decision. After `Nothing` in step 2 a
/// participant is called no more.
#[doc(alias = "ResourceManager")]
#[doc(alias = "participant")]
pub trait DataManager: Any + Send {
    /// Returns what the planner may ask.
    fn role(&self) -> Role;

    /// Returns the place in the total order in which participants are called: the same in every
    /// process, so that two processes never lock in opposite orders.
    ///
    /// # Errors
    /// The commit is refused before anything changed.
    fn sort_key(&self) -> Result<String, BoxError>;

    /// Hands the changes over, tentatively (Zope: `tpc_begin` and `commit`). All fallible work but the
    /// vote's own I/O is done by its end.
    ///
    /// # Errors
    /// The commit is refused.
    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError>;

    /// Takes over work that another participant [handed over](PrepareInfo::hand_over), to be done in
    /// this one's own commit. Provided: refused.
    ///
    /// # Errors
    /// The commit is refused.
    fn accept(&mut self, _work: Box<dyn Any + Send>) -> Result<(), BoxError> {
        Err("this participant takes no work of others".into())
    }

    /// The last chance to say no.
    fn vote(&mut self, vote: Vote<'_>) -> Answer;

    /// Makes it so. Idempotent; retried; never undone.
    ///
    /// # Errors
    /// Logged; called again; then left to recovery.
    fn finish(&mut self) -> Result<(), BoxError>;

    /// Forgets everything. Idempotent; any phase before the decision; called once.
    ///
    /// # Errors
    /// Logged, and reported if it is the first; the others still abort.
    fn abort(&mut self) -> Result<(), BoxError>;

    /// Marks a point to go back to. Provided: unsupported, which is [`NoSavepoints`] as the error.
    ///
    /// # Errors
    /// The transaction fails, unless the error is [`NoSavepoints`] and the savepoint optimistic.
    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        Err(Box::new(NoSavepoints))
    }

    /// Goes back to a point. Provided: unsupported.
    ///
    /// # Errors
    /// The transaction fails.
    fn rollback(&mut self, _mark: Mark) -> Result<(), BoxError> {
        Err(Box::new(NoSavepoints))
    }

    /// Lets go of the newest point, which may have been gone back to; keeps the work. Provided: nothing
    /// to do.
    ///
    /// # Errors
    /// The transaction fails.
    fn release(&mut self, _mark: Mark) -> Result<(), BoxError> {
        Ok(())
    }

    /// Returns the tasks that merged into others, asked after `finish`. Provided: none.
    fn merged(&self) -> Vec<(TaskId, TaskId)> {
        Vec::new()
    }

    /// Whether the work may succeed if it is done again after this error, asked before any abort, and
    /// of each error in a chain of causes. Provided: no.
    fn is_retryable(&self, _error: &(dyn StdError + 'static)) -> bool {
        false
    }
}
