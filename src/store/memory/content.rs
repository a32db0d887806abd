//! The tasks and marks of the store, and the journal that undoes what a refused batch did to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Judged;
use super::index::{Index, Sequence};
use crate::id::{ConsumerId, TaskId, Token};
use crate::store::{Batch, Change, Kind};
use crate::task::{Record, State, StateSet};
use crate::time::Timestamp;

/// A visible task.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) record: Box<Record>,
    /// Prerequisites that have not arrived.
    pub(super) unmet: BTreeSet<TaskId>,
    /// Who has claimed it.
    pub(super) claim: Option<Holding>,
    /// Whether a staged batch settles or amends it: nothing else may move it.
    pub(super) pinned: bool,
    /// Whether it holds its unique key.
    pub(super) holds_key: bool,
    /// Tasks that merged into it.
    pub(super) aliases: Vec<TaskId>,
}

/// A claim, as the store keeps it.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) consumer: Arc<ConsumerId>,
    pub(super) token: Token,
    pub(super) claimed_at: Timestamp,
}

impl Entry {
    /// Makes an entry of a record that was just published.
    pub(super) fn new(record: Box<Record>) -> Self {
        Self {
            unmet: record.options.waits_for.iter().copied().collect(),
            holds_key: record.options.unique.is_some(),
            record,
            claim: None,
            pinned: false,
            aliases: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> Option<&String> {
        unique_key(&self.record)
    }

    /// Whether nothing but its busy group holds it back, and no staged batch settles its fate.
    pub(super) fn waits_for_group(&self) -> bool {
        self.record.state == State::Waiting && self.unmet.is_empty() && !self.pinned
    }

    pub(super) fn held_key(&self) -> Option<&String> {
        self.key().filter(|_| self.holds_key)
    }
}

/// What staged batches were judged by, and nobody else may change.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reserved {
    pub(super) ids: HashSet<TaskId>,
    /// By how many batches: several may be about to merge into the same visible task.
    pub(super) keys: HashMap<String, usize>,
    pub(super) marks: HashSet<String>,
}

impl Reserved {
    pub(super) fn add(&mut self, batch: &Batch) {
        let records = || batch.inserts();
        self.ids.extend(records().map(|record| record.id));
        for key in records().filter_map(unique_key) {
            *self.keys.entry(key.clone()).or_default() += 1;
        }
        self.marks.extend(marked(batch).cloned());
    }

    pub(super) fn remove(&mut self, batch: &Batch) {
        for record in batch.inserts() {
            self.ids.remove(&record.id);
            if let Some(key) = unique_key(record)
                && let Some(count) = self.keys.get_mut(key)
            {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(key);
                }
            }
        }
        for key in marked(batch) {
            self.marks.remove(key);
        }
    }
}

fn unique_key(record: &Record) -> Option<&String> {
    record.options.unique.as_ref().map(|unique| &unique.key)
}

fn marked(batch: &Batch) -> impl Iterator<Item = &String> {
    batch.changes.iter().filter_map(|change| match change {
        Change::Mark { key, .. } => Some(key),
        _ => None,
    })
}

#[derive(Debug, Default)]
pub(super) struct Content {
    last_sequence: Sequence,
    pub(super) entries: BTreeMap<Sequence, Entry>,
    pub(super) ids: HashMap<TaskId, Sequence>,
    /// Ids of merged tasks, to the task that stays.
    pub(super) aliases: HashMap<TaskId, Sequence>,
    pub(super) marks: BTreeMap<String, Vec<u8>>,
    pub(super) index: Index,
    pub(super) reserved: Reserved,
    /// Whether the batch that is being made was judged before: then nothing refuses it any more.
    pub(super) is_judged: bool,
    journal: Option<Vec<Undo>>,
}

/// How one step is undone.
#[derive(Debug)]
enum Undo {
    Remove(Sequence),
    Restore(Sequence, Entry),
    Separate(TaskId, Sequence),
    Mark(String, Option<Vec<u8>>),
}

impl Content {
    /// Starts to write the journal.
    pub(super) fn begin(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// Keeps what was done since [`begin`](Self::begin).
    pub(super) fn commit(&mut self) {
        self.journal = None;
    }

    /// Undoes what was done since [`begin`](Self::begin), the latest first.
    pub(super) fn rollback(&mut self) {
        for undo in self.journal.take().into_iter().flatten().rev() {
            self.undo(undo);
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Remove(sequence) => {
                self.take(sequence);
            }
            Undo::Restore(sequence, entry) => {
                self.take(sequence);
                self.put(sequence, entry);
            }
            Undo::Separate(alias, sequence) => {
                self.aliases.remove(&alias);
                if let Some(entry) = self.entries.get_mut(&sequence) {
                    entry.aliases.retain(|id| *id != alias);
                }
            }
            Undo::Mark(key, value) => {
                self.set(key, value);
            }
        }
    }

    fn note(&mut self, undo: impl FnOnce() -> Undo) {
        if let Some(journal) = &mut self.journal {
            journal.push(undo());
        }
    }

    /// Finds a task by its id or by that of a task that merged into it.
    pub(super) fn find(&self, task: TaskId) -> Option<(Sequence, &Entry)> {
        let sequence = self.ids.get(&task).or_else(|| self.aliases.get(&task))?;
        Some((*sequence, self.entries.get(sequence)?))
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        self.put(sequence, entry);
        self.note(|| Undo::Remove(sequence));
    }

    /// Changes an entry, then lets it give up its unique key or take it again. An entry that the change
    /// refuses must be as it was.
    pub(super) fn update<T>(
        &mut self,
        sequence: Sequence,
        change: impl FnOnce(&mut Entry) -> Judged<T>,
    ) -> Judged<T> {
        let entry = self.entries.get_mut(&sequence).ok_or(Kind::Other)?;
        self.index.remove(sequence, entry);
        let before = self.journal.is_some().then(|| entry.clone());
        let result = change(entry);
        let is_pending = StateSet::PENDING.contains(entry.record.state);
        entry.holds_key = is_pending
            && entry.key().is_some_and(|key| {
                let is_free = || !self.index.keys.contains_key(key);
                entry.holds_key || (is_free() && !self.reserved.keys.contains_key(key))
            });
        self.index.add(sequence, entry);
        if let Some(before) = before {
            self.note(|| Undo::Restore(sequence, before));
        }
        result
    }

    /// Changes an entry in a way that is not refused and is not part of a batch.
    pub(super) fn edit(&mut self, sequence: Sequence, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            self.index.remove(sequence, entry);
            change(entry);
            self.index.add(sequence, entry);
        }
    }

    pub(super) fn remove(&mut self, sequence: Sequence) {
        if let Some(entry) = self.take(sequence) {
            self.note(|| Undo::Restore(sequence, entry));
        }
    }

    /// Makes `alias` another name of a task.
    pub(super) fn merge(&mut self, alias: TaskId, sequence: Sequence) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.aliases.push(alias);
            self.aliases.insert(alias, sequence);
            self.note(|| Undo::Separate(alias, sequence));
        }
    }

    pub(super) fn set_mark(&mut self, key: String, value: Option<Vec<u8>>) {
        let before = self.set(key.clone(), value);
        self.note(|| Undo::Mark(key, before));
    }

    fn set(&mut self, key: String, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.marks.insert(key, value),
            None => self.marks.remove(&key),
        }
    }

    fn put(&mut self, sequence: Sequence, entry: Entry) {
        self.index.add(sequence, &entry);
        self.ids.insert(entry.record.id, sequence);
        let aliases = entry.aliases.iter().map(|alias| (*alias, sequence));
        self.aliases.extend(aliases);
        self.entries.insert(sequence, entry);
    }

    fn take(&mut self, sequence: Sequence) -> Option<Entry> {
        let entry = self.entries.remove(&sequence)?;
        self.index.remove(sequence, &entry);
        self.ids.remove(&entry.record.id);
        for alias in &entry.aliases {
            self.aliases.remove(alias);
        }
        Some(entry)
    }
}
