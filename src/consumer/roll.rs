//! The roll: which threads of the consumer are there.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Fetcher,
    Worker,
    Settler,
    Watch,
    Urger,
    Upkeep,
    Timetable,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fetcher => "fetch",
            Self::Worker => "work",
            Self::Settler => "settle",
            Self::Watch => "watch",
            Self::Urger => "urge",
            Self::Upkeep => "upkeep",
            Self::Timetable => "timetable",
        }
    }
}

#[derive(Default)]
pub(super) struct Roll {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    present: BTreeMap<Role, usize>,
    stopped: bool,
}

impl State {
    fn count(&self, role: Role) -> usize {
        self.present.get(&role).copied().unwrap_or(0)
    }
}

impl Roll {
    pub(super) fn enter(&self, role: Role) {
        *self.state.lock().present.entry(role).or_default() += 1;
    }

    pub(super) fn leave(&self, role: Role) {
        let mut state = self.state.lock();
        let count = state.present.entry(role).or_default();
        *count = count.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Returns what takes a thread that entered off the roll when it ends, however it ends.
    pub(super) fn entry(&self, role: Role) -> Entry<'_> {
        Entry {
            roll: Some(self),
            role,
        }
    }

    pub(super) fn count(&self, role: Role) -> usize {
        self.state.lock().count(role)
    }

    /// Waits until no thread of a role is left; returns whether that was so by the deadline.
    pub(super) fn gone_by(&self, role: Role, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.count(role) > 0 {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.count(role) == 0
    }

    /// Ends every [`stops_by`](Self::stops_by).
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits for the end; returns whether it came by the deadline.
    pub(super) fn stops_by(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.stopped {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.stopped
    }
}

/// One thread on the roll.
pub(super) struct Entry<'r> {
    roll: Option<&'r Roll>,
    role: Role,
}

impl Entry<'_> {
    /// Says that somebody else took the thread off the roll.
    pub(super) fn void(mut self) {
        self.roll = None;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(roll) = self.roll {
            roll.leave(self.role);
        }
    }
}
