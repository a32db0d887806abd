//! Who decides: the planner. Pure: the same participants with work give the same plan in every process.

use crate::id::{ResourceId, TaskId, TxnId};
use crate::register::Tier;
use crate::txn::data_manager::Role;
use crate::txn::error::PlanError;

/// Who decides a commit, who promises, and what guarantee that gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The guarantee: the lowest that any participant with work gets. One that keeps its work in
    /// memory lowers it to [`Tier::Volatile`], because a crash after the decision loses that work.
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

/// A participant with work of its own; what it handed over is in the work of another.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) seat: usize,
    pub(super) name: String,
    pub(super) role: Role,
}

impl Plan {
    /// The plan of those who have nothing that outlives the process.
    pub(super) const VOLATILE: Self = Self {
        tier: Tier::Volatile,
        commit_point: None,
        prepared: Vec::new(),
    };

    /// Plans a commit; returns the seat of the commit point too. `candidates` are in the order of
    /// calls.
    ///
    /// # Errors
    /// Nobody can decide, or more than one insists on it.
    pub(super) fn make(candidates: &[Candidate]) -> Result<(Self, Option<usize>), PlanError> {
        let Some((seat, commit_point)) = commit_point(candidates)? else {
            return Ok((Self::VOLATILE, None));
        };
        let others = candidates.iter().filter(|other| other.seat != seat);
        let prepared: Vec<ResourceId> = others.filter_map(|other| other.role.resource()).collect();
        let plan = Self {
            tier: tier(candidates, &prepared),
            commit_point: Some(commit_point),
            prepared,
        };
        Ok((plan, Some(seat)))
    }
}

/// Whoever can only decide must; else the first that can do either does.
fn commit_point(candidates: &[Candidate]) -> Result<Option<(usize, ResourceId)>, PlanError> {
    let only_decide = || {
        candidates
            .iter()
            .filter(|c| matches!(c.role, Role::OnePhase(_)))
    };
    if only_decide().count() > 1 {
        let names = only_decide().map(|c| c.name.clone()).collect();
        return Err(PlanError::TwoOnePhase(names));
    }
    let either = candidates
        .iter()
        .filter(|c| matches!(c.role, Role::Either(_)));
    let durable = || {
        candidates
            .iter()
            .filter_map(|c| Some((c.seat, c.role.resource()?)))
    };
    let decider = only_decide().chain(either).next();
    match decider.and_then(|c| Some((c.seat, c.role.resource()?))) {
        Some(found) => Ok(Some(found)),
        None if durable().next().is_none() => Ok(None),
        None => Err(PlanError::NoCommitPoint(
            durable().map(|(_, resource)| resource).collect(),
        )),
    }
}

fn tier(candidates: &[Candidate], prepared: &[ResourceId]) -> Tier {
    let in_memory = |candidate: &Candidate| candidate.role == Role::Volatile;
    if candidates.iter().any(in_memory) {
        Tier::Volatile
    } else if prepared.is_empty() {
        Tier::Enlisted
    } else {
        Tier::Prepared
    }
}
