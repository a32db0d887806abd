//! Locks on names: whoever decides something about a unique key, a group, a mark, the room in a queue or a waiting task
//! holds the lock of its name until its transaction has ended.
//!
//! Locks are taken before rows, and all of a batch at once in one order, so that two transactions do not wait for each
//! other. They are advisory locks of the server, which end with the transaction. Names share a bounded number of locks,
//! because the server's table of locks is bounded too; two names on one lock only wait for each other more than they
//! need.
//!
//! Whoever holds the lock of a unique key also takes a *turn*: a row for each lock, which is written anew. A
//! transaction of an application in REPEATABLE READ looks as of its beginning, so behind the lock it does not see who
//! has taken the key since; but the server refuses it to write a row that has been written since.

use std::collections::BTreeSet;

use super::error::Result;
use super::session::Session;
use super::value::Value;
use crate::id::TaskId;

/// How many locks the names of one store share.
const LOCKS: u64 = 4_096;

/// What becomes of the turn of a lock that had one before.
macro_rules! again {
    () => {
        " ON CONFLICT (lock) DO UPDATE SET turn = t.turn + 1"
    };
}

/// The names that a batch is about.
#[derive(Default)]
pub(super) struct Names {
    locks: BTreeSet<i64>,
    /// Those of unique keys.
    turns: BTreeSet<i64>,
}

impl Names {
    pub(super) fn unique_key(&mut self, key: &str) {
        let lock = unique_key(key);
        self.locks.insert(lock);
        self.turns.insert(lock);
    }

    pub(super) fn group(&mut self, name: &str) {
        self.locks.insert(group(name));
    }

    pub(super) fn mark(&mut self, key: &str) {
        self.locks.insert(lock(b"mark", key.as_bytes()));
    }

    pub(super) fn queue(&mut self, name: &str) {
        self.locks.insert(lock(b"queue", name.as_bytes()));
    }

    pub(super) fn task(&mut self, task: TaskId) {
        self.locks.insert(lock(b"task", &task.to_bytes()));
    }

    /// The locks, in the order in which they are taken.
    pub(super) fn locks(&self) -> impl Iterator<Item = i64> {
        self.locks.iter().copied()
    }

    /// The turns, which are taken behind all locks.
    pub(super) fn turns(&self) -> impl Iterator<Item = i64> {
        self.turns.iter().copied()
    }

    /// Waits for all of them.
    pub(super) fn lock(&self, session: &mut dyn Session) -> Result<()> {
        if self.locks.is_empty() {
            return Ok(());
        }
        session.later(
            "SELECT pg_catalog.pg_advisory_xact_lock(
                 '@.task'::pg_catalog.regclass::oid::integer, k::integer)
             FROM unnest($1) k",
            vec![Value::Integers(self.locks().map(Some).collect())],
        )?;
        if self.turns.is_empty() {
            return Ok(());
        }
        session.later(
            concat!(
                "INSERT INTO @.turn AS t (lock, turn) SELECT k, 0 FROM unnest($1) k",
                again!()
            ),
            vec![Value::Integers(self.turns().map(Some).collect())],
        )
    }
}

/// Takes the lock of a group if nobody has it.
pub(super) fn try_lock_group(session: &mut dyn Session, group: &str) -> Result<bool> {
    let locked = session.first(
        "SELECT pg_catalog.pg_try_advisory_xact_lock(
             '@.task'::pg_catalog.regclass::oid::integer, $1::integer)",
        vec![self::group(group).into()],
    )?;
    match locked {
        Some(row) => super::row::column(&row, 0),
        None => Ok(false),
    }
}

/// Waits for one lock.
pub(super) const LOCK: &str = "\
SELECT 1 AS locked FROM pg_catalog.pg_advisory_xact_lock(
    '@.task'::pg_catalog.regclass::oid::integer, $1::bigint::integer)";

/// Takes one turn.
pub(super) const TURN: &str = concat!(
    "INSERT INTO @.turn AS t (lock, turn) VALUES ($1::bigint, 0)",
    again!()
);

/// The lock of a unique key.
pub(super) fn unique_key(key: &str) -> i64 {
    lock(b"unique", key.as_bytes())
}

/// The lock of a group.
pub(super) fn group(name: &str) -> i64 {
    lock(b"group", name.as_bytes())
}

fn lock(kind: &[u8], name: &[u8]) -> i64 {
    (hash(&[kind, name]) % LOCKS).cast_signed()
}

/// FNV-1a over the parts and their ends: the same in every process and version.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_the_same_for_every_process_and_another_for_another_kind() {
        assert_eq!(hash(&[b"a"]), hash(&[b"a"]));
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(lock(b"group", b"x"), lock(b"unique", b"x"));
    }
}
