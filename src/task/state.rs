//! The states of a task, and the one table of what leads from which to which.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What has become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// Durable but invisible: its transaction is not yet decided.
    Staged,
    /// Visible, but blocked by a task that must be done first or by a busy group.
    Waiting,
    /// Visible, to be run at a later time.
    Scheduled,
    /// Visible, to be claimed now.
    Ready,
    /// Given to a consumer.
    Claimed,
    /// Finished, and kept to be looked at.
    Done,
    /// Nobody will run it: it failed too often, expired, or its consumers died.
    Dead,
    /// Taken back by an operator or by the application before it ran.
    Cancelled,
}

impl State {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Staged,
        Self::Waiting,
        Self::Scheduled,
        Self::Ready,
        Self::Claimed,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Returns the name that the command line and the documents use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Finds the state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the task will leave this state by itself.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of states, for filters and for what an amendment expects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct StateSet(u8);

impl StateSet {
    /// No state.
    pub const EMPTY: Self = Self(0);
    /// Every state.
    pub const ALL: Self = Self(u8::MAX);
    /// Visible and not yet started.
    pub const PENDING: Self = Self::of(&[State::Waiting, State::Scheduled, State::Ready]);
    /// What a task does not leave by itself.
    pub const ENDED: Self = Self::of(&[State::Done, State::Dead, State::Cancelled]);

    /// Creates a set of the given states.
    #[must_use]
    pub const fn of(states: &[State]) -> Self {
        let (mut bits, mut rest) = (0, states);
        while let [state, tail @ ..] = rest {
            bits |= 1 << *state as u8;
            rest = tail;
        }
        Self(bits)
    }

    /// Whether the set has this state.
    #[must_use]
    pub const fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    /// Returns the states of the set, in the order of a task's life.
    pub fn iter(self) -> impl Iterator<Item = State> {
        State::ALL
            .into_iter()
            .filter(move |state| self.contains(*state))
    }
}

impl fmt::Debug for StateSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Why nobody will run a task any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeadReason {
    /// It failed as often as its policy allows.
    Failed,
    /// Its consumers died under it too often.
    Reclaimed,
    /// Its time to start had passed.
    Expired,
}

impl DeadReason {
    /// Returns the reason as the command line prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Reclaimed => "reclaimed",
            Self::Expired => "expired",
        }
    }
}

/// What can happen to a task: the rows of the table of what counts as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Its transaction committed, and nothing holds it back.
    Publish,
    /// Its transaction committed; its time has not come.
    PublishLater,
    /// Its transaction committed; another task must be done first.
    PublishBlocked,
    /// Its time came.
    Due,
    /// What it waited for is done.
    Unblock,
    /// A more urgent task of its group took its place.
    GiveWay,
    /// A consumer took it.
    Claim,
    /// The handler succeeded.
    Done,
    /// An error, a panic or a timeout, with an attempt left.
    Fail,
    /// The last attempt failed, it expired, or its consumers died too often.
    Bury,
    /// Given back unrun: a stop, a prefetched task, an unknown kind, a conflict.
    Release,
    /// Its consumer was proved dead, or its lease ran out.
    Reclaim,
    /// Somebody took it back.
    Cancel,
    /// Somebody wants it run again.
    Revive,
    /// Somebody changed its time.
    Reschedule,
}

impl Event {
    /// Every event, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::Publish,
        Self::PublishLater,
        Self::PublishBlocked,
        Self::Due,
        Self::Unblock,
        Self::GiveWay,
        Self::Claim,
        Self::Done,
        Self::Fail,
        Self::Bury,
        Self::Release,
        Self::Reclaim,
        Self::Cancel,
        Self::Revive,
        Self::Reschedule,
    ];
}

impl State {
    /// Returns the states that `event` may lead to from here; empty if it cannot happen here.
    ///
    /// Of several states, the first is the usual one; `Scheduled` is where the task goes if its next
    /// time lies in the future, and `Waiting` if its group is busy.
    #[must_use]
    #[expect(clippy::match_same_arms, reason = "a table, read row by row")]
    pub const fn after(self, event: Event) -> &'static [Self] {
        use Event as E;
        use State as S;
        match (self, event) {
            (S::Staged, E::Publish) => &[S::Ready],
            (S::Staged, E::PublishLater) => &[S::Scheduled],
            (S::Staged, E::PublishBlocked) => &[S::Waiting],
            (S::Scheduled, E::Due) => &[S::Ready, S::Waiting],
            (S::Waiting, E::Unblock) => &[S::Ready, S::Scheduled],
            (S::Ready, E::GiveWay) => &[S::Waiting],
            (S::Ready, E::Claim) => &[S::Claimed],
            (S::Claimed, E::Done) => &[S::Done],
            (S::Claimed, E::Fail | E::Release) => &[S::Ready, S::Scheduled],
            (S::Claimed, E::Bury) => &[S::Dead],
            (S::Claimed, E::Reclaim) => &[S::Claimed, S::Ready],
            (S::Waiting | S::Scheduled | S::Ready, E::Cancel) => &[S::Cancelled],
            (S::Dead | S::Cancelled | S::Done, E::Revive) => &[S::Ready, S::Scheduled, S::Waiting],
            (S::Scheduled | S::Ready, E::Reschedule) => &[S::Ready, S::Scheduled, S::Waiting],
            (S::Waiting, E::Reschedule) => &[S::Waiting],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_staged_is_reached_and_every_unended_one_is_left() {
        for state in State::ALL {
            let reaches = |from: State| {
                Event::ALL
                    .iter()
                    .any(|event| from.after(*event).contains(&state))
            };
            assert!(
                state == State::Staged || State::ALL.into_iter().any(reaches),
                "{state}"
            );
            assert!(
                Event::ALL
                    .iter()
                    .any(|event| !state.after(*event).is_empty()),
                "{state}"
            );
        }
    }

    #[test]
    fn a_name_finds_its_state() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
        }
    }

    #[test]
    fn a_set_has_what_it_was_made_of() {
        assert_eq!(StateSet::ENDED.iter().count(), 3);
        assert!(!StateSet::PENDING.contains(State::Claimed));
    }
}
