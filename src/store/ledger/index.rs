//! Where tasks are found. The index is a pure function of the entries: each entry adds to it by its own
//! state alone and is removed in the same way, so that it can be rebuilt and compared.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::row::Row;
use crate::id::Incarnation;
use crate::task::{Name, Options, State, StateSet};
use crate::time::Timestamp;

/// The store's sequence number of a task: the order of publishing.
pub(in crate::store) type Sequence = u64;

/// A place in a line: the rank, then the sequence.
pub(super) type Place = (i64, Sequence);

#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    /// By queue.
    pub(super) lines: BTreeMap<Name, Line>,
    /// The Ready or Claimed task of each group.
    pub(super) group_holders: BTreeMap<String, Sequence>,
    /// The tasks that nothing but their busy group holds back, and that may be moved.
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
    counts: [u64; State::ALL.len()],
    /// Ready tasks by priority, because the first of each priority is the one that waits longest.
    ready: BTreeMap<u8, Row<Place>>,
    /// Scheduled tasks by their time.
    pub(super) due: BTreeSet<(Timestamp, Sequence)>,
    /// Claimed tasks by their holder.
    pub(super) held: BTreeMap<Incarnation, Row<Place>>,
}

impl Line {
    /// Returns the task that is next in the line: Ready, or held by somebody who `is_departed`.
    pub(super) fn first(&self, is_departed: impl Fn(&Incarnation) -> bool) -> Option<Sequence> {
        let departed = self.held.iter().filter(|(holder, _)| is_departed(holder));
        let held = departed.filter_map(|(_, held)| held.first()).copied();
        let first = self.heads().chain(held).min();
        first.map(|(_, sequence)| sequence)
    }

    /// Returns the first Ready place of each priority.
    pub(super) fn heads(&self) -> impl Iterator<Item = Place> {
        self.ready.values().filter_map(Row::first).copied()
    }

    /// Returns how many tasks are in which state, in the order of [`State::ALL`].
    pub(super) fn counts(&self) -> impl Iterator<Item = (State, u64)> {
        let counts = State::ALL.into_iter().zip(self.counts);
        counts.filter(|(_, count)| *count > 0)
    }

    /// Returns how many tasks have not started.
    pub(super) fn pending_count(&self) -> u64 {
        let pending = self
            .counts()
            .filter(|(state, _)| StateSet::PENDING.contains(*state));
        pending.map(|(_, count)| count).sum()
    }

    fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Returns a scheduled task whose time came.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<Sequence> {
        let first = self.due.first().filter(|(at, _)| *at <= now);
        first.map(|(_, sequence)| *sequence)
    }
}

/// Whether an entry comes or goes.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    In,
    Out,
}

impl Index {
    /// Whether another task than this one holds its group.
    pub(super) fn is_busy_for(&self, sequence: Sequence, options: &Options) -> bool {
        let group = options.group.as_ref();
        let holder = group.and_then(|group| self.group_holders.get(group));
        holder.is_some_and(|holder| *holder != sequence)
    }

    pub(super) fn is_busy(&self, options: &Options) -> bool {
        let group = options.group.as_ref();
        group.is_some_and(|group| self.group_holders.contains_key(group))
    }

    pub(super) fn add<B>(&mut self, sequence: Sequence, entry: &Entry<B>) {
        self.turn(Way::In, sequence, entry);
    }

    pub(super) fn remove<B>(&mut self, sequence: Sequence, entry: &Entry<B>) {
        self.turn(Way::Out, sequence, entry);
    }

    fn turn<B>(&mut self, way: Way, sequence: Sequence, entry: &Entry<B>) {
        let options = &entry.options;
        for object in &options.about {
            turn_in(&mut self.about, object, sequence, way);
        }
        if let Some(key) = entry.held_key() {
            turn(&mut self.keys, key, sequence, way);
        }
        if let (Some(group), State::Ready | State::Claimed) = (&options.group, entry.state()) {
            turn(&mut self.group_holders, group, sequence, way);
        }
        let at = (entry.rank(), sequence);
        if let (Some(group), true) = (&options.group, entry.waits_for_group()) {
            turn_in(&mut self.group_waiters, group, at, way);
        }
        if let Some(kept_until) = entry.life.kept_until(options) {
            turn_set(&mut self.leaving, (kept_until, sequence), way);
        }
        self.turn_line(way, at, entry);
    }

    fn turn_line<B>(&mut self, way: Way, at: Place, entry: &Entry<B>) {
        let queue = &entry.queue;
        if let Some(line) = self.lines.get_mut(queue) {
            line.turn(way, at, entry);
            if line.is_empty() {
                self.lines.remove(queue);
            }
        } else {
            let mut line = Line::default();
            line.turn(way, at, entry);
            self.lines.insert(queue.clone(), line);
        }
    }
}

impl Line {
    /// Counts every task, and lists those that a claim may move; it may move none that is pinned.
    fn turn<B>(&mut self, way: Way, at: Place, entry: &Entry<B>) {
        let state = entry.state();
        if let Some(count) = self.counts.get_mut(state as usize) {
            match way {
                Way::In => *count += 1,
                Way::Out => *count -= 1,
            }
        }
        match (state, &entry.claim) {
            _ if entry.pinned => {}
            (State::Ready, _) => turn_in(&mut self.ready, &entry.options.priority, at, way),
            (State::Claimed, Some(claim)) => {
                turn_in(&mut self.held, &claim.consumer.incarnation, at, way);
            }
            (State::Scheduled, _) => {
                let due_at = entry.life.not_before.unwrap_or_default();
                turn_set(&mut self.due, (due_at, at.1), way);
            }
            _ => {}
        }
    }
}

fn turn<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: V, way: Way) {
    match way {
        Way::In => map.insert(key.clone(), value),
        Way::Out => map.remove(key),
    };
}

/// A sorted set, of either sort.
trait Sorted<V>: Default {
    fn insert(&mut self, value: V);
    fn remove(&mut self, value: &V);
    fn is_empty(&self) -> bool;
}

impl<V: Ord> Sorted<V> for BTreeSet<V> {
    fn insert(&mut self, value: V) {
        self.insert(value);
    }

    fn remove(&mut self, value: &V) {
        self.remove(value);
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<V: Ord + Copy> Sorted<V> for Row<V> {
    fn insert(&mut self, value: V) {
        self.insert(value);
    }

    fn remove(&mut self, value: &V) {
        self.remove(value);
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

fn turn_set<V>(set: &mut impl Sorted<V>, value: V, way: Way) {
    match way {
        Way::In => set.insert(value),
        Way::Out => set.remove(&value),
    }
}

/// Turns `value` in or out of the set at `key`; a set that became empty goes.
fn turn_in<K, V, S>(map: &mut BTreeMap<K, S>, key: &K, value: V, way: Way)
where
    K: Ord + Clone,
    S: Sorted<V>,
{
    if let Some(set) = map.get_mut(key) {
        turn_set(set, value, way);
        if set.is_empty() {
            map.remove(key);
        }
    } else if way == Way::In {
        let mut set = S::default();
        set.insert(value);
        map.insert(key.clone(), set);
    }
}
