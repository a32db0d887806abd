//! The tasks and marks, and the undo list that takes back what a refused batch did to them.

use std::collections::{BTreeMap, HashMap};

use super::Judged;
use super::entries::Entries;
use super::entry::Entry;
use super::hash::IdHash;
use super::index::{Index, Sequence, Spots};
use super::reserved::Reserved;
use super::resting::{Rest, Resting};
use crate::id::TaskId;
use crate::store::Kind;

#[derive(Debug)]
pub(super) struct Content<B> {
    pub(super) last_sequence: Sequence,
    pub(super) entries: Entries<B>,
    pub(super) ids: HashMap<TaskId, Sequence, IdHash>,
    /// Ids of merged tasks, to the task that stays.
    pub(super) aliases: HashMap<TaskId, Sequence>,
    pub(super) marks: BTreeMap<String, Vec<u8>>,
    pub(super) index: Index,
    pub(super) reserved: Reserved,
    pub(super) resting: Resting,
    undo_list: Vec<Undo<B>>,
    /// Whether a batch is being made, that may have to be undone.
    is_trying: bool,
    /// Whether whatever is done may have to be undone, or told.
    pub(super) is_tracked: bool,
}

/// How one step is undone.
#[derive(Debug)]
pub(super) enum Undo<B> {
    Remove(Sequence),
    Restore(Sequence, Entry<B>),
    Separate(TaskId, Sequence),
    Mark(String, Option<Vec<u8>>),
    Rest(String, Option<Rest>),
}

impl<B> Default for Content<B> {
    fn default() -> Self {
        Self {
            last_sequence: 0,
            entries: Entries::default(),
            ids: HashMap::default(),
            aliases: HashMap::new(),
            marks: BTreeMap::new(),
            index: Index::default(),
            reserved: Reserved::default(),
            resting: Resting::default(),
            undo_list: Vec::new(),
            is_trying: false,
            is_tracked: false,
        }
    }
}

impl<B: Clone> Content<B> {
    /// Starts to note how what is done is undone; returns how much was noted before.
    pub(super) fn begin(&mut self) -> usize {
        self.is_trying = true;
        self.undo_list.len()
    }

    /// Keeps what was done since [`begin`](Self::begin).
    pub(super) fn commit(&mut self) {
        self.is_trying = false;
        if !self.is_tracked {
            self.undo_list.clear();
        }
    }

    /// Undoes what was done since so much had been noted, the latest first.
    pub(super) fn rollback(&mut self, noted: usize) {
        self.is_trying = false;
        while self.undo_list.len() > noted
            && let Some(undo) = self.undo_list.pop()
        {
            self.undo(undo);
        }
    }

    /// What was noted, the earliest first.
    #[cfg(feature = "file")]
    pub(super) fn noted(&self) -> &[Undo<B>] {
        &self.undo_list
    }

    /// Keeps all that was done.
    #[cfg(feature = "file")]
    pub(super) fn settle(&mut self) {
        self.undo_list.clear();
    }

    fn is_noting(&self) -> bool {
        self.is_trying || self.is_tracked
    }

    fn undo(&mut self, undo: Undo<B>) {
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
                if let Some(entry) = self.entries.get_mut(sequence) {
                    entry.remove_alias(alias);
                }
            }
            Undo::Rest(key, rest) => drop(self.resting.set(&key, rest)),
            Undo::Mark(key, value) => {
                self.set(key, value);
            }
        }
    }

    pub(super) fn note(&mut self, undo: impl FnOnce() -> Undo<B>) {
        if self.is_noting() {
            self.undo_list.push(undo());
        }
    }

    /// Finds a task by its id or by that of a task that merged into it.
    pub(super) fn find(&self, task: TaskId) -> Option<(Sequence, &Entry<B>)> {
        let sequence = self.ids.get(&task).or_else(|| self.aliases.get(&task))?;
        Some((*sequence, self.entries.get(*sequence)?))
    }

    pub(super) fn insert(&mut self, entry: Entry<B>) -> Sequence {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        self.put(sequence, entry);
        self.note(|| Undo::Remove(sequence));
        sequence
    }

    /// Changes an entry, then lets it give up its unique key, or take it again if it has come back. An entry
    /// that the change refuses must be as it was.
    pub(super) fn update<T>(
        &mut self,
        sequence: Sequence,
        change: impl FnOnce(&mut Entry<B>) -> Judged<T>,
    ) -> Judged<T> {
        let is_noting = self.is_noting();
        let entry = self.entries.get_mut(sequence).ok_or(Kind::Other)?;
        let spots = Spots::of(sequence, entry);
        let before = is_noting.then(|| entry.clone());
        let held = entry.life.holds_key(&entry.options);
        let result = change(entry);
        let may_hold = entry.life.holds_key(&entry.options);
        entry.holds_key &= may_hold;
        if may_hold && !held {
            self.take_key(sequence);
        }
        let entry = self.entries.get(sequence).ok_or(Kind::Other)?;
        let after = Spots::of(sequence, entry);
        self.index.shift(&entry.options, Some(&spots), Some(&after));
        if let Some(before) = before {
            self.note(|| Undo::Restore(sequence, before));
        }
        result
    }

    /// Gives its unique key to a task that has come back, if nobody has it; the index is not told.
    fn take_key(&mut self, sequence: Sequence) {
        let key = self.entries.get(sequence).and_then(Entry::key);
        let is_free = key.is_some_and(|key| {
            self.holder_of(key).is_none() && !self.reserved.keys.contains_key(key)
        });
        if let Some(entry) = self.entries.get_mut(sequence) {
            entry.holds_key |= is_free;
        }
    }

    /// Finds the task that holds a unique key.
    pub(super) fn holder_of(&self, key: &str) -> Option<&Entry<B>> {
        let candidates = self.index.keys.candidates(key);
        let mut holders = candidates.filter_map(|sequence| self.entries.get(sequence));
        holders.find(|holder| holder.held_key().is_some_and(|held| held == key))
    }

    /// Changes an entry in a way that is not refused and is not part of a batch.
    pub(super) fn edit(&mut self, sequence: Sequence, change: impl FnOnce(&mut Entry<B>)) {
        let is_noting = self.is_noting();
        if let Some(entry) = self.entries.get_mut(sequence) {
            let spots = Spots::of(sequence, entry);
            let before = is_noting.then(|| entry.clone());
            change(entry);
            let after = Spots::of(sequence, entry);
            self.index.shift(&entry.options, Some(&spots), Some(&after));
            if let Some(before) = before {
                self.note(|| Undo::Restore(sequence, before));
            }
        }
    }

    pub(super) fn remove(&mut self, sequence: Sequence) {
        if let Some(entry) = self.take(sequence) {
            self.note(|| Undo::Restore(sequence, entry));
        }
    }

    /// Makes `alias` another name of a task.
    pub(super) fn merge(&mut self, alias: TaskId, sequence: Sequence) {
        if let Some(entry) = self.entries.get_mut(sequence) {
            entry.add_alias(alias);
            self.aliases.insert(alias, sequence);
            self.note(|| Undo::Separate(alias, sequence));
        }
    }

    /// As [`merge`](Self::merge), in the words of somebody else.
    #[cfg(feature = "file")]
    pub(super) fn merge_unnoted(&mut self, alias: TaskId, sequence: Sequence) {
        if let Some(entry) = self.entries.get_mut(sequence)
            && !self.aliases.contains_key(&alias)
        {
            entry.add_alias(alias);
            self.aliases.insert(alias, sequence);
        }
    }

    pub(super) fn set_mark(&mut self, key: &str, value: Option<&Vec<u8>>) {
        let before = self.set(key.to_owned(), value.cloned());
        self.note(|| Undo::Mark(key.to_owned(), before));
    }

    pub(super) fn set(&mut self, key: String, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.marks.insert(key, value),
            None => self.marks.remove(&key),
        }
    }

    pub(super) fn put(&mut self, sequence: Sequence, entry: Entry<B>) {
        self.index.add(sequence, &entry);
        self.ids.insert(entry.id(), sequence);
        let aliases = entry.aliases().iter().map(|alias| (*alias, sequence));
        self.aliases.extend(aliases);
        self.entries.insert(sequence, entry);
    }

    pub(super) fn take(&mut self, sequence: Sequence) -> Option<Entry<B>> {
        let entry = self.entries.remove(sequence)?;
        self.index.remove(sequence, &entry);
        self.ids.remove(&entry.id());
        for alias in entry.aliases() {
            self.aliases.remove(alias);
        }
        Some(entry)
    }
}
