//! Where tasks are found. The index is a pure function of the entries: each entry adds to it by its own
//! state alone and is removed in the same way, so that it can be rebuilt and compared.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::groups::{Groups, Role};
use super::kept::{Kept, Set};
use super::keys::Keys;
use super::ranks::Ranks;
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
    pub(super) lines: Kept<Name, Line>,
    pub(super) groups: Groups,
    /// Who holds a unique key.
    pub(super) keys: Keys,
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
    ready: Ranks,
    /// Scheduled tasks by their time.
    pub(super) due: BTreeSet<(Timestamp, Sequence)>,
    /// Claimed tasks by their holder.
    pub(super) held: Kept<Incarnation, Row<Place>>,
}

impl Line {
    /// Returns the task that is next in the line: Ready, or held by somebody who `is_departed`.
    pub(super) fn first(&self, is_departed: impl Fn(&Incarnation) -> bool) -> Option<Sequence> {
        let departed = self.held.iter().filter(|(holder, _)| is_departed(holder));
        let held = departed.filter_map(|(_, held)| held.first()).copied();
        let first = self.ready.first().into_iter().chain(held).min();
        first.map(|(_, sequence)| sequence)
    }

    /// Returns the first Ready place of each priority.
    pub(super) fn heads(&self) -> impl Iterator<Item = Place> {
        self.ready.heads()
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

    /// Returns a scheduled task whose time came.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<Sequence> {
        let first = self.due.first().filter(|(at, _)| *at <= now);
        first.map(|(_, sequence)| *sequence)
    }
}

/// Whether an entry comes or goes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    In,
    Out,
}

/// Where an entry is found, apart from what never changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spots {
    at: Place,
    holds_key: bool,
    role: Option<Role>,
    /// One that is pinned does not leave: a staged batch was judged by it.
    kept_until: Option<Timestamp>,
    line: Spot,
}

/// Where an entry is in the line of its queue.
#[derive(Debug, Clone, PartialEq)]
struct Spot {
    queue: Name,
    state: State,
    /// One that is pinned is listed nowhere.
    listed: Option<Listed>,
}

/// The list that a claim may find an entry in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Listed {
    Ready(u8, Place),
    Held(Incarnation, Place),
    Due(Timestamp, Sequence),
}

impl Spots {
    /// Says where the index has an entry: by its own state alone.
    pub(super) fn of<B>(sequence: Sequence, entry: &Entry<B>) -> Self {
        let (options, state, at) = (&entry.options, entry.state(), (entry.rank(), sequence));
        let listed = match (state, &entry.claim) {
            _ if entry.pinned => None,
            (State::Ready, _) => Some(Listed::Ready(options.priority, at)),
            (State::Claimed, Some(claim)) => Some(Listed::Held(claim.consumer.incarnation, at)),
            (State::Scheduled, _) => {
                Some(Listed::Due(entry.life.not_before.unwrap_or_default(), at.1))
            }
            _ => None,
        };
        let role = match state {
            _ if options.group.is_none() => None,
            State::Ready | State::Claimed => Some(Role::Holds),
            _ => entry.waits_for_nothing().then_some(Role::Waits),
        };
        Self {
            at,
            holds_key: entry.held_key().is_some(),
            role,
            kept_until: entry.life.kept_until(options).filter(|_| !entry.pinned),
            line: Spot {
                queue: entry.queue.clone(),
                state,
                listed,
            },
        }
    }
}

impl Index {
    /// Returns the same without tasks, to be compared with this.
    pub(super) fn emptied(&self) -> Self {
        Self {
            keys: self.keys.emptied(),
            ..Self::default()
        }
    }

    /// Whether a task that goes on now has to wait for its group; it may be there already, as `own`.
    pub(super) fn is_busy(&self, own: Option<Sequence>, options: &Options) -> bool {
        let group = options.group.as_ref();
        let group = group.and_then(|group| self.groups.get(group));
        group.is_some_and(|group| group.is_busy_for(own, options))
    }

    pub(super) fn add<B>(&mut self, sequence: Sequence, entry: &Entry<B>) {
        let spots = Spots::of(sequence, entry);
        self.turn_objects(Way::In, sequence, &entry.options);
        self.shift(&entry.options, None, Some(&spots));
    }

    pub(super) fn remove<B>(&mut self, sequence: Sequence, entry: &Entry<B>) {
        let spots = Spots::of(sequence, entry);
        self.turn_objects(Way::Out, sequence, &entry.options);
        self.shift(&entry.options, Some(&spots), None);
    }

    fn turn_objects(&mut self, way: Way, sequence: Sequence, options: &Options) {
        for object in &options.about {
            turn_in(&mut self.about, object, sequence, way);
        }
    }

    /// Takes an entry from where it was to where it is. What did not change is not touched.
    pub(super) fn shift(
        &mut self,
        options: &Options,
        before: Option<&Spots>,
        after: Option<&Spots>,
    ) {
        for (way, spots, other) in [(Way::Out, before, after), (Way::In, after, before)] {
            let Some(spots) = spots else { continue };
            let is_new =
                |of: fn(&Spots, &Spots) -> bool| other.is_none_or(|other| of(spots, other));
            if spots.holds_key
                && is_new(|spots, other| !other.holds_key || spots.at.1 != other.at.1)
            {
                self.turn_key(options, spots.at.1, way);
            }
            if let Some(kept_until) = spots.kept_until
                && is_new(|spots, other| spots.kept_until != other.kept_until)
            {
                turn_set(&mut self.leaving, (kept_until, spots.at.1), way);
            }
        }
        self.shift_group(options, before, after);
        self.shift_line(
            before.map(|spots| &spots.line),
            after.map(|spots| &spots.line),
        );
    }

    /// Takes an entry from its place in a line to another, most often in the same line.
    fn shift_line(&mut self, before: Option<&Spot>, after: Option<&Spot>) {
        match (before, after) {
            (Some(before), Some(after)) if before == after => {}
            (Some(before), Some(after)) if before.queue == after.queue => {
                self.lines.change(&after.queue, |line| {
                    line.turn(before, Way::Out);
                    line.turn(after, Way::In);
                });
            }
            _ => {
                for (spot, way) in [(before, Way::Out), (after, Way::In)] {
                    if let Some(spot) = spot {
                        self.lines.change(&spot.queue, |line| line.turn(spot, way));
                    }
                }
            }
        }
    }

    fn turn_key(&mut self, options: &Options, sequence: Sequence, way: Way) {
        match (&options.unique, way) {
            (Some(unique), Way::In) => self.keys.insert(&unique.key, sequence),
            (Some(unique), Way::Out) => self.keys.remove(&unique.key, sequence),
            (None, _) => {}
        }
    }

    /// Takes an entry from what it was to its group to what it is.
    fn shift_group(&mut self, options: &Options, before: Option<&Spots>, after: Option<&Spots>) {
        let part = |spots: Option<&Spots>| spots.and_then(|spots| Some((spots.role?, spots.at)));
        let (before, after) = (part(before), part(after));
        if let Some(name) = options.group.as_ref().filter(|_| before != after) {
            self.groups.change(name, |group| {
                for (part, way) in [(before, Way::Out), (after, Way::In)] {
                    if let Some((role, at)) = part {
                        group.turn(role, at, way);
                    }
                }
            });
        }
    }
}

impl Line {
    /// Counts every task, and lists those that a claim may move.
    fn turn(&mut self, spot: &Spot, way: Way) {
        if let Some(count) = self.counts.get_mut(spot.state as usize) {
            match way {
                Way::In => *count += 1,
                Way::Out => *count -= 1,
            }
        }
        match spot.listed {
            Some(Listed::Ready(priority, at)) => {
                self.ready.change(priority, |row| turn_set(row, at, way));
            }
            Some(Listed::Held(holder, at)) => {
                self.held.change(&holder, |row| turn_set(row, at, way));
            }
            Some(Listed::Due(due_at, sequence)) => {
                turn_set(&mut self.due, (due_at, sequence), way);
            }
            None => {}
        }
    }
}

/// A sorted set, of either sort.
pub(super) trait Sorted<V> {
    fn insert(&mut self, value: V);
    fn remove(&mut self, value: &V);
}

impl<V: Ord> Sorted<V> for BTreeSet<V> {
    fn insert(&mut self, value: V) {
        self.insert(value);
    }

    fn remove(&mut self, value: &V) {
        self.remove(value);
    }
}

impl<V: Ord + Copy> Sorted<V> for Row<V> {
    fn insert(&mut self, value: V) {
        self.insert(value);
    }

    fn remove(&mut self, value: &V) {
        self.remove(value);
    }
}

impl<V: Ord + Copy> Set for Row<V> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl Set for Line {
    fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

pub(super) fn turn_set<V>(set: &mut impl Sorted<V>, value: V, way: Way) {
    match way {
        Way::In => set.insert(value),
        Way::Out => set.remove(&value),
    }
}

/// Turns `value` in or out of the set at `key`; a set that became empty goes.
fn turn_in<V: Ord>(map: &mut BTreeMap<String, BTreeSet<V>>, key: &str, value: V, way: Way) {
    if let Some(set) = map.get_mut(key) {
        turn_set(set, value, way);
        if set.is_empty() {
            map.remove(key);
        }
    } else if way == Way::In {
        map.insert(key.to_owned(), BTreeSet::from([value]));
    }
}
