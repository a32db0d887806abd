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
    /// Those that came in order; the first and the last are still there.
    line: VecDeque<T>,
    /// Those of the line that are not there any more.
    gaps: BTreeSet<T>,
    /// Those that came out of order.
    others: BTreeSet<T>,
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self {
            line: VecDeque::new(),
            gaps: BTreeSet::new(),
            others: BTreeSet::new(),
        }
    }
}

impl<T: Ord + Copy> Row<T> {
    pub(super) fn first(&self) -> Option<&T> {
        match (self.line.front(), self.others.first()) {
            (Some(front), Some(other)) => Some(front.min(other)),
            (front, other) => front.or(other),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.others.is_empty()
    }

    pub(super) fn insert(&mut self, member: T) {
        if self.line.back().is_none_or(|last| *last < member) {
            self.line.push_back(member);
        } else {
            self.others.insert(member);
        }
    }

    pub(super) fn remove(&mut self, member: &T) {
        if self.others.remove(member) {
            return;
        }
        if self.line.front() == Some(member) {
            self.line.pop_front();
        } else if self.line.binary_search(member).is_ok() {
            self.gaps.insert(*member);
        }
        self.close_gaps();
    }

    fn close_gaps(&mut self) {
        while self
            .line
            .front()
            .is_some_and(|first| self.gaps.remove(first))
        {
            self.line.pop_front();
        }
        while self.line.back().is_some_and(|last| self.gaps.remove(last)) {
            self.line.pop_back();
        }
        if self.gaps.len() > GAPS_MIN.max(self.line.len() / 2) {
            let gaps = std::mem::take(&mut self.gaps);
            self.line.retain(|member| !gaps.contains(member));
        }
        if self.line.is_empty() && self.line.capacity() > ROOM_KEPT {
            self.line = VecDeque::new();
        }
    }

    fn members(&self) -> Vec<T> {
        let line = self
            .line
            .iter()
            .filter(|member| !self.gaps.contains(member));
        let mut members: Vec<_> = line.chain(&self.others).copied().collect();
        members.sort_unstable();
        members
    }
}

impl<T: Ord + Copy> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        self.members() == other.members()
    }
}

impl<T: Ord + Copy + fmt::Debug> fmt::Debug for Row<T> {
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
            prop_assert_eq!(row.members(), set.iter().copied().collect::<Vec<_>>());
        }
    }
}
