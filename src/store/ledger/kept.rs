//! Maps of sets that are filled and emptied again and again.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// How many sets a map may have for one that is empty to stay.
const KEPT_MAX: usize = 16;

/// A map of sets in which a few that became empty stay, to be filled again without being made anew. It looks as
/// if they were not there.
#[derive(Debug)]
pub(super) struct Kept<K, S>(BTreeMap<K, S>);

/// Something that can be empty.
pub(super) trait Set: Default {
    fn is_empty(&self) -> bool;
}

impl<K, S> Default for Kept<K, S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, S: Set> Kept<K, S> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&S>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).filter(|set| !set.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.0.iter().filter(|(_, set)| !set.is_empty())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &S> {
        self.iter().map(|(_, set)| set)
    }

    /// Changes the set at a key, which is empty if there is none.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut S)) {
        if let Some(set) = self.0.get_mut(key) {
            change(set);
            if set.is_empty() && self.0.len() > KEPT_MAX {
                self.0.remove(key);
            }
            return;
        }
        let mut set = S::default();
        change(&mut set);
        if !set.is_empty() {
            self.0.insert(key.clone(), set);
        }
    }
}

impl<K: Ord + Clone, S: Set + PartialEq> PartialEq for Kept<K, S> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    impl Set for BTreeSet<u8> {
        fn is_empty(&self) -> bool {
            self.is_empty()
        }
    }

    fn add(map: &mut Kept<u32, BTreeSet<u8>>, key: u32) {
        map.change(&key, |set| set.extend([1]));
    }

    #[test]
    fn a_set_that_is_empty_is_not_there() {
        let mut map = Kept::default();
        add(&mut map, 1);
        add(&mut map, 2);
        map.change(&1, BTreeSet::clear);
        assert_eq!(map.keys().collect::<Vec<_>>(), [&2]);
        assert!(map.get(&1).is_none());
        let mut other = Kept::default();
        add(&mut other, 2);
        assert_eq!(map, other);
    }

    #[test]
    fn not_all_that_are_empty_stay() {
        let mut map = Kept::default();
        for key in 0..100 {
            add(&mut map, key);
            map.change(&key, BTreeSet::clear);
        }
        assert_eq!(map.0.len(), KEPT_MAX);
    }
}
