//! Looking at the store.

use std::ops::Bound;

use super::content::{Content, Entry, Reserved};
use super::index::{Index, Line, Sequence};
use super::{MemoryStore, State, refused};
use crate::id::{StoreId, TaskId};
use crate::store::{
    Capabilities, Cursor, Filter, Inspect, Kind, Listed, Page, QueueStats, Result, Stats,
};
use crate::task::Name;
use crate::time::{Clock, Timestamp};

/// How many tasks a listing looks at before it lets others have the lock.
const LOOKS_MAX: usize = 1_000;

impl Entry {
    fn listed(&self) -> Listed {
        Listed {
            record: (*self.record).clone(),
            holder: self.claim.as_ref().map(|claim| (*claim.consumer).clone()),
            claimed_at: self.claim.as_ref().map(|claim| claim.claimed_at),
        }
    }

    fn matches(&self, filter: &Filter) -> bool {
        let record = &self.record;
        let is = |wanted: &Option<String>, found: &Name| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        is(&filter.queue, &record.queue)
            && is(&filter.kind, &record.kind)
            && filter
                .states
                .is_none_or(|states| states.contains(record.state))
            && filter
                .about
                .iter()
                .all(|about| record.options.about.contains(about))
            && filter
                .enqueued_before
                .is_none_or(|before| record.enqueued_at < before)
    }
}

/// A part of a page, and the last task looked at if there may be more.
type Glance = (Vec<(Sequence, Listed)>, Option<Sequence>);

impl Content {
    /// Looks at some tasks after `after` and returns those that match.
    fn glance(&self, filter: &Filter, after: Sequence, limit: usize) -> Glance {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let about = filter.about.as_ref();
        let seen: Vec<_> = match about.map(|about| self.index.about.get(about)) {
            None => self.entries.range(range).take(LOOKS_MAX).collect(),
            Some(about) => {
                let sequences = about.into_iter().flat_map(|set| set.range(range));
                let entry = |sequence| Some((sequence, self.entries.get(sequence)?));
                sequences.take(LOOKS_MAX).filter_map(entry).collect()
            }
        };
        let is_last = seen.len() < LOOKS_MAX;
        let next = seen.last().map(|(sequence, _)| **sequence);
        let matching = seen.iter().filter(|(_, entry)| entry.matches(filter));
        let listed = matching.map(|(sequence, entry)| (**sequence, entry.listed()));
        (listed.take(limit).collect(), next.filter(|_| !is_last))
    }

    fn queue_stats(&self, queue: &str, line: &Line) -> QueueStats {
        let heads = line.heads().filter_map(|(_, head)| self.entries.get(&head));
        let published = heads.filter_map(|entry| entry.record.published_at);
        QueueStats {
            queue: queue.to_owned(),
            counts: line
                .counts
                .iter()
                .map(|(state, count)| (*state, *count))
                .collect(),
            oldest_ready_at: published.min(),
        }
    }

    fn rebuilt_index(&self) -> Index {
        let mut index = Index::default();
        for (sequence, entry) in &self.entries {
            index.add(*sequence, entry);
        }
        index
    }
}

impl State {
    fn reserved_by_staged(&self) -> Reserved {
        let mut reserved = Reserved::default();
        for staged in self.staged.values() {
            reserved.add(&staged.batch);
        }
        reserved
    }

    fn faults(&self) -> Vec<String> {
        let content = &self.content;
        let entries = &content.entries;
        let is_known = |(id, sequence): (&TaskId, &Sequence)| {
            entries
                .get(sequence)
                .is_some_and(|entry| entry.record.id == *id)
        };
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
                content.ids.len() != entries.len() || !content.ids.iter().all(is_known),
                "an id leads astray",
            ),
            (
                content
                    .aliases
                    .values()
                    .any(|sequence| !entries.contains_key(sequence)),
                "an alias leads nowhere",
            ),
        ];
        let present = faults.into_iter().filter(|(is_present, _)| *is_present);
        present.map(|(_, text)| text.to_owned()).collect()
    }
}

impl Inspect for MemoryStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn get(&self, task: TaskId) -> Result<Option<Listed>> {
        let state = self.shared.state.lock();
        Ok(state.content.find(task).map(|(_, entry)| entry.listed()))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let mut after = cursor.map_or(Ok(0), read_cursor)?;
        let mut found = Vec::new();
        loop {
            // One more than asked for tells whether there is a next page.
            let wanted = limit.saturating_add(1) - found.len();
            let state = self.shared.state.lock();
            let (mut some, next) = state.content.glance(filter, after, wanted);
            drop(state);
            found.append(&mut some);
            match next {
                Some(next) if found.len() <= limit => after = next,
                _ => break,
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found
            .last()
            .map(|(sequence, _)| Cursor(sequence.to_string()));
        Ok(Page {
            tasks: found.into_iter().map(|(_, listed)| listed).collect(),
            next: last.filter(|_| has_more),
        })
    }

    fn stats(&self) -> Result<Stats> {
        let state = self.shared.state.lock();
        let content = &state.content;
        let lines = content.index.lines.iter();
        let since = state.staged.values().map(|staged| staged.since).min();
        Ok(Stats {
            queues: lines
                .map(|(queue, line)| content.queue_stats(queue, line))
                .collect(),
            in_doubt: u64::try_from(state.staged.len()).unwrap_or(u64::MAX),
            in_doubt_since: since,
        })
    }

    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.shared.state.lock().content.marks.get(key).cloned())
    }

    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let state = self.shared.state.lock();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let marks = state.content.marks.range::<str, _>(from);
        let marks = marks.take_while(|(key, _)| key.starts_with(prefix));
        Ok(marks
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn check(&self) -> Result<Vec<String>> {
        Ok(self.shared.state.lock().faults())
    }
}

fn read_cursor(cursor: &Cursor) -> Result<Sequence> {
    let text = format!("`{}` is not a cursor of this store", cursor.0);
    let invalid = |error| refused("list tasks")(Kind::Invalid(text)).with_source(error);
    cursor.0.parse().map_err(invalid)
}
