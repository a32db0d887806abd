//! Rows by priority, of which the first member of all is wanted again and again.

use super::index::Place;
use super::kept::Kept;
use super::row::Row;

/// A row for each priority, and the first of each of them.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    rows: Kept<u8, Row<Place>>,
    heads: Heads,
}

/// The first of each row and its priority, in order: to look into sixteen rows takes about a third of what a claim
/// takes.
#[derive(Debug, Default)]
struct Heads(Vec<(Place, u8)>);

impl Ranks {
    pub(super) fn first(&self) -> Option<Place> {
        self.heads().next()
    }

    /// Returns the first place of each priority.
    pub(super) fn heads(&self) -> impl Iterator<Item = Place> {
        self.heads.0.iter().map(|(place, _)| *place)
    }

    /// Changes the row of a priority, which is empty if there is none.
    pub(super) fn change(&mut self, priority: u8, change: impl FnOnce(&mut Row<Place>)) {
        let heads = &mut self.heads;
        self.rows.change(&priority, |row| {
            let before = row.first().copied();
            change(row);
            let after = row.first().copied();
            if before != after {
                heads.replace(priority, before, after);
            }
        });
    }
}

impl Heads {
    /// Has another place be the first of a priority.
    fn replace(&mut self, priority: u8, before: Option<Place>, after: Option<Place>) {
        let heads = &mut self.0;
        let known = before.and_then(|place| heads.binary_search(&(place, priority)).ok());
        let next = heads.get(1);
        let stays = |place: Place| known == Some(0) && next.is_none_or(|(next, _)| place < *next);
        // Most often the row that has the first of all still has it.
        if let Some(place) = after.filter(|place| stays(*place)) {
            heads.iter_mut().take(1).for_each(|head| head.0 = place);
            return;
        }
        if let Some(position) = known {
            heads.remove(position);
        }
        if let Some(place) = after {
            let position = heads.partition_point(|head| *head < (place, priority));
            heads.insert(position, (place, priority));
        }
    }
}

/// Of those with the same rows.
impl PartialEq for Ranks {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_heads_are_the_first_of_each_row(steps in prop::collection::vec((any::<bool>(), 0..5_u8, 0..20_i64), 0..300)) {
            let (mut ranks, mut sets) = (Ranks::default(), [const { BTreeSet::new() }; 5]);
            for (is_insert, priority, rank) in steps {
                let place = (rank, u64::from(priority));
                let set = &mut sets[usize::from(priority)];
                if is_insert && set.insert(place) {
                    ranks.change(priority, |row| row.insert(place));
                } else if !is_insert && set.remove(&place) {
                    ranks.change(priority, |row| row.remove(&place));
                }
                let mut heads: Vec<_> = sets.iter().filter_map(BTreeSet::first).copied().collect();
                heads.sort_unstable();
                prop_assert_eq!(ranks.first(), heads.first().copied());
                prop_assert_eq!(ranks.heads().collect::<Vec<_>>(), heads);
            }
        }
    }
}
