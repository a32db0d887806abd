//! What operations did, as facts that can be written down and taken up again by somebody else.
//!
//! A fact says what is so, and not what was asked for: whoever takes it up decides nothing, and facts
//! about one thing may be left out if a later one about it is there. What a fact is about need not be
//! known: then it is of no use any more.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::content::Undo;
use super::entry::{Entry, Moved};
use super::index::Sequence;
use super::outcomes::{Enrolled, Outcome};
use super::resting::Rest;
use super::stage::{End, Staged};
use super::{Ledger, Noted};
use crate::id::{Incarnation, TaskId, TxnId};

/// What is so.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) enum Fact<'l, B: Clone> {
    /// There is a task.
    Task(Sequence, Cow<'l, Entry<B>>),
    /// How a task stands by now.
    Moved(Sequence, Box<Moved<B>>),
    /// A task is gone.
    Gone(Sequence),
    /// A task has another id too.
    Alias(TaskId, Sequence),
    /// The value of a mark.
    Mark(String, Option<Vec<u8>>),
    /// A batch is staged.
    Staged(TxnId, Cow<'l, Staged>),
    /// It is not any more.
    Unstaged(TxnId),
    /// How a transaction ended.
    Ended(TxnId, End),
    /// Who committed; `None` is forgotten.
    Outcome(TxnId, Option<Outcome>),
    /// Who may commit; `None` is dropped.
    Incarnation(Incarnation, Option<Enrolled>),
    /// The last sequence that was given to a task.
    LastSequence(Sequence),
    /// For whose sake a key rests, and until when; `None` is no more.
    Rest(String, Option<Rest>),
}

impl<B: Clone + PartialEq> Ledger<B> {
    /// Starts to note what is done, until it is settled.
    pub(in crate::store) fn track(&mut self) {
        self.content.is_tracked = true;
        self.staged.track();
        self.ended.ends.track();
        self.outcomes.rows.track();
        self.outcomes.incarnations.track();
    }

    /// How much has been noted.
    pub(in crate::store) fn noted(&self) -> Noted {
        Noted {
            content: self.content.noted().len(),
            staged: self.staged.noted(),
            ended: self.ended.ends.noted(),
            rows: self.outcomes.rows.noted(),
            incarnations: self.outcomes.incarnations.noted(),
        }
    }

    /// Undoes what was done since so much had been noted.
    pub(in crate::store) fn rollback(&mut self, noted: Noted) {
        self.content.rollback(noted.content);
        while let Some((txn, undone)) = self.staged.take_back(noted.staged) {
            if let Some(staged) = undone {
                self.content.reserved.remove(&staged.batch);
            } else if let Some(staged) = self.staged.get(&txn) {
                self.content.reserved.add(&staged.batch);
            }
        }
        self.ended.rollback(noted.ended);
        while self.outcomes.rows.take_back(noted.rows).is_some() {}
        let incarnations = &mut self.outcomes.incarnations;
        while incarnations.take_back(noted.incarnations).is_some() {}
    }

    /// Keeps all that was done.
    pub(in crate::store) fn settle(&mut self) {
        self.content.settle();
        self.staged.settle();
        self.ended.ends.settle();
        self.outcomes.rows.settle();
        self.outcomes.incarnations.settle();
    }

    /// Tells what was done since so much had been noted.
    pub(in crate::store) fn facts_since(&self, noted: Noted) -> Vec<Fact<'_, B>> {
        let mut facts = Vec::new();
        self.add_content(noted.content, &mut facts);
        for txn in self.staged.changed_since(noted.staged) {
            facts.push(match self.staged.get(txn) {
                Some(staged) => Fact::Staged(*txn, Cow::Borrowed(staged)),
                None => Fact::Unstaged(*txn),
            });
        }
        for txn in self.ended.ends.changed_since(noted.ended) {
            let end = self.ended.ends.get(txn);
            facts.extend(end.map(|end| Fact::Ended(*txn, *end)));
        }
        for txn in self.outcomes.rows.changed_since(noted.rows) {
            facts.push(Fact::Outcome(*txn, self.outcomes.rows.get(txn).cloned()));
        }
        let incarnations = &self.outcomes.incarnations;
        for incarnation in incarnations.changed_since(noted.incarnations) {
            let row = incarnations.get(incarnation).cloned();
            facts.push(Fact::Incarnation(*incarnation, row));
        }
        facts
    }

    fn add_content<'l>(&'l self, since: usize, facts: &mut Vec<Fact<'l, B>>) {
        let mut before = Vec::new();
        let notes = self.content.noted().get(since..).unwrap_or_default();
        for note in notes {
            let (sequence, entry) = match note {
                Undo::Remove(sequence) => (sequence, None),
                Undo::Restore(sequence, entry) => (sequence, Some(entry)),
                Undo::Separate(alias, sequence) => {
                    facts.push(Fact::Alias(*alias, *sequence));
                    continue;
                }
                Undo::Rest(key, _) => {
                    let rest = self.content.resting.get(key);
                    facts.push(Fact::Rest(key.clone(), rest));
                    continue;
                }
                Undo::Mark(key, _) => {
                    let value = self.content.marks.get(key).cloned();
                    facts.push(Fact::Mark(key.clone(), value));
                    continue;
                }
            };
            before.push((*sequence, entry));
        }
        // Of what was changed several times, what it was at first.
        before.sort_by_key(|(sequence, _)| *sequence);
        before.dedup_by_key(|(sequence, _)| *sequence);
        // What there was before an alias was given to it must be there first.
        let aliases = std::mem::take(facts);
        let changed = before.into_iter();
        facts.extend(changed.filter_map(|(sequence, entry)| self.change(sequence, entry)));
        facts.extend(aliases);
    }

    fn change(&self, sequence: Sequence, before: Option<&Entry<B>>) -> Option<Fact<'_, B>> {
        match (before, self.content.entries.get(sequence)) {
            (None, None) => None,
            (None, Some(entry)) => Some(Fact::Task(sequence, Cow::Borrowed(entry))),
            (Some(_), None) => Some(Fact::Gone(sequence)),
            (Some(before), Some(entry)) => {
                let moved = Moved::between(before, entry);
                Some(Fact::Moved(sequence, Box::new(moved)))
            }
        }
    }

    /// Tells of a task, if there still is one.
    pub(in crate::store) fn task(&self, sequence: Sequence) -> Option<&Entry<B>> {
        self.content.entries.get(sequence)
    }

    /// All tasks, in the order of publishing.
    pub(in crate::store) fn tasks(&self) -> impl Iterator<Item = &Entry<B>> {
        self.content.entries.after(0).map(|(_, entry)| entry)
    }

    /// Tells of a staged batch, if it still is.
    pub(in crate::store) fn staged(&self, txn: TxnId) -> Option<&Staged> {
        self.staged.get(&txn)
    }

    /// Tells of all but the tasks and the staged batches.
    pub(in crate::store) fn rest(&self) -> Vec<Fact<'_, B>> {
        let mut facts = vec![Fact::LastSequence(self.content.last_sequence)];
        let marks = self.content.marks.iter();
        facts.extend(marks.map(|(key, value)| Fact::Mark(key.clone(), Some(value.clone()))));
        let resting = self.content.resting.iter();
        facts.extend(resting.map(|(key, rest)| Fact::Rest(key.clone(), Some(*rest))));
        let ended = self.ended.order.iter();
        let ended = ended.filter_map(|txn| Some(Fact::Ended(*txn, *self.ended.ends.get(txn)?)));
        facts.extend(ended);
        let rows = self.outcomes.rows.iter();
        facts.extend(rows.map(|(txn, row)| Fact::Outcome(*txn, Some(row.clone()))));
        let incarnations = self.outcomes.incarnations.iter();
        facts.extend(incarnations.map(|(id, row)| Fact::Incarnation(*id, Some(row.clone()))));
        facts
    }

    /// Takes up facts that belong together, and keeps all that was done before. Nothing of it is noted.
    ///
    /// Tasks are taken out of the index before any is put in again, so that it does not matter which of
    /// them a key or a group went to first.
    pub(in crate::store) fn take_up(&mut self, facts: Vec<Fact<'_, B>>) {
        let mut tasks = Vec::new();
        for fact in facts {
            match fact {
                Fact::Task(sequence, entry) => {
                    self.content.take(sequence);
                    self.content.last_sequence = self.content.last_sequence.max(sequence);
                    tasks.push((sequence, entry.into_owned()));
                }
                Fact::Moved(sequence, moved) => {
                    if let Some(mut entry) = self.content.take(sequence) {
                        moved.apply_to(&mut entry);
                        tasks.push((sequence, entry));
                    }
                }
                Fact::Gone(sequence) => drop(self.content.take(sequence)),
                Fact::Alias(alias, sequence) => {
                    let holder = tasks.iter_mut().find(|(task, _)| *task == sequence);
                    match holder {
                        Some((_, entry)) => entry.add_alias(alias),
                        None => self.content.merge_unnoted(alias, sequence),
                    }
                }
                rest => self.take_up_rest(rest),
            }
        }
        for (sequence, entry) in tasks {
            self.content.put(sequence, entry);
        }
        self.settle();
    }

    fn take_up_rest(&mut self, fact: Fact<'_, B>) {
        match fact {
            Fact::Mark(key, value) => drop(self.content.set(key, value)),
            Fact::Rest(key, rest) => drop(self.content.resting.set(&key, rest)),
            Fact::Staged(txn, staged) => {
                self.unstage(txn);
                self.content.reserved.add(&staged.batch);
                self.staged.insert(txn, staged.into_owned());
            }
            Fact::Unstaged(txn) => self.unstage(txn),
            Fact::Ended(txn, end) => self.ended.insert(txn, end),
            Fact::Outcome(txn, Some(row)) => self.outcomes.rows.insert(txn, row),
            Fact::Outcome(txn, None) => self.outcomes.rows.remove(&txn),
            Fact::Incarnation(id, Some(row)) => self.outcomes.incarnations.insert(id, row),
            Fact::Incarnation(id, None) => self.outcomes.incarnations.remove(&id),
            Fact::LastSequence(sequence) => {
                self.content.last_sequence = self.content.last_sequence.max(sequence);
            }
            Fact::Task(..) | Fact::Moved(..) | Fact::Gone(_) | Fact::Alias(..) => {}
        }
    }

    fn unstage(&mut self, txn: TxnId) {
        if let Some(staged) = self.staged.get(&txn) {
            self.content.reserved.remove(&staged.batch);
            self.staged.remove(&txn);
        }
    }
}
