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

/// Room for the actions of the usual commit.
const ACTIONS_USUAL: usize = 8;

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
        let mut queue = VecDeque::with_capacity(ACTIONS_USUAL);
        queue.extend([
            Action::CheckDoom,
            Action::Hooks(Hooks::BeforeCommit),
            Action::BeforeCompletion(OnFailure::Stop),
            Action::CheckDoom,
            Action::Sort,
        ]);
        Self {
            queue,
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
        self.queue.clear();
        self.queue.extend(prepares);
        self.queue.extend([Action::Accept, Action::Plan]);
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
        self.queue.clear();
        self.queue.extend(promises.chain(decision));
        self.queue.extend(finishes(members));
        self.queue.push_back(Action::Release);
        self.queue.extend(told(Outcome::Committed));
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

#[cfg(test)]
mod tests {
    //! Every history of up to four participants, in which every step may go in every way it can.

    use super::*;

    /// An error is the number of the step that it came from.
    type Steps = Vec<(Action, Event<usize>)>;

    /// A whole history: who joined, who was asked to decide, what happened, and how it ended.
    struct History {
        joined: usize,
        commit_point: Option<usize>,
        steps: Steps,
        ending: Ending<usize>,
    }

    /// What may come of an action.
    fn events(action: Action, at: usize, setting: Setting) -> Vec<Event<usize>> {
        let seats = || Event::Members((0..setting.joined).collect());
        match action {
            Action::Sort => vec![
                // Sorting turns the order of joining around.
                Event::Members((0..setting.joined).rev().collect()),
                Event::Failed(at),
            ],
            Action::Muster => vec![seats()],
            Action::Plan => vec![Event::Planned(setting.commit_point), Event::Failed(at)],
            Action::Prepare(seat) if Some(seat) != setting.commit_point => {
                vec![Event::Done, Event::Left, Event::Failed(at)]
            }
            Action::Vote(..) => vec![Event::Done, Event::Failed(at), Event::Unknown(at)],
            Action::Prepare(_)
            | Action::CheckDoom
            | Action::Accept
            | Action::Hooks(Hooks::BeforeCommit)
            | Action::BeforeCompletion(OnFailure::Stop) => vec![Event::Done, Event::Failed(at)],
            Action::Finish(..) | Action::Abort(_) => vec![Event::Done, Event::Trouble],
            Action::Hooks(_)
            | Action::BeforeCompletion(OnFailure::GoOn)
            | Action::AfterCompletion(_)
            | Action::Release
            | Action::Keep => vec![Event::Done],
        }
    }

    #[derive(Clone, Copy)]
    struct Setting {
        joined: usize,
        commit_point: Option<usize>,
    }

    /// Plays `steps` to a fresh machine; returns it, and what it wants next.
    fn replay(begin: fn() -> Protocol<usize>, steps: &Steps) -> (Protocol<usize>, Option<Action>) {
        let mut protocol = begin();
        for (action, event) in steps {
            assert_eq!(protocol.next(), Some(*action), "it is deterministic");
            protocol.learn(*action, event.clone());
        }
        let next = protocol.next();
        (protocol, next)
    }

    /// Depth first over events; returns how many histories there are.
    fn explore(begin: fn() -> Protocol<usize>, setting: Setting, check: fn(&History)) -> usize {
        let mut open: Vec<Steps> = vec![Vec::new()];
        let mut count = 0;
        while let Some(steps) = open.pop() {
            let (protocol, next) = replay(begin, &steps);
            let Some(action) = next else {
                count += 1;
                check(&History {
                    joined: setting.joined,
                    commit_point: setting.commit_point,
                    steps,
                    ending: protocol.end(),
                });
                continue;
            };
            for event in events(action, steps.len(), setting) {
                let longer = steps.iter().cloned().chain([(action, event)]);
                open.push(longer.collect());
            }
        }
        count
    }

    /// Every setting of up to four participants: nobody decides, or one of them.
    fn settings() -> impl Iterator<Item = Setting> {
        (0..=4).flat_map(|joined| {
            let deciders = std::iter::once(None).chain((0..joined).map(Some));
            deciders.map(move |commit_point| Setting {
                joined,
                commit_point,
            })
        })
    }

    fn explore_commits(check: fn(&History)) -> usize {
        settings()
            .map(|setting| explore(Protocol::commit, setting, check))
            .sum()
    }

    impl History {
        fn actions(&self) -> impl DoubleEndedIterator<Item = Action> + '_ {
            self.steps.iter().map(|(action, _)| *action)
        }

        fn position(&self, is: impl Fn(Action) -> bool) -> Option<usize> {
            self.actions().position(is)
        }

        /// The step of the last vote, if all said yes: the decision.
        fn decision(&self) -> Option<usize> {
            let last_prepared = self.position(|action| action == Action::Plan)?;
            let planned = matches!(self.steps[last_prepared].1, Event::Planned(_));
            let is_vote = |action: &Action| matches!(action, Action::Vote(..));
            let votes = self.steps.iter().filter(|(action, _)| is_vote(action));
            let yes = votes.clone().all(|(_, event)| *event == Event::Done);
            (planned && yes).then(|| last_prepared + votes.count())
        }

        fn lost_its_decision(&self) -> bool {
            let lost = |(action, event): &(Action, Event<usize>)| {
                matches!(
                    (action, event),
                    (Action::Vote(_, Ask::Decide), Event::Unknown(_))
                )
            };
            self.steps.iter().any(lost)
        }

        /// Who is in at the end: all that joined, without those who left.
        fn members(&self) -> Vec<usize> {
            let has_left =
                |seat: &usize| self.steps.contains(&(Action::Prepare(*seat), Event::Left));
            let in_order: Vec<usize> = match self.position(|action| action == Action::Sort) {
                Some(at) if self.steps[at].1 != Event::Failed(at) => {
                    (0..self.joined).rev().collect()
                }
                _ => (0..self.joined).collect(),
            };
            in_order
                .into_iter()
                .filter(|seat| !has_left(seat))
                .collect()
        }

        fn aborted(&self) -> Vec<usize> {
            let seat = |action| match action {
                Action::Abort(seat) => Some(seat),
                _ => None,
            };
            self.actions().filter_map(seat).collect()
        }

        fn finished(&self, which: Try) -> Vec<usize> {
            let seat = |action| match action {
                Action::Finish(seat, turn) if turn == which => Some(seat),
                _ => None,
            };
            self.actions().filter_map(seat).collect()
        }
    }

    #[test]
    fn there_are_very_many_histories() {
        let count = explore_commits(|_| {});
        assert!(count > 5_000, "{count}");
    }

    #[test]
    fn nobody_finishes_before_the_decision_and_nobody_aborts_after_it() {
        explore_commits(|history| {
            let decided = history.decision();
            for (at, action) in history.actions().enumerate() {
                match action {
                    Action::Finish(..) => assert!(decided.is_some_and(|decided| decided < at)),
                    Action::Abort(_) => assert!(decided.is_none()),
                    _ => {}
                }
            }
        });
    }

    #[test]
    fn it_commits_if_and_only_if_it_is_decided() {
        explore_commits(|history| {
            let committed = matches!(history.ending, Ending::AsMeant { .. });
            assert_eq!(committed, history.decision().is_some());
            let undecided = matches!(history.ending, Ending::Undecided(_));
            assert_eq!(undecided, history.lost_its_decision());
        });
    }

    #[test]
    fn a_refusal_aborts_each_member_exactly_once_and_in_order() {
        explore_commits(|history| match history.ending {
            Ending::Refused(_) => assert_eq!(history.aborted(), history.members()),
            Ending::AsMeant { .. } | Ending::Undecided(_) => assert!(history.aborted().is_empty()),
        });
    }

    #[test]
    fn once_it_is_decided_every_member_finishes_and_who_fails_is_tried_once_more() {
        explore_commits(|history| {
            let Ending::AsMeant { pending } = &history.ending else {
                assert!(history.finished(Try::First).is_empty());
                return;
            };
            let failed = |turn| {
                move |seat: &usize| {
                    history
                        .steps
                        .contains(&(Action::Finish(*seat, turn), Event::Trouble))
                }
            };
            let members = history.members();
            let again: Vec<usize> = members.iter().copied().filter(failed(Try::First)).collect();
            let stuck: Vec<usize> = again.iter().copied().filter(failed(Try::Last)).collect();
            assert_eq!(history.finished(Try::First), members);
            assert_eq!(history.finished(Try::Last), again);
            assert_eq!(pending, &stuck);
        });
    }

    #[test]
    fn an_unknown_decision_calls_no_participant_any_more() {
        explore_commits(|history| {
            let is_lost = |action| matches!(action, Action::Vote(_, Ask::Decide));
            let Some(at) = history
                .position(is_lost)
                .filter(|_| history.lost_its_decision())
            else {
                return;
            };
            let rest: Vec<Action> = history.actions().skip(at + 1).collect();
            let told = [
                Action::Keep,
                Action::AfterCompletion(Some(Outcome::Undecided)),
                Action::Hooks(Hooks::AfterCommit(Outcome::Undecided)),
            ];
            assert_eq!(rest, told);
        });
    }

    #[test]
    fn the_commit_point_votes_last_and_it_alone_is_asked_to_decide() {
        explore_commits(|history| {
            let mut commit_point_voted = false;
            for action in history.actions() {
                if let Action::Vote(seat, ask) = action {
                    assert!(!commit_point_voted);
                    commit_point_voted = Some(seat) == history.commit_point;
                    assert_eq!(commit_point_voted, ask == Ask::Decide);
                }
            }
        });
    }

    #[test]
    fn each_phase_begins_when_the_one_before_has_ended() {
        fn phase(action: Action) -> usize {
            match action {
                Action::CheckDoom
                | Action::Hooks(Hooks::BeforeCommit)
                | Action::BeforeCompletion(_) => 0,
                Action::Sort => 1,
                Action::Prepare(_) => 2,
                Action::Accept => 3,
                Action::Plan => 4,
                Action::Vote(..) => 5,
                Action::Hooks(Hooks::BeforeAbort) => 6,
                Action::Finish(..) | Action::Muster | Action::Abort(_) => 7,
                Action::Release | Action::Keep => 8,
                Action::AfterCompletion(_) => 9,
                Action::Hooks(Hooks::AfterCommit(_)) => 10,
                Action::Hooks(Hooks::AfterAbort) => 11,
            }
        }
        explore_commits(|history| assert!(history.actions().map(phase).is_sorted()));
    }

    #[test]
    fn everybody_is_told_how_it_ended_and_abort_hooks_run_only_for_a_refusal() {
        explore_commits(|history| {
            let (outcome, ran) = match history.ending {
                Ending::AsMeant { .. } => (Outcome::Committed, false),
                Ending::Undecided(_) => (Outcome::Undecided, false),
                Ending::Refused(_) => (Outcome::Refused, true),
            };
            let has = |wanted| history.actions().any(|action| action == wanted);
            assert!(has(Action::AfterCompletion(Some(outcome))));
            assert!(has(Action::Hooks(Hooks::AfterCommit(outcome))));
            assert_eq!(has(Action::Hooks(Hooks::BeforeAbort)), ran);
            assert_eq!(has(Action::Hooks(Hooks::AfterAbort)), ran);
        });
    }

    #[test]
    fn the_first_failure_is_the_one_that_is_reported() {
        explore_commits(|history| {
            let failure = |(_, event): &(Action, Event<usize>)| match event {
                Event::Failed(at) | Event::Unknown(at) => Some(*at),
                _ => None,
            };
            let first = history.steps.iter().find_map(failure);
            match history.ending {
                Ending::Refused(at) | Ending::Undecided(at) => assert_eq!(first, Some(at)),
                Ending::AsMeant { .. } => assert_eq!(first, None),
            }
        });
    }

    #[test]
    fn nobody_is_called_after_being_let_go_or_kept() {
        explore_commits(|history| {
            let is_end = |action| matches!(action, Action::Release | Action::Keep);
            let at = history.position(is_end).expect("every history lets go");
            let calls = |action| matches!(action, Action::Finish(..) | Action::Abort(_));
            assert!(!history.actions().skip(at).any(calls));
            assert_eq!(
                history.actions().filter(|action| is_end(*action)).count(),
                1
            );
        });
    }

    #[test]
    fn an_abort_calls_everybody_once_in_the_order_of_joining_whatever_fails() {
        let check: fn(&History) = |history| {
            let mut expected = vec![
                Action::Hooks(Hooks::BeforeAbort),
                Action::BeforeCompletion(OnFailure::GoOn),
                Action::Muster,
            ];
            expected.extend((0..history.joined).map(Action::Abort));
            expected.extend([
                Action::Release,
                Action::Hooks(Hooks::AfterAbort),
                Action::AfterCompletion(None),
            ]);
            assert_eq!(history.actions().collect::<Vec<_>>(), expected);
        };
        let counts = settings().map(|setting| explore(Protocol::abort, setting, check));
        assert_eq!(counts.sum::<usize>(), 1 + 2 * 2 + 3 * 4 + 4 * 8 + 5 * 16);
    }

    #[test]
    fn what_was_undecided_is_finished_or_aborted_as_the_register_says() {
        let actions = |decision| {
            let mut protocol: Protocol<usize> = Protocol::settle(vec![1, 0], decision);
            std::iter::from_fn(|| protocol.next()).collect::<Vec<_>>()
        };
        let finishes = [1, 0].map(|seat| Action::Finish(seat, Try::First));
        let aborts = [1, 0].map(Action::Abort);
        let committed = actions(Decision::Committed);
        assert_eq!(
            committed,
            [finishes.as_slice(), &[Action::Release]].concat()
        );
        let aborted = actions(Decision::Aborted);
        assert_eq!(aborted, [aborts.as_slice(), &[Action::Release]].concat());
    }
}
