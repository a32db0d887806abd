//! Records whose retention has passed: a few go with each write that may make more of them, and now and then with
//! others.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::error::Result;
use super::session::Session;
use crate::time::Timestamp;

/// How long after a look the next is due by which nobody keeps a record.
const INTERVAL: Duration = Duration::from_secs(1);

/// When such looks are due. They cost as much as a few tasks, so not every write of plain tasks has one.
#[derive(Debug, Default)]
pub(super) struct Sweeps(AtomicI64);

impl Sweeps {
    /// Whether a look is due, which is then made: each process looks once an interval.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let next = now.saturating_add(INTERVAL).as_micros();
        let due = |at: i64| (at <= now.as_micros() || at > next).then_some(next);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, due)
            .is_ok()
    }
}

/// Drops a few of the records whose retention has passed: none that is [pinned](super::tasks::pin).
pub(super) fn drop_expired(session: &mut dyn Session, now: Timestamp) -> Result<()> {
    session.later(
        "WITH old AS MATERIALIZED (
             SELECT t.seq, t.id FROM @.task t WHERE t.kept_until <= $1 AND t.pinned IS NULL
             ORDER BY t.kept_until LIMIT 16 FOR UPDATE OF t SKIP LOCKED),
         about AS (DELETE FROM @.about a WHERE a.seq = ANY (ARRAY(SELECT o.seq FROM old o))),
         alias AS (DELETE FROM @.alias a WHERE a.task = ANY (ARRAY(SELECT o.id FROM old o)))
         DELETE FROM @.task t WHERE t.seq = ANY (ARRAY(SELECT o.seq FROM old o))",
        vec![now.into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_once_an_interval_whatever_the_clock_does() {
        let sweeps = Sweeps::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert!(sweeps.is_due(at(100)) && !sweeps.is_due(at(100)));
        assert!(sweeps.is_due(at(101)) && !sweeps.is_due(at(101)));
        assert!(sweeps.is_due(at(50)) && !sweeps.is_due(at(50)));
    }
}
