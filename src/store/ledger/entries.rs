//! Entries in the order of their sequences, found without a search as long as tasks leave in about the
//! order in which they came.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::entry::Entry;
use super::index::Sequence;

/// The slot of a sequence whose entry is gone.
const GONE: u32 = u32::MAX;

/// How many gaps are left among few entries before they are closed.
const GAPS_MIN: usize = 64;

/// How many slots an empty store keeps.
const SLOTS_KEPT: usize = 1_024;

#[derive(Debug)]
pub(super) struct Entries<B> {
    slots: Vec<Option<Entry<B>>>,
    vacant: Vec<u32>,
    /// Sequences and their slots, in order; the first and the last are there.
    order: VecDeque<(Sequence, u32)>,
    /// Those that came out of order: what a journal says again, it says late.
    late: BTreeMap<Sequence, u32>,
    len: usize,
}

impl<B> Default for Entries<B> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            order: VecDeque::new(),
            late: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<B> Entries<B> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<&Entry<B>> {
        let slot = self.slot(sequence)?;
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, sequence: Sequence) -> Option<&mut Entry<B>> {
        let slot = self.slot(sequence)?;
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn contains_key(&self, sequence: Sequence) -> bool {
        self.get(sequence).is_some()
    }

    /// Puts an entry that is not there.
    pub(super) fn insert(&mut self, sequence: Sequence, entry: Entry<B>) {
        let slot = self.fill(entry);
        self.len += 1;
        if self.order.back().is_none_or(|(last, _)| *last < sequence) {
            self.order.push_back((sequence, slot));
            return;
        }
        match self.position(sequence) {
            Ok(position) => {
                if let Some((_, gone)) = self.order.get_mut(position) {
                    *gone = slot;
                }
            }
            Err(_) => drop(self.late.insert(sequence, slot)),
        }
    }

    fn fill(&mut self, entry: Entry<B>) -> u32 {
        if let Some(slot) = self.vacant.pop()
            && let Some(vacant) = self.slots.get_mut(slot as usize)
        {
            *vacant = Some(entry);
            return slot;
        }
        self.slots.push(Some(entry));
        // Four thousand million tasks do not fit into a memory.
        u32::try_from(self.slots.len() - 1).unwrap_or(GONE)
    }

    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Entry<B>> {
        let vacant = match self.position(sequence) {
            Ok(position) => {
                let (_, slot) = self.order.get_mut(position)?;
                std::mem::replace(slot, GONE)
            }
            Err(_) => self.late.remove(&sequence)?,
        };
        let entry = self.slots.get_mut(vacant as usize)?.take()?;
        self.vacant.push(vacant);
        self.len -= 1;
        self.close_gaps();
        Some(entry)
    }

    /// Entries after a sequence, in order.
    pub(super) fn after(&self, sequence: Sequence) -> impl Iterator<Item = (Sequence, &Entry<B>)> {
        let start = match self.position(sequence) {
            Ok(position) => position + 1,
            Err(position) => position,
        };
        let mut order = self.order.range(start..).copied().peekable();
        let late = self
            .late
            .range((Bound::Excluded(sequence), Bound::Unbounded));
        let mut late = late.map(|(key, slot)| (*key, *slot)).peekable();
        let next = move || match (order.peek(), late.peek()) {
            (Some((first, _)), Some((other, _))) if other < first => late.next(),
            (None, _) => late.next(),
            _ => order.next(),
        };
        std::iter::from_fn(next).filter_map(|(sequence, slot)| {
            let entry = self.slots.get(slot as usize)?.as_ref()?;
            Some((sequence, entry))
        })
    }

    fn slot(&self, sequence: Sequence) -> Option<u32> {
        match self.position(sequence) {
            Ok(position) => self.order.get(position).map(|(_, slot)| *slot),
            Err(_) => self.late.get(&sequence).copied(),
        }
    }

    /// Where a sequence is, or would be. Sequences count up by one and gaps are closed, so that it is at
    /// its distance from the first, or before that.
    fn position(&self, sequence: Sequence) -> Result<usize, usize> {
        let first = self.order.front().ok_or(0_usize)?.0;
        let distance = sequence.checked_sub(first).ok_or(0_usize)?;
        let distance = usize::try_from(distance).unwrap_or(usize::MAX);
        match self.order.get(distance) {
            Some((found, _)) if *found == sequence => Ok(distance),
            _ => self.order.binary_search_by_key(&sequence, |(key, _)| *key),
        }
    }

    fn close_gaps(&mut self) {
        while let Some((_, GONE)) = self.order.front() {
            self.order.pop_front();
        }
        while let Some((_, GONE)) = self.order.back() {
            self.order.pop_back();
        }
        let there = self.len - self.late.len();
        if self.order.len() - there > GAPS_MIN.max(there) {
            self.order.retain(|(_, slot)| *slot != GONE);
        }
        if self.len == 0 && self.slots.len() > SLOTS_KEPT {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::TaskId;
    use crate::store::ledger::Keeper;
    use crate::task::{Account, Format, Payload, Record};
    use crate::time::Timestamp;

    struct Nothing;

    impl Keeper<()> for Nothing {
        fn keep(&mut self, _: &Record) {}
        fn account(&mut self, (): &mut (), _: &Account) {}
        fn progress(&mut self, (): &mut (), _: Option<&str>) {}
    }

    fn entry(number: u64) -> Entry<()> {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let id = TaskId::from_bytes(u128::from(number).to_be_bytes());
        let record = Record::new(id, "default", "kind", payload, Timestamp::EPOCH);
        Entry::publish(&record, false, Timestamp::EPOCH, &mut Nothing).unwrap()
    }

    proptest! {
        #[test]
        fn entries_are_those_of_a_map(steps in prop::collection::vec((any::<bool>(), 0..300_u64), 0..600)) {
            let (mut entries, mut map) = (Entries::default(), BTreeMap::new());
            for (is_insert, sequence) in steps {
                let next = map.last_key_value().map_or(0, |(last, _)| last + 1);
                let is_new = !map.contains_key(&sequence) && sequence % 2 == 0;
                let sequence = if is_insert && !is_new { next } else { sequence };
                if is_insert {
                    entries.insert(sequence, entry(sequence));
                    map.insert(sequence, entry(sequence).id());
                } else if let Some(removed) = map.remove(&sequence) {
                    prop_assert_eq!(entries.remove(sequence).unwrap().id(), removed);
                } else {
                    prop_assert!(entries.remove(sequence).is_none());
                }
                prop_assert_eq!(entries.len(), map.len());
            }
            let found: Vec<_> = entries.after(0).map(|(key, entry)| (key, entry.id())).collect();
            let expected: Vec<_> = map.range(1..).map(|(key, id)| (*key, *id)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
