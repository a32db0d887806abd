//! Who holds a unique key, found by what the key hashes to: the keys themselves are with their tasks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use super::hash::IdHash;
use super::index::Sequence;

/// How many holders may have given their keys up before these are forgotten: as many as a processor looks for at
/// once, several times over, and few enough to be looked through.
const FREED_MAX: usize = 64;

/// The holders of unique keys. A key's hash is that of few others, if any, so whoever looks for a holder compares the
/// key of each that might be it, and so sees of one that has given it up that it has. That allows to forget those
/// together: where each is found is far from the others, and it takes less time to look for many than for one many
/// times.
#[derive(Debug, Default)]
pub(super) struct Keys<S = RandomState> {
    hasher: S,
    /// The first holder by each hash.
    firsts: HashMap<u64, Sequence, IdHash>,
    /// Those who came to a hash that somebody had.
    others: Vec<(u64, Sequence)>,
    /// Those among them that have given their keys up.
    freed: Vec<(u64, Sequence)>,
}

impl<S: BuildHasher + Clone> Keys<S> {
    /// Returns the same without holders, to be compared with this.
    pub(super) fn emptied(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            firsts: HashMap::default(),
            others: Vec::new(),
            freed: Vec::new(),
        }
    }
}

impl<S: BuildHasher> Keys<S> {
    pub(super) fn insert(&mut self, key: &str, holder: Sequence) {
        let hash = self.hasher.hash_one(key);
        match self.firsts.entry(hash) {
            Entry::Vacant(vacant) => drop(vacant.insert(holder)),
            // It has it again before it was forgotten.
            Entry::Occupied(first)
                if *first.get() == holder || self.others.contains(&(hash, holder)) =>
            {
                self.freed.retain(|freed| *freed != (hash, holder));
            }
            Entry::Occupied(_) => self.others.push((hash, holder)),
        }
    }

    pub(super) fn remove(&mut self, key: &str, holder: Sequence) {
        self.freed.push((self.hasher.hash_one(key), holder));
        if self.freed.len() == FREED_MAX {
            self.forget_freed();
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

    fn forget_freed(&mut self) {
        let mut freed = std::mem::take(&mut self.freed);
        for (hash, holder) in freed.drain(..) {
            self.forget(hash, holder);
        }
        self.freed = freed;
    }

    fn forget(&mut self, hash: u64, holder: Sequence) {
        match self.firsts.remove(&hash) {
            Some(first) if first != holder => {
                self.firsts.insert(hash, first);
                self.others.retain(|other| *other != (hash, holder));
            }
            _ => self.promote(hash),
        }
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
        let known = firsts.chain(self.others.iter().copied());
        let mut all: Vec<_> = known
            .filter(|holder| !self.freed.contains(holder))
            .collect();
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
    fn a_holder_is_found_until_it_is_forgotten() {
        let mut keys: Keys = Keys::default();
        keys.insert("a", 1);
        keys.insert("b", 2);
        assert_eq!((found(&keys, "a"), found(&keys, "c")), (vec![1], vec![]));
        keys.remove("a", 1);
        keys.forget_freed();
        assert_eq!((found(&keys, "a"), found(&keys, "b")), (vec![], vec![2]));
    }

    #[test]
    fn keys_that_hash_alike_are_found_all() {
        let mut keys: Keys<BuildHasherDefault<Constant>> = Keys::default();
        for (key, holder) in [("a", 1), ("b", 2), ("c", 3)] {
            keys.insert(key, holder);
        }
        assert_eq!(found(&keys, "c"), [1, 2, 3]);
        for (key, holder, left) in [("b", 2, vec![1, 3]), ("a", 1, vec![3]), ("c", 3, vec![])] {
            keys.remove(key, holder);
            keys.forget_freed();
            assert_eq!(found(&keys, "c"), left);
        }
    }

    #[test]
    fn one_that_has_its_key_again_is_not_forgotten() {
        let mut keys: Keys<BuildHasherDefault<Constant>> = Keys::default();
        for (key, holder) in [("a", 1), ("b", 2)] {
            keys.insert(key, holder);
            keys.remove(key, holder);
            keys.insert(key, holder);
        }
        keys.forget_freed();
        assert_eq!(found(&keys, "a"), [1, 2]);
    }

    #[test]
    fn one_that_takes_a_freed_key_is_found_before_and_after_the_other_is_forgotten() {
        let mut keys: Keys = Keys::default();
        keys.insert("a", 1);
        keys.remove("a", 1);
        keys.insert("a", 2);
        assert!(found(&keys, "a").contains(&2));
        keys.forget_freed();
        assert_eq!(found(&keys, "a"), [2]);
    }

    #[test]
    fn few_that_have_given_their_keys_up_are_remembered() {
        let mut keys: Keys = Keys::default();
        for holder in 0..1_000 {
            let key = holder.to_string();
            keys.insert(&key, holder);
            keys.remove(&key, holder);
        }
        assert!(keys.firsts.len() < FREED_MAX && keys.freed.len() < FREED_MAX);
        assert_eq!(keys, keys.emptied());
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
