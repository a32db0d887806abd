//! Who holds a unique key, found by what the key hashes to: the keys themselves are with their tasks.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::hash::IdHash;
use super::index::Sequence;

/// The holders of unique keys. A key's hash is that of few others, if any, so whoever looks for a holder compares the key
/// of each that might be it.
#[derive(Debug, Default)]
pub(super) struct Keys<S = RandomState> {
    hasher: S,
    /// The first holder by each hash.
    firsts: HashMap<u64, Sequence, IdHash>,
    /// Those who came to a hash that somebody had.
    others: Vec<(u64, Sequence)>,
}

impl<S: BuildHasher + Clone> Keys<S> {
    /// Returns the same without holders, to be compared with this.
    pub(super) fn emptied(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            firsts: HashMap::default(),
            others: Vec::new(),
        }
    }
}

impl<S: BuildHasher> Keys<S> {
    pub(super) fn insert(&mut self, key: &str, holder: Sequence) {
        let hash = self.hasher.hash_one(key);
        if *self.firsts.entry(hash).or_insert(holder) != holder {
            self.others.push((hash, holder));
        }
    }

    pub(super) fn remove(&mut self, key: &str, holder: Sequence) {
        let hash = self.hasher.hash_one(key);
        match self.firsts.remove(&hash) {
            Some(first) if first != holder => {
                self.firsts.insert(hash, first);
                self.others.retain(|other| *other != (hash, holder));
            }
            _ => self.promote(hash),
        }
    }

    /// Returns who may hold a key: whoever does is among them.
    pub(super) fn candidates(&self, key: &str) -> impl Iterator<Item = Sequence> {
        let hash = self.hasher.hash_one(key);
        let first = self.firsts.get(&hash).copied();
        let others = first.map_or(&[][..], |_| &self.others);
        let others = others.iter().filter(move |(other, _)| *other == hash);
        first.into_iter().chain(others.map(|(_, holder)| *holder))
    }

    /// Has the next of those who share a hash be its first.
    fn promote(&mut self, hash: u64) {
        if let Some(next) = self.others.iter().position(|(other, _)| *other == hash) {
            let (_, holder) = self.others.remove(next);
            self.firsts.insert(hash, holder);
        }
    }

    fn all(&self) -> Vec<(u64, Sequence)> {
        let firsts = self.firsts.iter().map(|(hash, holder)| (*hash, *holder));
        let mut all: Vec<_> = firsts.chain(self.others.iter().copied()).collect();
        all.sort_unstable();
        all
    }
}

/// Of those that hash alike.
impl<S: BuildHasher> PartialEq for Keys<S> {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::*;

    /// By which all keys hash alike.
    #[derive(Default)]
    struct Constant;

    impl Hasher for Constant {
        fn write(&mut self, _: &[u8]) {}

        fn finish(&self) -> u64 {
            7
        }
    }

    fn found<S: BuildHasher>(keys: &Keys<S>, key: &str) -> Vec<Sequence> {
        keys.candidates(key).collect()
    }

    #[test]
    fn a_holder_is_found_until_it_gives_the_key_up() {
        let mut keys: Keys = Keys::default();
        keys.insert("a", 1);
        keys.insert("b", 2);
        assert_eq!((found(&keys, "a"), found(&keys, "c")), (vec![1], vec![]));
        keys.remove("a", 1);
        assert_eq!((found(&keys, "a"), found(&keys, "b")), (vec![], vec![2]));
    }

    #[test]
    fn keys_that_hash_alike_are_found_all() {
        let mut keys: Keys<BuildHasherDefault<Constant>> = Keys::default();
        for (key, holder) in [("a", 1), ("b", 2), ("c", 3)] {
            keys.insert(key, holder);
        }
        assert_eq!(found(&keys, "c"), [1, 2, 3]);
        keys.remove("b", 2);
        assert_eq!(found(&keys, "c"), [1, 3]);
        keys.remove("a", 1);
        assert_eq!(found(&keys, "c"), [3]);
        keys.remove("c", 3);
        assert!(found(&keys, "c").is_empty());
    }

    #[test]
    fn who_holds_what_is_compared_whatever_came_first() {
        let mut keys: Keys<BuildHasherDefault<Constant>> = Keys::default();
        let mut others = keys.emptied();
        for (key, holder) in [("a", 1), ("b", 2)] {
            keys.insert(key, holder);
        }
        assert_ne!(keys, others);
        for (key, holder) in [("b", 2), ("a", 1)] {
            others.insert(key, holder);
        }
        assert_eq!(keys, others);
    }
}
