//! Unique keys: who holds one, for whose sake one rests, and who merges into whom.
#![cfg(test)]

use std::time::Duration;

use votive::id::TaskId;
use votive::store::Change;
use votive::task::{OnDuplicate, Record, State, StateSet, Unique};
use votive::time::Timestamp;

use super::{Mode, Shelf};

/// What becomes of a task that wants a key.
pub(super) enum Want {
    Granted,
    /// Into this one, which may be gone.
    Merges(TaskId),
    Refused,
}

impl Shelf {
    /// Judges what a new task says of its key.
    pub(super) fn judge_key(&self, unique: &Unique, mode: Mode, now: Timestamp) -> Want {
        let holder = self.holder(&unique.key);
        let rester = self
            .rests
            .get(&unique.key)
            .filter(|(_, until)| *until > now);
        let found = match holder {
            Some(number) => Some(self.tasks[number].record.id),
            None => rester.map(|(task, _)| *task),
        };
        let is_judged = mode == Mode::Make;
        match (found, unique.on_duplicate) {
            (_, OnDuplicate::Refuse) if is_judged => Want::Granted,
            (Some(_), OnDuplicate::Refuse) => Want::Refused,
            (Some(_), _) if !is_judged && holder.is_some_and(|number| self.is_pinned(number)) => {
                Want::Refused
            }
            (Some(task), _) => Want::Merges(task),
            (None, _) if !is_judged && self.is_reserved(&unique.key) => Want::Refused,
            (None, _) => Want::Granted,
        }
    }

    /// Has the key of a task rest from when it became visible, and from when it ended.
    pub(super) fn rest(&mut self, record: &Record, now: Timestamp) {
        let Some(Unique { key, hold, .. }) = &record.options.unique else {
            return;
        };
        let after = |at: Option<Timestamp>, period: Option<Duration>| {
            Some(at?.saturating_add(period?)).filter(|until| *until > now)
        };
        let enqueued = after(record.published_at, hold.after_enqueued);
        let until = enqueued.max(after(record.ended_at, hold.after_ended));
        let known = self.rests.get(key).map(|(_, until)| *until);
        if let Some(until) = until.filter(|until| Some(*until) > known) {
            self.rests.insert(key.clone(), (record.id, until));
        }
    }

    /// Lets others have a key that rests for the sake of a task that nobody wants any more.
    pub(super) fn end_rest(&mut self, number: usize) {
        let record = &self.tasks[number].record;
        self.rests.retain(|_, (task, _)| *task != record.id);
    }

    /// A task holds its key while it waits to be run, and perhaps while it runs; one that comes back takes it
    /// if it is free.
    pub(super) fn see_to_key(&mut self, number: usize, before: State) {
        let task = &self.tasks[number];
        let unique = task.record.options.unique.as_ref();
        let is_holding = |state| {
            let runs_with_it = unique.is_some_and(|unique| unique.hold.until_ended);
            StateSet::PENDING.contains(state) || (state == State::Claimed && runs_with_it)
        };
        let comes_back = !is_holding(before);
        let holds_key = is_holding(task.record.state)
            && unique.is_some_and(|unique| {
                let is_free = self.holder(&unique.key).is_none() && !self.is_reserved(&unique.key);
                task.holds_key || (comes_back && is_free)
            });
        self.tasks[number].holds_key = holds_key;
    }

    pub(super) fn held_key(&self, number: usize) -> Option<&str> {
        let task = &self.tasks[number];
        let unique = task.record.options.unique.as_ref();
        unique.filter(|_| task.holds_key).map(|unique| &*unique.key)
    }

    pub(super) fn holder(&self, key: &str) -> Option<usize> {
        (0..self.tasks.len()).find(|number| self.held_key(*number) == Some(key))
    }

    pub(super) fn is_reserved(&self, key: &str) -> bool {
        self.staged.values().flatten().any(|change| match change {
            Change::Insert(record) => {
                let unique = record.options.unique.as_ref();
                unique.is_some_and(|unique| unique.key == key)
            }
            _ => false,
        })
    }
}
