//! Where tasks are found. The index is a pure function of the entries: each entry adds to it by its own
//! state alone and is removed in the same way, so that it can be rebuilt and compared.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Entry;
use crate::id::Incarnation;
use crate::store::{lifecycle, rank};
use crate::task::{Record, State};
use crate::time::Timestamp;

/// The store's sequence number of a task: the order of publishing.
pub(super) type Sequence = u64;

/// A place in a line: the rank, then the sequence.
pub(super) type Place = (i64, Sequence);

#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    /// By queue.
    pub(super) lines: BTreeMap<String, Line>,
    /// Scheduled tasks by their time.
    pub(super) due: BTreeSet<(Timestamp, Sequence)>,
    /// Claimed tasks by their holder.
    pub(super) held: BTreeMap<Incarnation, BTreeSet<Sequence>>,
    /// The Ready or Claimed task of each group.
    pub(super) group_holders: BTreeMap<String, Sequence>,
    /// The tasks that nothing but their busy group holds back.
    pub(super) group_waiters: BTreeMap<String, BTreeSet<Place>>,
    /// Who holds a unique key.
    pub(super) keys: BTreeMap<String, Sequence>,
    /// The tasks about an object.
    pub(super) about: BTreeMap<String, BTreeSet<Sequence>>,
    /// Done tasks by the time at which they leave.
    pub(super) leaving: BTreeSet<(Timestamp, Sequence)>,
}

/// One queue.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) counts: BTreeMap<State, u64>,
    /// Ready tasks by priority, because the first of each priority is the one that waits longest.
    ready: BTreeMap<u8, BTreeSet<Place>>,
}

impl Line {
    /// Returns the task that is next in the line.
    pub(super) fn first(&self) -> Option<Sequence> {
        self.heads().min().map(|(_, sequence)| sequence)
    }

    /// Returns the first place of each priority.
    pub(super) fn heads(&self) -> impl Iterator<Item = Place> {
        self.ready.values().filter_map(BTreeSet::first).copied()
    }
}

/// Whether an entry comes or goes.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    In,
    Out,
}

impl Index {
    /// Whether another task than this one holds the group of its record.
    pub(super) fn is_busy_for(&self, sequence: Sequence, record: &Record) -> bool {
        let group = record.options.group.as_ref();
        let holder = group.and_then(|group| self.group_holders.get(group));
        holder.is_some_and(|holder| *holder != sequence)
    }

    pub(super) fn is_busy(&self, record: &Record) -> bool {
        let group = record.options.group.as_ref();
        group.is_some_and(|group| self.group_holders.contains_key(group))
    }

    /// Returns a scheduled task whose time came.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<(Timestamp, Sequence)> {
        self.due.first().copied().filter(|(at, _)| *at <= now)
    }

    pub(super) fn add(&mut self, sequence: Sequence, entry: &Entry) {
        self.turn(Way::In, sequence, entry);
    }

    pub(super) fn remove(&mut self, sequence: Sequence, entry: &Entry) {
        self.turn(Way::Out, sequence, entry);
    }

    fn turn(&mut self, way: Way, sequence: Sequence, entry: &Entry) {
        let options = &entry.record.options;
        for object in &options.about {
            turn_in(&mut self.about, object, sequence, way);
        }
        if let Some(key) = entry.held_key() {
            turn(&mut self.keys, key, sequence, way);
        }
        if let (Some(group), State::Ready | State::Claimed) = (&options.group, entry.record.state) {
            turn(&mut self.group_holders, group, sequence, way);
        }
        self.turn_line(way, sequence, entry);
        if !entry.pinned {
            self.turn_movable(way, sequence, entry);
        }
    }

    /// Counts every task of a queue; puts into the line those that may be claimed.
    fn turn_line(&mut self, way: Way, sequence: Sequence, entry: &Entry) {
        let record = &entry.record;
        if !self.lines.contains_key(&record.queue) {
            self.lines.insert(record.queue.clone(), Line::default());
        }
        let Some(line) = self.lines.get_mut(&record.queue) else {
            return;
        };
        if record.state == State::Ready && !entry.pinned {
            let priority = record.options.priority;
            turn_in(&mut line.ready, &priority, (place(record), sequence), way);
        }
        let count = line.counts.entry(record.state).or_default();
        match way {
            Way::In => *count += 1,
            Way::Out if *count > 1 => *count -= 1,
            Way::Out => {
                line.counts.remove(&record.state);
            }
        }
        if line.counts.is_empty() {
            self.lines.remove(&record.queue);
        }
    }

    /// Lists what time, a group or a death may move; a pinned task is moved by nothing.
    fn turn_movable(&mut self, way: Way, sequence: Sequence, entry: &Entry) {
        let record = &entry.record;
        match (record.state, &record.options.group, &entry.claim) {
            (State::Scheduled, ..) => {
                let at = record.not_before.unwrap_or_default();
                turn_set(&mut self.due, (at, sequence), way);
            }
            (State::Waiting, Some(group), _) if entry.unmet.is_empty() => {
                let place = (place(record), sequence);
                turn_in(&mut self.group_waiters, group, place, way);
            }
            (State::Claimed, _, Some(claim)) => {
                turn_in(&mut self.held, &claim.token.incarnation, sequence, way);
            }
            _ => {
                if let Some(at) = lifecycle::kept_until(record) {
                    turn_set(&mut self.leaving, (at, sequence), way);
                }
            }
        }
    }
}

/// The rank of a visible task.
fn place(record: &Record) -> i64 {
    rank(record, record.published_at.unwrap_or_default())
}

fn turn<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: V, way: Way) {
    match way {
        Way::In => map.insert(key.clone(), value),
        Way::Out => map.remove(key),
    };
}

fn turn_set<V: Ord>(set: &mut BTreeSet<V>, value: V, way: Way) {
    match way {
        Way::In => set.insert(value),
        Way::Out => set.remove(&value),
    };
}

/// Turns `value` in or out of the set at `key`; a set that became empty goes.
fn turn_in<K, V>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: V, way: Way)
where
    K: Ord + Clone,
    V: Ord,
{
    if let Some(set) = map.get_mut(key) {
        turn_set(set, value, way);
        if set.is_empty() {
            map.remove(key);
        }
    } else if way == Way::In {
        map.insert(key.clone(), BTreeSet::from([value]));
    }
}
