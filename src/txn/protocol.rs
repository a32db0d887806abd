//! Who is called when: a pure state machine. It does no I/O, reads no clock and knows participants
//! only by their seat numbers; whoever executes its actions has no opinion of its own on an outcome.
//!
//! The machine is a queue of actions. As long as all goes well the queue is worked off from the
//! front; a failure before the decision replaces what is left of it by the clean-up, and after the
//! decision nothing can put an abort into it any more.

use std::collections::VecDeque;

use crate::register::Decision;
use crate::txn::hooks::Outcome;

/// What has to be done next. Numbers are seats: participants counted in the order in which they joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Fail if the transaction is doomed or has failed.
    CheckDoom,
    /// Run a list of hooks.
    Hooks(Hooks),
    /// Call the synchronizers' `before_completion`.
    BeforeCompletion(OnFailure),
    /// Let nobody join any more; answer with everybody's seat in join order.
    Muster,
    /// Let nobody join any more; answer with everybody's seat, sorted.
    Sort,
    /// Call `prepare`.
    Prepare(usize),
    /// Give what was handed over to those who own the resources.
    Accept,
    /// Answer with the commit point.
    Plan,
    /// Call `vote`.
    Vote(usize, Ask),
    /// Call `finish`.
    Finish(usize, Try),
    /// Call `abort`.
    Abort(usize),
    /// Let go of the participants: they are not called again.
    Release,
    /// Give the members to the manager, until the register answers.
    Keep,
    /// Call the synchronizers' `after_completion`; `None` if nobody wanted to commit.
    AfterCompletion(Option<Outcome>),
}

/// A list of hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hooks {
    BeforeCommit,
    AfterCommit(Outcome),
    BeforeAbort,
    AfterAbort,
}

/// Whether a failing synchronizer keeps the next one from being called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    Stop,
    GoOn,
}

/// What a participant is asked to promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Prepare,
    Decide,
}

/// A participant that fails to finish gets one more try, after the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    First,
    Last,
}

/// What came of an action. A panic is a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<E> {
    /// It is done.
    Done,
    /// It failed, for this reason.
    Failed(E),
    /// It failed, but it is a thing that is done anyway.
    Trouble,
    /// A vote: it is not known what happened.
    Unknown(E),
    /// A prepare: there is nothing to do, and the participant leaves.
    Left,
    /// The seats of the participants, in the order in which to call them.
    Members(Vec<usize>),
    /// The seat of the commit point, if there is one.
    Planned(Option<usize>),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending<E> {
    /// As it was meant to: committed, or aborted. The seats are of those who have yet to finish.
    AsMeant { pending: Vec<usize> },
    /// Definitely not committed.
    Refused(E),
    /// Not known.
    Undecided(E),
}

/// The state machine; `E` is an error.
#[derive(Debug)]
pub(super) struct Protocol<E> {
    queue: VecDeque<Action>,
    /// Whom to call, in order; `None` while anybody may still join.
    members: Option<Vec<usize>>,
    ending: Ending<E>,
}

impl<E> Protocol<E> {
    /// Commits, or cleans up.
    pub(super) fn commit() -> Self {
        Self {
            queue: VecDeque::from([
                Action::CheckDoom,
                Action::Hooks(Hooks::BeforeCommit),
                Action::BeforeCompletion(OnFailure::Stop),
                Action::CheckDoom,
                Action::Sort,
            ]),
            members: None,
            ending: Ending::AS_MEANT,
        }
    }

    /// Aborts.
    pub(super) fn abort() -> Self {
        Self {
            queue: VecDeque::from([
                Action::Hooks(Hooks::BeforeAbort),
                Action::BeforeCompletion(OnFailure::GoOn),
                Action::Muster,
                Action::Release,
                Action::Hooks(Hooks::AfterAbort),
                Action::AfterCompletion(None),
            ]),
            members: None,
            ending: Ending::AS_MEANT,
        }
    }

    /// Ends what was left undecided, now that the register has answered.
    pub(super) fn settle(members: Vec<usize>, decision: Decision) -> Self {
        let ends: Vec<Action> = match decision {
            Decision::Committed => finishes(&members).collect(),
            Decision::Aborted => aborts(&members).collect(),
        };
        Self {
            queue: ends.into_iter().chain([Action::Release]).collect(),
            members: Some(members),
            ending: Ending::AS_MEANT,
        }
    }

    /// Returns what to do now; `None` at the end. What comes of it goes to [`learn`](Self::learn).
    pub(super) fn next(&mut self) -> Option<Action> {
        self.queue.pop_front()
    }

    /// Takes in what came of an action. The one table of what a failure does: before the decision it
    /// refuses the commit, after it nothing can.
    pub(super) fn learn(&mut self, action: Action, event: Event<E>) {
        use Action::{Accept, BeforeCompletion, CheckDoom, Finish, Plan, Prepare, Sort, Vote};
        use Event::{Done, Failed, Left, Members, Planned, Trouble, Unknown};
        match (action, event) {
            (_, Done) => {}
            (Prepare(seat), Left) => self.leave(seat),
            (Sort, Members(members)) => self.sorted(members),
            (Action::Muster, Members(members)) => self.mustered(members),
            (Plan, Planned(commit_point)) => self.planned(commit_point),
            (Vote(_, Ask::Decide), Unknown(cause)) => self.lose(cause),
            (
                CheckDoom
                | Action::Hooks(Hooks::BeforeCommit)
                | BeforeCompletion(OnFailure::Stop)
                | Sort
                | Prepare(_)
                | Accept
                | Plan
                | Vote(..),
                Failed(cause) | Unknown(cause),
            ) => self.refuse(cause),
            (Finish(seat, Try::First), _) => self.finish_again(seat),
            (Finish(seat, Try::Last), _) => self.leave_to_recovery(seat),
            (_, Failed(_) | Trouble | Unknown(_) | Left | Members(_) | Planned(_)) => {}
        }
    }

    /// Says how it ended.
    pub(super) fn end(self) -> Ending<E> {
        self.ending
    }

    fn leave(&mut self, seat: usize) {
        if let Some(members) = &mut self.members {
            members.retain(|member| *member != seat);
        }
    }

    fn sorted(&mut self, members: Vec<usize>) {
        let prepares = members.iter().copied().map(Action::Prepare);
        self.queue = prepares.chain([Action::Accept, Action::Plan]).collect();
        self.members = Some(members);
    }

    fn mustered(&mut self, members: Vec<usize>) {
        self.queue = aborts(&members).chain(self.queue.drain(..)).collect();
        self.members = Some(members);
    }

    /// The commit point votes last; the decision is its vote or, without one, the last vote.
    fn planned(&mut self, commit_point: Option<usize>) {
        let members = self.members.as_deref().unwrap_or_default();
        let promises = members
            .iter()
            .filter(|seat| Some(**seat) != commit_point)
            .map(|seat| Action::Vote(*seat, Ask::Prepare));
        let decision = commit_point.map(|seat| Action::Vote(seat, Ask::Decide));
        self.queue = promises
            .chain(decision)
            .chain(finishes(members))
            .chain([Action::Release])
            .chain(told(Outcome::Committed))
            .collect();
    }

    fn refuse(&mut self, cause: E) {
        let clean_up: Vec<Action> = match &self.members {
            Some(members) => aborts(members).collect(),
            None => vec![Action::Muster],
        };
        self.queue = [Action::Hooks(Hooks::BeforeAbort)]
            .into_iter()
            .chain(clean_up)
            .chain([Action::Release])
            .chain(told(Outcome::Refused))
            .chain([Action::Hooks(Hooks::AfterAbort)])
            .collect();
        self.ending = Ending::Refused(cause);
    }

    fn lose(&mut self, cause: E) {
        self.queue = [Action::Keep]
            .into_iter()
            .chain(told(Outcome::Undecided))
            .collect();
        self.ending = Ending::Undecided(cause);
    }

    fn finish_again(&mut self, seat: usize) {
        let release = self.queue.iter().position(|next| *next == Action::Release);
        let after_the_others = release.unwrap_or(self.queue.len());
        self.queue
            .insert(after_the_others, Action::Finish(seat, Try::Last));
    }

    fn leave_to_recovery(&mut self, seat: usize) {
        if let Ending::AsMeant { pending } = &mut self.ending {
            pending.push(seat);
        }
    }
}

impl<E> Ending<E> {
    const AS_MEANT: Self = Self::AsMeant {
        pending: Vec::new(),
    };
}

fn finishes(members: &[usize]) -> impl Iterator<Item = Action> {
    members.iter().map(|seat| Action::Finish(*seat, Try::First))
}

fn aborts(members: &[usize]) -> impl Iterator<Item = Action> {
    members.iter().copied().map(Action::Abort)
}

fn told(outcome: Outcome) -> [Action; 2] {
    [
        Action::AfterCompletion(Some(outcome)),
        Action::Hooks(Hooks::AfterCommit(outcome)),
    ]
}
