//! Sorted rows whose members come at the end and leave at the front, most of the time.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// How many gaps are left among few members before they are closed.
const GAPS_MIN: usize = 64;

/// How many members an empty row keeps room for.
const ROOM_KEPT: usize = 1_024;

/// A sorted set. What comes in order and leaves in order costs no search and no allocation of its own;
/// the rest costs what it does in a tree.
pub(super) struct Row<T> {
    /// Those that came in order, and whether they are still there; the first and the last are.
    line: VecDeque<(T, bool)>,
    gap_count: usize,
    /// Those that came out of order.
    others: BTreeSet<T>,
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self {
            line: VecDeque::new(),
            gap_count: 0,
            others: BTreeSet::new(),
        }
    }
}

impl<T: Ord> Row<T> {
    pub(super) fn first(&self) -> Option<&T> {
        let (front, other) = (self.line.front(), self.others.first());
        match (front.map(|(front, _)| front), other) {
            (Some(front), Some(other)) => Some(front.min(other)),
            (front, other) => front.or(other),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.others.is_empty()
    }

    pub(super) fn insert(&mut self, member: T) {
        if self.line.back().is_none_or(|(last, _)| *last < member) {
            self.line.push_back((member, true));
        } else {
            self.others.insert(member);
        }
    }

    pub(super) fn remove(&mut self, member: &T) {
        if self.others.remove(member) {
            return;
        }
        let is_first = self.line.front().is_some_and(|(first, _)| first == member);
        let position = if is_first {
            Ok(0)
        } else {
            self.position(member)
        };
        if let Ok(position) = position
            && let Some((_, is_there)) = self.line.get_mut(position)
            && std::mem::replace(is_there, false)
        {
            self.gap_count += 1;
            self.close_gaps();
        }
    }

    fn position(&self, member: &T) -> Result<usize, usize> {
        self.line.binary_search_by(|(other, _)| other.cmp(member))
    }

    fn close_gaps(&mut self) {
        while let Some((_, false)) = self.line.front() {
            self.line.pop_front();
            self.gap_count -= 1;
        }
        while let Some((_, false)) = self.line.back() {
            self.line.pop_back();
            self.gap_count -= 1;
        }
        if self.gap_count > GAPS_MIN.max(self.line.len() / 2) {
            self.line.retain(|(_, is_there)| *is_there);
            self.gap_count = 0;
        }
        if self.line.is_empty() && self.line.capacity() > ROOM_KEPT {
            self.line = VecDeque::new();
        }
    }

    fn members(&self) -> Vec<&T> {
        let line = self.line.iter().filter(|(_, is_there)| *is_there);
        let mut members: Vec<_> = line.map(|(member, _)| member).chain(&self.others).collect();
        members.sort_unstable();
        members
    }
}

impl<T: Ord> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        self.members() == other.members()
    }
}

impl<T: Ord + fmt::Debug> fmt::Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.members()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_is_a_sorted_set(steps in prop::collection::vec((0..3_u8, 0..200_u64), 0..800)) {
            let (mut row, mut set) = (Row::default(), BTreeSet::new());
            for (step, member) in steps {
                let next = set.last().map_or(0, |last| last + 1);
                let member = if step == 0 { next } else { member };
                if step < 2 && set.insert(member) {
                    row.insert(member);
                } else if step == 2 {
                    set.remove(&member);
                    row.remove(&member);
                }
                prop_assert_eq!((row.first(), row.is_empty()), (set.first(), set.is_empty()));
            }
            prop_assert_eq!(row.members(), set.iter().collect::<Vec<_>>());
        }
    }
}
