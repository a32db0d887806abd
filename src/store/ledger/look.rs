//! Looking at the ledger.

use std::ops::Bound;

use super::Ledger;
use super::content::Content;
use super::entry::Entry;
use super::index::{Index, Line, Sequence};
use super::reserved::Reserved;
use crate::id::{Incarnation, TaskId};
use crate::store::{Filter, QueueStats, Stats};
use crate::time::Timestamp;

/// How many tasks a listing looks at before it lets others have the lock.
const LOOKS_MAX: usize = 1_000;

/// A part of a listing.
#[derive(Debug)]
pub(in crate::store) struct Glance<'a, B> {
    /// The tasks that match, in order.
    pub(in crate::store) found: Vec<(Sequence, &'a Entry<B>)>,
    /// The last task looked at, if there may be more.
    pub(in crate::store) next: Option<Sequence>,
}

impl<B: Clone> Ledger<B> {
    /// Finds a visible task by its id, or by that of a task that merged into it.
    pub(in crate::store) fn find(&self, task: TaskId) -> Option<&Entry<B>> {
        self.content.find(task).map(|(_, entry)| entry)
    }

    /// Looks at some tasks after `after`, and returns the first `limit` that match and whose body does.
    pub(in crate::store) fn glance(
        &self,
        filter: &Filter,
        (after, limit): (Sequence, usize),
        body_matches: impl Fn(&B) -> bool,
    ) -> Glance<'_, B> {
        let content = &self.content;
        let about = filter.about.as_ref();
        let mut found: Vec<_> = match about.map(|about| content.index.about.get(about)) {
            None => content.entries.after(after).take(LOOKS_MAX).collect(),
            Some(about) => {
                let sequences = about
                    .into_iter()
                    .flat_map(|set| set.range((Bound::Excluded(after), Bound::Unbounded)));
                let entry =
                    |sequence: &Sequence| Some((*sequence, content.entries.get(*sequence)?));
                sequences.take(LOOKS_MAX).filter_map(entry).collect()
            }
        };
        let last = found.last().filter(|_| found.len() == LOOKS_MAX);
        let next = last.map(|(sequence, _)| *sequence);
        found.retain(|(_, entry)| entry.matches(filter) && body_matches(&entry.body));
        found.truncate(limit);
        Glance { found, next }
    }

    /// Whether there is a task to claim in a queue.
    pub(in crate::store) fn is_ready(
        &self,
        queue: &str,
        is_departed: impl Fn(&Incarnation) -> bool,
        now: Timestamp,
    ) -> bool {
        let line = self.content.index.lines.get(queue);
        line.is_some_and(|line| line.first_due(now).is_some() || line.first(is_departed).is_some())
    }

    /// Whether a task has ended, or is not known of.
    pub(in crate::store) fn is_settled(&self, task: TaskId) -> bool {
        match self.content.find(task) {
            Some((_, entry)) => entry.state().is_ended(),
            None => !self.content.reserved.ids.contains(&task),
        }
    }

    /// When the next of the scheduled tasks is due.
    pub(in crate::store) fn next_due(&self) -> Option<Timestamp> {
        let lines = self.content.index.lines.values();
        let due = lines.filter_map(|line| line.due.first());
        due.map(|(at, _)| *at).min()
    }

    pub(in crate::store) fn stats(&self) -> Stats {
        let lines = self.content.index.lines.iter();
        let queues = lines.map(|(queue, line)| self.content.queue_stats(queue, line));
        Stats {
            queues: queues.collect(),
            in_doubt: u64::try_from(self.staged.len()).unwrap_or(u64::MAX),
            in_doubt_since: self.staged.values().map(|staged| staged.since).min(),
        }
    }

    pub(in crate::store) fn mark(&self, key: &str) -> Option<&Vec<u8>> {
        self.content.marks.get(key)
    }

    /// Returns the marks whose key starts with `prefix`, in the order of their keys.
    pub(in crate::store) fn marks(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let marks = self.content.marks.range::<str, _>(from);
        marks.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Returns what is wrong with the ledger, a line each.
    pub(in crate::store) fn faults(&self) -> Vec<String> {
        let content = &self.content;
        let entries = &content.entries;
        let is_known = |(id, sequence): (&TaskId, &Sequence)| {
            let entry = entries.get(*sequence);
            entry.is_some_and(|entry| entry.id() == *id)
        };
        let mut aliases = content.aliases.values();
        let faults = [
            (
                content.index != content.rebuilt_index(),
                "the index differs from the tasks",
            ),
            (
                content.reserved != self.reserved_by_staged(),
                "reservations differ from what is staged",
            ),
            (
                !content.resting.is_sound(),
                "keys that rest differ from the ends of their rests",
            ),
            (
                content.ids.len() != entries.len() || !content.ids.iter().all(is_known),
                "an id leads astray",
            ),
            (
                aliases.any(|sequence| !entries.contains_key(*sequence)),
                "an alias leads nowhere",
            ),
            (
                content.has_overfull_group(),
                "more tasks of a group may run than it has places",
            ),
        ];
        let present = faults.into_iter().filter(|(is_present, _)| *is_present);
        present.map(|(_, text)| text.to_owned()).collect()
    }

    fn reserved_by_staged(&self) -> Reserved {
        let mut reserved = Reserved::default();
        for staged in self.staged.values() {
            reserved.add(&staged.batch);
        }
        reserved
    }
}

impl<B> Content<B> {
    fn queue_stats(&self, queue: &str, line: &Line) -> QueueStats {
        let heads = line.heads().filter_map(|(_, head)| self.entries.get(head));
        let published = heads.filter_map(|entry| entry.life.published_at);
        QueueStats {
            queue: queue.to_owned(),
            counts: line.counts().collect(),
            oldest_ready_at: published.min(),
        }
    }

    fn has_overfull_group(&self) -> bool {
        self.index.groups.values().any(|group| {
            let holders = group.holders.iter();
            let entries = holders.filter_map(|(_, sequence)| self.entries.get(*sequence));
            let places = entries.map(|entry| entry.options.places() as usize).max();
            group.holders.len() > places.unwrap_or(0)
        })
    }

    fn rebuilt_index(&self) -> Index {
        let mut index = self.index.emptied();
        for (sequence, entry) in self.entries.after(0) {
            index.add(sequence, entry);
        }
        index
    }
}
