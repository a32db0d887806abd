//! Does what the protocol says. No branch here depends on an outcome: every failure is reported to the
//! protocol, which alone knows what it means.

use std::any::Any;
use std::sync::Arc;

use crate::id::{ResourceId, TaskId};
use crate::register::Decision;
use crate::txn::data_manager::{Answer, BoxError, DataManager, PrepareInfo, Prepared, Role, Vote};
use crate::txn::error::{
    AbortError, CommitError, FailedEarlier, IncarnationGone, RefusedBy, discard, guarded,
};
use crate::txn::hooks::Outcome;
use crate::txn::manager::{TransactionManager, Undecided};
use crate::txn::plan::{Candidate, Committed, Plan};
use crate::txn::protocol::{Action, Ask, Ending, Event, Hooks, OnFailure, Protocol};
use crate::txn::synchronizer::Synchronizer;
use crate::txn::work::{Seat, Work};

/// Why a commit is refused; the protocol carries it to the end.
#[derive(Debug)]
pub(super) enum Refusal {
    Doomed,
    FailedEarlier(FailedEarlier),
    Refused {
        by: RefusedBy,
        retryable: bool,
        error: BoxError,
    },
}

impl Refusal {
    fn into_commit_error(self, also: Vec<BoxError>) -> CommitError {
        match self {
            Self::Doomed => CommitError::Doomed,
            Self::FailedEarlier(error) => CommitError::Failed(error),
            Self::Refused {
                by,
                retryable,
                error: source,
            } => CommitError::Refused {
                by,
                retryable,
                source,
                also,
            },
        }
    }

    fn into_error(self) -> BoxError {
        match self {
            Self::Refused { error, .. } => error,
            Self::Doomed | Self::FailedEarlier(_) => self.into_commit_error(Vec::new()).into(),
        }
    }
}

/// One ending of one transaction.
pub(super) struct Execution<'a> {
    work: &'a mut Work,
    manager: &'a TransactionManager,
    handed: Vec<(ResourceId, Box<dyn Any + Send>)>,
    /// Everybody's seat, sorted.
    order: Vec<usize>,
    plan: Plan,
    merged: Vec<(TaskId, TaskId)>,
    /// What failed of the things that are done anyway; all logged.
    troubles: Vec<BoxError>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(work: &'a mut Work, manager: &'a TransactionManager) -> Self {
        Self {
            work,
            manager,
            handed: Vec::new(),
            order: Vec::new(),
            plan: Plan::VOLATILE,
            merged: Vec::new(),
            troubles: Vec::new(),
        }
    }

    pub(super) fn commit(mut self) -> Result<Committed, CommitError> {
        let txn = self.work.id();
        match self.run(Protocol::commit()) {
            Ending::AsMeant { pending } => Ok(Committed {
                txn,
                tier: self.plan.tier,
                pending: pending
                    .into_iter()
                    .map(|seat| self.work.name(seat))
                    .collect(),
                merged: self.merged,
            }),
            Ending::Refused(refusal) => Err(refusal.into_commit_error(self.troubles)),
            Ending::Undecided(cause) => Err(CommitError::Undecided {
                txn,
                source: cause.into_error(),
            }),
        }
    }

    pub(super) fn abort(mut self) -> Result<(), AbortError> {
        self.run(Protocol::abort());
        let mut troubles = self.troubles.into_iter();
        match troubles.next() {
            None => Ok(()),
            Some(source) => Err(AbortError {
                source,
                also: troubles.collect(),
            }),
        }
    }

    pub(super) fn settle(mut self, decision: Decision) {
        let members = (0..self.work.seats.len()).collect();
        self.run(Protocol::settle(members, decision));
    }

    /// Works until the protocol has nothing more to do; then nothing foreign is left in the work.
    fn run(&mut self, mut protocol: Protocol<Refusal>) -> Ending<Refusal> {
        while let Some(action) = protocol.next() {
            let event = self.perform(action);
            protocol.learn(action, event);
        }
        self.work.discard();
        if let Some(IncarnationGone(gone)) = self.work.gone {
            self.manager.renew(gone);
        }
        protocol.end()
    }

    fn perform(&mut self, action: Action) -> Event<Refusal> {
        match action {
            Action::CheckDoom => self.check_doom(),
            Action::Hooks(Hooks::BeforeCommit) => self.before_commit(),
            Action::Hooks(Hooks::AfterCommit(outcome)) => self.after_commit(outcome),
            Action::Hooks(Hooks::BeforeAbort) => self.before_abort(),
            Action::Hooks(Hooks::AfterAbort) => self.after_abort(),
            Action::BeforeCompletion(OnFailure::Stop) => self.before_completion(),
            Action::BeforeCompletion(OnFailure::GoOn) => {
                self.tell_all(|synchronizer, work| synchronizer.before_completion(work))
            }
            Action::AfterCompletion(outcome) => self
                .tell_all(|synchronizer, work| synchronizer.after_completion(work.id(), outcome)),
            Action::Muster => self.muster(),
            Action::Sort => self.sort(),
            Action::Prepare(seat) => self.prepare(seat),
            Action::Accept => self.accept(),
            Action::Plan => self.make_plan(),
            Action::Vote(seat, ask) => self.vote(seat, ask),
            Action::Finish(seat, _) => self.finish(seat),
            Action::Abort(seat) => self.abort_one(seat),
            Action::Release => self.release(),
            Action::Keep => self.keep(),
        }
    }

    fn check_doom(&mut self) -> Event<Refusal> {
        match self.work.failure() {
            Some(error) => Event::Failed(Refusal::FailedEarlier(error)),
            None if self.work.is_doomed() => Event::Failed(Refusal::Doomed),
            None => Event::Done,
        }
    }

    fn before_commit(&mut self) -> Event<Refusal> {
        while let Some(hook) = self.work.hooks.before_commit.take() {
            let hook = hook.map_err(BoxError::from);
            if let Err(error) = hook.and_then(|hook| guarded(|| hook(self.work))) {
                return self.refusal(RefusedBy::Hook, error);
            }
        }
        Event::Done
    }

    fn before_abort(&mut self) -> Event<Refusal> {
        while let Some(hook) = self.work.hooks.before_abort.take() {
            let hook = hook.map_err(BoxError::from);
            let ran = hook.and_then(|hook| guarded(|| hook(self.work)));
            self.log_hook("before-abort", ran);
        }
        Event::Done
    }

    fn after_commit(&mut self, outcome: Outcome) -> Event<Refusal> {
        while let Some(hook) = self.work.hooks.after_commit.take() {
            let hook = hook.map_err(BoxError::from);
            let ran = hook.and_then(|hook| guarded(|| hook(outcome)));
            self.log_hook("after-commit", ran);
        }
        Event::Done
    }

    fn after_abort(&mut self) -> Event<Refusal> {
        while let Some(hook) = self.work.hooks.after_abort.take() {
            let ran = hook.map_err(BoxError::from).and_then(guarded);
            self.log_hook("after-abort", ran);
        }
        Event::Done
    }

    fn log_hook(&self, list: &'static str, ran: Result<(), BoxError>) {
        if let Err(error) = ran {
            tracing::warn!(txn = %self.work.id(), list, %error, "a hook failed; nothing changes");
        }
    }

    fn before_completion(&mut self) -> Event<Refusal> {
        for synchronizer in self.manager.synchronizers() {
            if let Err(error) = guarded(|| synchronizer.before_completion(self.work)) {
                return self.refusal(RefusedBy::Synchronizer, error);
            }
        }
        Event::Done
    }

    /// Calls all synchronizers, whatever fails.
    fn tell_all(
        &mut self,
        tell: impl Fn(&Arc<dyn Synchronizer>, &mut Work) -> Result<(), BoxError>,
    ) -> Event<Refusal> {
        for synchronizer in self.manager.synchronizers() {
            if let Err(error) = guarded(|| tell(&synchronizer, self.work)) {
                tracing::warn!(txn = %self.work.id(), %error, "a synchronizer failed");
                self.troubles.push(error);
            }
        }
        Event::Done
    }

    fn muster(&mut self) -> Event<Refusal> {
        self.work.close();
        Event::Members((0..self.work.seats.len()).collect())
    }

    fn sort(&mut self) -> Event<Refusal> {
        self.work.close();
        for number in 0..self.work.seats.len() {
            if let Err(error) = self.seat(number).and_then(Seat::introduce) {
                return self.refusal_by(number, error);
            }
        }
        let seats = &self.work.seats;
        self.order = (0..seats.len()).collect();
        self.order
            .sort_by_key(|number| seats.get(*number).map(|seat| &seat.sort_key));
        Event::Members(self.order.clone())
    }

    fn prepare(&mut self, number: usize) -> Event<Refusal> {
        let others = self.others_of(number);
        let mut info = PrepareInfo::new(self.work.id(), &others);
        let prepared = self.call(number, |participant| participant.prepare(&mut info));
        self.handed.extend(info.into_handed());
        match prepared {
            Ok(prepared) => self.prepared(number, prepared),
            Err(error) => self.refusal_by(number, error),
        }
    }

    /// The roles of the others that have work, or have yet to say so.
    fn others_of(&self, number: usize) -> Vec<Role> {
        let others = self.work.seats.iter().enumerate();
        others
            .filter(|(other, seat)| *other != number && seat.prepared == Prepared::Work)
            .map(|(_, seat)| seat.role)
            .collect()
    }

    /// One that has nothing to do stays all the same if work was handed over to it.
    fn prepared(&mut self, number: usize, prepared: Prepared) -> Event<Refusal> {
        let Some(seat) = self.work.seats.get_mut(number) else {
            return Event::Done;
        };
        let host = self.handed.iter().any(|(resource, _)| seat.owns(*resource));
        if prepared == Prepared::Nothing && host {
            return Event::Done;
        }
        seat.prepared = prepared;
        if prepared == Prepared::Nothing {
            return Event::Left;
        }
        Event::Done
    }

    fn accept(&mut self) -> Event<Refusal> {
        for (resource, handed) in std::mem::take(&mut self.handed) {
            let mut seats = self.work.seats.iter();
            let Some(host) = seats.position(|seat| seat.owns(resource)) else {
                return self.refusal(RefusedBy::Planner, Box::new(NoHost(resource)));
            };
            if let Err(error) = self.call(host, |participant| participant.accept(handed)) {
                return self.refusal_by(host, error);
            }
        }
        Event::Done
    }

    fn make_plan(&mut self) -> Event<Refusal> {
        let seats = self.order.iter().filter_map(|number| {
            let seat = self.work.seats.get(*number)?;
            Some((*number, seat))
        });
        let candidates: Vec<Candidate<'_>> = seats
            .filter(|(_, seat)| seat.prepared == Prepared::Work)
            .map(|(number, seat)| Candidate {
                seat: number,
                name: seat.sort_key.as_deref().unwrap_or_default().into(),
                role: seat.role,
            })
            .collect();
        match Plan::make(&candidates) {
            Ok((plan, commit_point)) => {
                self.plan = plan;
                Event::Planned(commit_point)
            }
            Err(error) => self.refusal(RefusedBy::Planner, error.into()),
        }
    }

    /// One that panics has not said what it did.
    fn vote(&mut self, number: usize, ask: Ask) -> Event<Refusal> {
        let plan = std::mem::replace(&mut self.plan, Plan::VOLATILE);
        let vote = match ask {
            Ask::Prepare => Vote::Prepare {
                register: plan.commit_point,
                prepared: &plan.prepared,
            },
            Ask::Decide => Vote::Decide {
                prepared: &plan.prepared,
            },
        };
        let answer = self.call(number, |participant| Ok(participant.vote(vote)));
        self.plan = plan;
        match answer.unwrap_or_else(Answer::Unknown) {
            Answer::Ok => Event::Done,
            Answer::Refused(error) => self.refusal_by(number, error),
            Answer::Unknown(error) => Event::Unknown(self.refusal_of(number, error)),
        }
    }

    fn finish(&mut self, number: usize) -> Event<Refusal> {
        let finished = self.call(number, |participant| {
            participant.finish()?;
            Ok(participant.merged())
        });
        match finished {
            Ok(merged) => {
                self.merged.extend(merged);
                Event::Done
            }
            Err(error) => {
                tracing::error!(
                    txn = %self.work.id(),
                    participant = self.work.name(number),
                    %error,
                    "committed, but a participant has yet to finish"
                );
                Event::Trouble
            }
        }
    }

    fn abort_one(&mut self, number: usize) -> Event<Refusal> {
        match self.seat(number).and_then(Seat::abort) {
            Ok(()) => Event::Done,
            Err(error) => {
                self.troubles.push(error);
                Event::Trouble
            }
        }
    }

    fn release(&mut self) -> Event<Refusal> {
        for seat in &mut self.work.seats {
            discard(seat.participant.take());
        }
        Event::Done
    }

    /// Gives those who voted to the manager, in the order of calls, and lets go of those who left.
    fn keep(&mut self) -> Event<Refusal> {
        let seats = std::mem::take(&mut self.work.seats);
        let mut seats: Vec<Option<Seat>> = seats.into_iter().map(Some).collect();
        let sorted = self.order.iter();
        let (left, seats) = sorted
            .filter_map(|number| seats.get_mut(*number)?.take())
            .partition(|seat| seat.prepared == Prepared::Nothing);
        self.manager.keep(Undecided {
            txn: self.work.id(),
            commit_point: self.plan.commit_point,
            seats,
        });
        self.work.seats = left;
        self.release()
    }

    fn seat(&mut self, number: usize) -> Result<&mut Seat, BoxError> {
        let seat = self.work.seats.get_mut(number);
        seat.ok_or_else(|| "there is no such participant".into())
    }

    fn call<T>(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut dyn DataManager) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        self.seat(number)?.call(call)
    }

    fn refusal_by(&self, number: usize, error: BoxError) -> Event<Refusal> {
        Event::Failed(self.refusal_of(number, error))
    }

    fn refusal_of(&self, number: usize, error: BoxError) -> Refusal {
        self.judge(RefusedBy::Participant(self.work.name(number)), error)
    }

    fn refusal(&self, by: RefusedBy, error: BoxError) -> Event<Refusal> {
        Event::Failed(self.judge(by, error))
    }

    /// Asks whether a retry is worth it, while the participants are still there to be asked.
    fn judge(&self, by: RefusedBy, error: BoxError) -> Refusal {
        self.manager.renew_if_gone(&*error);
        Refusal::Refused {
            by,
            retryable: self.work.is_retryable(&*error),
            error,
        }
    }
}

/// Work was handed over to a resource that no participant with work owns.
#[derive(Debug, thiserror::Error)]
#[error("work was handed over to {0:?}, which no participant owns")]
struct NoHost(ResourceId);
