//! Keys that rest: nobody gets them before a time, whatever has become of the task that had them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::content::{Content, Undo};
use crate::id::TaskId;
use crate::time::Timestamp;

/// How many rests that are over go for each new one, so that they never pile up.
const OVER_MAX: usize = 2;

/// For whose sake a key rests, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Rest {
    pub(super) task: TaskId,
    pub(super) until: Timestamp,
}

/// The keys that rest, or did until lately.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Resting {
    keys: BTreeMap<String, Rest>,
    /// In the order in which they end.
    ends: BTreeSet<(Timestamp, String)>,
}

impl Resting {
    /// Returns for whose sake a key rests.
    pub(super) fn at(&self, key: &str, now: Timestamp) -> Option<TaskId> {
        let rest = self.keys.get(key).filter(|rest| rest.until > now)?;
        Some(rest.task)
    }

    /// Has a key rest, or not; returns how it was before.
    pub(super) fn set(&mut self, key: &str, rest: Option<Rest>) -> Option<Rest> {
        let before = match rest {
            Some(rest) => self.keys.insert(key.to_owned(), rest),
            None => self.keys.remove(key),
        };
        if let Some(before) = before {
            self.ends.remove(&(before.until, key.to_owned()));
        }
        if let Some(rest) = rest {
            self.ends.insert((rest.until, key.to_owned()));
        }
        before
    }

    fn over(&self, now: Timestamp) -> Vec<String> {
        let over = self.ends.iter().take_while(|(until, _)| *until <= now);
        over.take(OVER_MAX).map(|(_, key)| key.clone()).collect()
    }

    #[cfg(feature = "file")]
    pub(super) fn get(&self, key: &str) -> Option<Rest> {
        self.keys.get(key).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Rest)> {
        self.keys.iter()
    }

    /// Whether what is known by the key and what is known by the end is the same.
    pub(super) fn is_sound(&self) -> bool {
        let ends = self.iter().map(|(key, rest)| (rest.until, key.clone()));
        ends.collect::<BTreeSet<_>>() == self.ends
    }
}

impl<B: Clone> Content<B> {
    /// Has a key rest for the sake of a task, unless it rests for longer already.
    pub(super) fn rest(&mut self, key: &str, rest: Rest, now: Timestamp) {
        for over in self.resting.over(now) {
            self.set_rest(&over, None);
        }
        let known = self.resting.keys.get(key);
        if rest.until > now && known.is_none_or(|known| known.until < rest.until) {
            self.set_rest(key, Some(rest));
        }
    }

    /// Ends the rest of a key, if it rests for the sake of this task.
    pub(super) fn end_rest(&mut self, key: &str, task: TaskId) {
        let known = self.resting.keys.get(key);
        if known.is_some_and(|known| known.task == task) {
            self.set_rest(key, None);
        }
    }

    fn set_rest(&mut self, key: &str, rest: Option<Rest>) {
        let before = self.resting.set(key, rest);
        self.note(|| Undo::Rest(key.to_owned(), before));
    }
}
