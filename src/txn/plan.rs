//! Who decides: the planner.

use crate::id::{ResourceId, TaskId, TxnId};
use crate::register::Tier;

/// Who decides a commit, who promises, and what guarantee that gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The guarantee.
    pub tier: Tier,
    /// Who decides; `None` if nothing outlives the process.
    pub commit_point: Option<ResourceId>,
    /// Who promises.
    pub prepared: Vec<ResourceId>,
}

/// A transaction that committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The transaction.
    pub txn: TxnId,
    /// The guarantee that it got.
    pub tier: Tier,
    /// The sort keys of participants that have yet to finish; recovery makes them.
    pub pending: Vec<String>,
    /// Tasks that merged into others: (the new id, the one that stays).
    pub merged: Vec<(TaskId, TaskId)>,
}
