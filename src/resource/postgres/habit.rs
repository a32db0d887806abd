//! Whether the transactions of a database are wont to change something, so that they need not be asked.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many in a row have changed something before the next are taken at it.
const LEARNED: u32 = 16;

/// How many are taken at it before one is asked again.
const TRUSTED: u32 = 64;

/// How many transactions in a row have changed something.
#[derive(Debug, Default)]
pub(super) struct Habit(AtomicU32);

impl Habit {
    /// Notes what a transaction answered that was asked.
    pub(super) fn saw(&self, has_changed: bool) {
        let next = |row: u32| has_changed.then(|| (row + 1).min(LEARNED)).or(Some(0));
        // It always has a next value.
        let _before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Whether a transaction may be taken to have changed something.
    pub(super) fn is_certain(&self) -> bool {
        let next = |row: u32| match row {
            ..LEARNED => None,
            _ if row < LEARNED + TRUSTED => Some(row + 1),
            _ => None,
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_changed_something_again_and_again_is_asked_seldom() {
        let habit = Habit::default();
        for _ in 0..LEARNED {
            assert!(!habit.is_certain());
            habit.saw(true);
        }
        for _ in 0..2 {
            let trusted = (0..100).take_while(|_| habit.is_certain());
            assert_eq!(trusted.count(), 64);
            habit.saw(true);
        }
        habit.saw(false);
        assert!(!habit.is_certain());
    }
}
