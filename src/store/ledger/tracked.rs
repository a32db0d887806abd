//! A map that can tell what was changed in it lately, and take that back.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Deref;

use super::hash::IdHash;

/// A map, and what was at the keys before they were changed. It looks like the map.
#[derive(Debug)]
pub(super) struct Tracked<K, V, M = BTreeMap<K, V>> {
    map: M,
    /// `None` unless it is tracked.
    before: Option<Vec<(K, Option<V>)>>,
}

/// What is needed of a map to change it.
pub(super) trait Map<K, V> {
    fn insert(&mut self, key: K, value: V) -> Option<V>;
    fn remove(&mut self, key: &K) -> Option<V>;
}

impl<K: Ord, V> Map<K, V> for BTreeMap<K, V> {
    fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert(key, value)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.remove(key)
    }
}

impl<K: Hash + Eq, V> Map<K, V> for HashMap<K, V, IdHash> {
    fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert(key, value)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.remove(key)
    }
}

impl<K, V, M: Default> Default for Tracked<K, V, M> {
    fn default() -> Self {
        Self {
            map: M::default(),
            before: None,
        }
    }
}

impl<K, V, M> Deref for Tracked<K, V, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.map
    }
}

impl<K: Copy, V, M: Map<K, V>> Tracked<K, V, M> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        let before = self.map.insert(key, value);
        self.note(key, before);
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(before) = self.map.remove(key) {
            self.note(*key, Some(before));
        }
    }

    fn note(&mut self, key: K, before: Option<V>) {
        if let Some(noted) = &mut self.before {
            noted.push((key, before));
        }
    }
}

#[cfg(any(feature = "file", test))]
impl<K: Copy, V, M: Map<K, V>> Tracked<K, V, M> {
    pub(super) fn track(&mut self) {
        self.before = Some(Vec::new());
    }

    /// How much has been noted.
    pub(super) fn noted(&self) -> usize {
        self.before.as_ref().map_or(0, Vec::len)
    }

    /// The keys that were changed since so much had been noted, in the order of the changes.
    pub(super) fn changed_since(&self, since: usize) -> impl Iterator<Item = &K> {
        let notes = self.before.as_ref().and_then(|notes| notes.get(since..));
        notes.into_iter().flatten().map(|(key, _)| key)
    }

    /// Takes the latest change back, unless only so much had been noted. Returns what that undid: the
    /// key, what it was changed to and what it is again.
    pub(super) fn take_back(&mut self, since: usize) -> Option<(K, Option<V>)> {
        let notes = self.before.as_mut().filter(|notes| notes.len() > since)?;
        let (key, before) = notes.pop()?;
        let undone = match before {
            Some(before) => self.map.insert(key, before),
            None => self.map.remove(&key),
        };
        Some((key, undone))
    }

    /// Keeps what was changed.
    pub(super) fn settle(&mut self) {
        self.before.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_and_taken_back() {
        let mut map: Tracked<_, _> = Tracked::default();
        map.track();
        map.insert(1, "a");
        let noted = map.noted();
        map.insert(1, "b");
        map.insert(2, "c");
        map.remove(&1);
        assert_eq!(map.changed_since(noted).collect::<Vec<_>>(), [&1, &2, &1]);
        assert_eq!(map.take_back(noted), Some((1, None)));
        while map.take_back(noted).is_some() {}
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&1, &"a")]);
    }

    #[test]
    fn what_is_not_tracked_notes_nothing() {
        let mut map: Tracked<_, _> = Tracked::default();
        map.insert(1, "a");
        assert_eq!((map.noted(), map.take_back(0)), (0, None));
    }
}
