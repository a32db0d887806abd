//! Where the line of a queue begins, for as long as looking for it is slow.
//!
//! A claim looks at a line from its front. While somebody holds an old snapshot, as a backup does, the
//! server cannot forget the places of those who were claimed meanwhile, and each claim walks over all of
//! them. So when a look from the front was slow, those that follow go on where it ended, for twenty times
//! as long as it took: looking from the front then costs at most a twentieth of the time. What another
//! process puts in front of that meanwhile, a task of a higher priority, is found a moment later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::store::Claim;

/// A look that takes longer is slow.
const SLOW: Duration = Duration::from_millis(10);

/// How much longer than the look its result is kept, and for how long at most.
const KEPT_TIMES: u32 = 20;
const KEPT_MAX: Duration = Duration::from_secs(1);

/// The front of each line that is slow to look at.
#[derive(Default)]
pub(in crate::store::postgres) struct Fronts {
    fronts: Mutex<BTreeMap<String, Front>>,
    /// Whether this process has claimed a task of a group: its end may put another one in front.
    has_groups: AtomicBool,
}

#[derive(Clone, Copy)]
struct Front {
    rank: i64,
    until: Instant,
}

/// A look at a line that has begun.
pub(in crate::store::postgres) struct Looking {
    began: Instant,
    is_from_front: bool,
    /// Nothing that may be claimed has a lower rank.
    pub(in crate::store::postgres) rank: i64,
}

impl Fronts {
    /// Begins a look at the line of a queue.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that reads a timer"
    )]
    pub(in crate::store::postgres) fn look(&self, queue: &str) -> Looking {
        let began = Instant::now();
        let front = self.fronts.lock().get(queue).copied();
        let front = front.filter(|front| began < front.until);
        Looking {
            began,
            is_from_front: front.is_none(),
            rank: front.map_or(i64::MIN, |front| front.rank),
        }
    }

    /// Ends a look, which found `first` first. Returns whether another look, from the front, could find
    /// more.
    pub(in crate::store::postgres) fn found(
        &self,
        queue: &str,
        looking: &Looking,
        first: Option<i64>,
    ) -> bool {
        let mut fronts = self.fronts.lock();
        let Some(rank) = first else {
            fronts.remove(queue);
            return !looking.is_from_front;
        };
        if !looking.is_from_front {
            if let Some(front) = fronts.get_mut(queue) {
                front.rank = front.rank.max(rank);
            }
            return false;
        }
        let took = looking.began.elapsed();
        if took < SLOW {
            fronts.remove(queue);
            return false;
        }
        let kept = (took * KEPT_TIMES).min(KEPT_MAX);
        let until = looking.began + took + kept;
        fronts.insert(queue.to_owned(), Front { rank, until });
        false
    }

    /// Notes which tasks were claimed.
    pub(in crate::store::postgres) fn note(&self, claims: &[Claim]) {
        let is_grouped = |claim: &Claim| claim.record.options.group.is_some();
        if claims.iter().any(is_grouped) {
            self.has_groups.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets all if the end of a task that is done may have put something in front.
    pub(in crate::store::postgres) fn forget_after_ends(&self) {
        if self.has_groups.load(Ordering::Relaxed) {
            self.forget();
        }
    }

    /// Forgets all, because something may have been put in front.
    pub(in crate::store::postgres) fn forget(&self) {
        self.fronts.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(fronts: &Fronts) -> Looking {
        let mut looking = fronts.look("queue");
        looking.began -= SLOW * 2;
        looking
    }

    #[test]
    fn a_quick_look_is_made_from_the_front_again() {
        let fronts = Fronts::default();
        let mut looking = fronts.look("queue");
        // However slow the machine is.
        looking.began += Duration::from_secs(60);
        assert!(!fronts.found("queue", &looking, Some(7)));
        assert_eq!(fronts.look("queue").rank, i64::MIN);
    }

    #[test]
    fn after_a_slow_look_the_next_goes_on_where_it_ended() {
        let fronts = Fronts::default();
        let looking = slow(&fronts);
        assert!(!fronts.found("queue", &looking, Some(7)));
        let next = fronts.look("queue");
        assert_eq!((next.rank, fronts.look("other").rank), (7, i64::MIN));
        assert!(!fronts.found("queue", &next, Some(9)));
        assert_eq!(fronts.look("queue").rank, 9);
    }

    #[test]
    fn who_finds_nothing_behind_looks_from_the_front() {
        let fronts = Fronts::default();
        fronts.found("queue", &slow(&fronts), Some(7));
        let next = fronts.look("queue");
        assert!(fronts.found("queue", &next, None));
        assert!(!fronts.found("queue", &fronts.look("queue"), None));
    }

    #[test]
    fn what_may_be_in_front_is_looked_for() {
        let fronts = Fronts::default();
        fronts.found("queue", &slow(&fronts), Some(7));
        fronts.forget();
        assert_eq!(fronts.look("queue").rank, i64::MIN);
    }
}
