//! Who decides: the planner. Pure: the same participants with work give the same plan in every process.

use std::borrow::Cow;

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
    /// Who decides; `None` if several have work and none of it outlives the process.
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
pub(super) struct Candidate<'a> {
    pub(super) seat: usize,
    pub(super) name: Cow<'a, str>,
    pub(super) role: Role,
}

impl Plan {
    /// The plan of those who have nothing that outlives the process, and none of whom decides.
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
    pub(super) fn make(candidates: &[Candidate<'_>]) -> Result<(Self, Option<usize>), PlanError> {
        let decider = commit_point(candidates)?.or_else(|| alone(candidates));
        let Some((seat, commit_point)) = decider else {
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

/// Whoever can only decide must; else the first that can do either does; else the only one whose work
/// outlives the process.
fn commit_point(candidates: &[Candidate<'_>]) -> Result<Option<(usize, ResourceId)>, PlanError> {
    let only_decide = || {
        candidates
            .iter()
            .filter(|c| matches!(c.role, Role::OnePhase(_)))
    };
    if only_decide().count() > 1 {
        let names = only_decide().map(|c| c.name.to_string()).collect();
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
        None if durable().count() <= 1 => Ok(durable().next()),
        None => Err(PlanError::NoCommitPoint(
            durable().map(|(_, resource)| resource).collect(),
        )),
    }
}

/// The only one with work may decide without a promise, though what it decides on is in memory.
fn alone(candidates: &[Candidate<'_>]) -> Option<(usize, ResourceId)> {
    match candidates {
        [only] => match only.role {
            Role::VolatileAlone(resource) => Some((only.seat, resource)),
            _ => None,
        },
        _ => None,
    }
}

fn tier(candidates: &[Candidate<'_>], prepared: &[ResourceId]) -> Tier {
    let in_memory = |candidate: &Candidate<'_>| candidate.role.resource().is_none();
    if candidates.iter().any(in_memory) {
        Tier::Volatile
    } else if prepared.is_empty() {
        Tier::Enlisted
    } else {
        Tier::Prepared
    }
}

#[cfg(test)]
mod tests {
    //! The planner's table, row by row.

    use super::*;

    fn resource(seat: usize) -> ResourceId {
        ResourceId::from_bytes([u8::try_from(seat).unwrap(); 16])
    }

    /// Candidates in the order of calls; each role is given as a kind, its resource is its seat's.
    fn plan(kinds: &[fn(ResourceId) -> Role]) -> Result<(Plan, Option<usize>), PlanError> {
        let candidate = |(seat, kind): (usize, &fn(ResourceId) -> Role)| Candidate {
            seat,
            name: format!("p{seat}").into(),
            role: kind(resource(seat)),
        };
        let candidates: Vec<Candidate<'_>> = kinds.iter().enumerate().map(candidate).collect();
        Plan::make(&candidates)
    }

    fn volatile(_: ResourceId) -> Role {
        Role::Volatile
    }

    /// Checks that the seat `decider` decides, the seats `prepared` promise, and that it gives `tier`.
    fn check(kinds: &[fn(ResourceId) -> Role], decider: usize, prepared: &[usize], tier: Tier) {
        let (plan, seat) = plan(kinds).unwrap();
        assert_eq!(seat, Some(decider));
        assert_eq!(plan.commit_point, Some(resource(decider)));
        let prepared: Vec<ResourceId> = prepared.iter().map(|seat| resource(*seat)).collect();
        assert_eq!((plan.prepared, plan.tier), (prepared, tier));
    }

    #[test]
    fn where_nothing_outlives_the_process_nobody_decides() {
        assert_eq!(plan(&[]), Ok((Plan::VOLATILE, None)));
        assert_eq!(plan(&[volatile, volatile]), Ok((Plan::VOLATILE, None)));
    }

    #[test]
    fn the_only_one_with_work_decides_even_in_memory() {
        check(&[Role::VolatileAlone], 0, &[], Tier::Volatile);
    }

    #[test]
    fn one_in_memory_promises_where_others_have_work() {
        let both: [fn(ResourceId) -> Role; 2] = [Role::VolatileAlone, volatile];
        assert_eq!(plan(&both), Ok((Plan::VOLATILE, None)));
        check(&[Role::VolatileAlone, Role::Either], 1, &[], Tier::Volatile);
    }

    #[test]
    fn a_single_durable_participant_decides_in_one_step() {
        check(&[Role::Either], 0, &[], Tier::Enlisted);
        check(&[Role::OnePhase], 0, &[], Tier::Enlisted);
        check(&[Role::TwoPhase], 0, &[], Tier::Enlisted);
        check(&[volatile, Role::TwoPhase], 1, &[], Tier::Volatile);
    }

    #[test]
    fn a_volatile_participant_beside_a_durable_one_lowers_the_tier() {
        check(&[volatile, Role::OnePhase], 1, &[], Tier::Volatile);
        check(
            &[Role::Either, volatile, Role::OnePhase],
            2,
            &[0],
            Tier::Volatile,
        );
    }

    #[test]
    fn the_database_that_can_only_commit_decides_and_all_else_promises() {
        let kinds: [fn(ResourceId) -> Role; 3] = [Role::Either, Role::TwoPhase, Role::OnePhase];
        check(&kinds, 2, &[0, 1], Tier::Prepared);
        check(&[Role::OnePhase, Role::Either], 0, &[1], Tier::Prepared);
    }

    #[test]
    fn where_all_databases_can_promise_the_first_queue_decides() {
        let kinds: [fn(ResourceId) -> Role; 3] = [Role::TwoPhase, Role::Either, Role::TwoPhase];
        check(&kinds, 1, &[0, 2], Tier::Prepared);
    }

    #[test]
    fn of_several_queues_the_first_decides() {
        check(&[Role::Either, Role::Either], 0, &[1], Tier::Prepared);
    }

    #[test]
    fn two_databases_that_can_only_commit_are_refused_by_name() {
        let kinds: [fn(ResourceId) -> Role; 3] = [Role::OnePhase, Role::Either, Role::OnePhase];
        let names = vec!["p0".to_owned(), "p2".to_owned()];
        assert_eq!(plan(&kinds), Err(PlanError::TwoOnePhase(names)));
    }

    #[test]
    fn where_nobody_can_decide_those_who_could_only_promise_are_named() {
        let stuck = vec![resource(1), resource(2)];
        let refused = plan(&[volatile, Role::TwoPhase, Role::TwoPhase]);
        assert_eq!(refused, Err(PlanError::NoCommitPoint(stuck)));
    }
}
