//! How many tasks of a queue may start: a bucket of starts that fills evenly, kept in a mark that all
//! processes share.
//!
//! The bucket is kept as one instant, as in the *generic cell rate algorithm* (ITU-T I.371): that at which
//! it would be full again if each start took one interval. So it needs no clock that ticks, and a start
//! that was taken and never used costs one start and nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::mark::Found;
use crate::queue::{Queue, apply};
use crate::store::{self, Batch, Kind};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// The marks under which buckets are kept: this, then the name of the queue.
const PREFIX: &str = "rate/";

/// How often starts are taken anew because somebody else was faster.
const TAKES_MAX: usize = 64;

/// How many tasks of a queue may start, over all consumers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many in each period, one after the other at even intervals. At least 1.
    pub starts: u32,
    /// The period. At least a microsecond for each start.
    pub period: Duration,
    /// So many at once after a pause. At least 1: then there is an interval between any two. No period has
    /// more than `starts` + `burst` - 1.
    pub burst: u32,
}

impl Rate {
    /// Creates a rate without bursts: so many in a period, at even intervals.
    #[must_use]
    pub fn new(starts: u32, period: Duration) -> Self {
        Self {
            starts,
            period,
            burst: 1,
        }
    }

    /// Lets so many start at once after a pause. Defaults to 1.
    #[must_use]
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Whether the numbers make sense.
    pub(super) fn is_sound(&self) -> bool {
        self.starts > 0 && self.burst > 0 && !self.interval().is_zero()
    }

    /// The time between two starts.
    fn interval(&self) -> Duration {
        let micros = self.period.as_micros() / u128::from(self.starts.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// A bucket, as its mark says: when it is full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    full_at: Timestamp,
}

/// How many may start now; or, if none, how long it takes until one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    Now(u32),
    In(Duration),
}

impl Bucket {
    /// The bucket at `now`: never emptier than empty, lest a rate that was slower or a clock that was set
    /// back hold everybody up.
    fn at(found: Option<Self>, rate: &Rate, now: Timestamp) -> Self {
        let empty = now.saturating_add(rate.interval().saturating_mul(rate.burst));
        let full_at = found.map_or(now, |bucket| bucket.full_at);
        Self {
            full_at: full_at.clamp(now, empty),
        }
    }

    fn allowed(self, rate: &Rate, now: Timestamp) -> Allowed {
        let interval = rate.interval();
        let missing = self.full_at.since(now).as_micros();
        let each = interval.as_micros().max(1);
        let taken = u32::try_from(missing.div_ceil(each)).unwrap_or(u32::MAX);
        match rate.burst.saturating_sub(taken) {
            0 => {
                let full = interval.saturating_mul(rate.burst - 1);
                Allowed::In(self.full_at.since(now).saturating_sub(full))
            }
            count => Allowed::Now(count),
        }
    }

    fn take(self, rate: &Rate, count: u32) -> Self {
        Self {
            full_at: self
                .full_at
                .saturating_add(rate.interval().saturating_mul(count)),
        }
    }
}

impl Queue {
    /// Says how many tasks may start now, and takes none.
    pub(crate) fn starts_allowed(&self, rate: &Rate) -> store::Result<Allowed> {
        let (found, now) = (self.store.mark(&self.rate_key())?, self.store.now()?);
        Ok(Bucket::at(read(found.as_deref()), rate, now).allowed(rate, now))
    }

    /// Takes up to `wanted` starts for the whole fleet, and returns how many there were.
    ///
    /// # Errors
    /// None were taken, or, after [`Kind::Unknown`], perhaps they were: they are lost, and come back with
    /// time.
    pub(crate) fn take_starts(
        &self,
        manager: &TransactionManager,
        rate: &Rate,
        wanted: u32,
    ) -> store::Result<u32> {
        for _ in 1..TAKES_MAX {
            match self.try_take(manager, rate, wanted) {
                Err(error) if matches!(error.kind, Kind::MarkChanged(_)) => {}
                taken => return taken,
            }
        }
        self.try_take(manager, rate, wanted)
    }

    fn try_take(
        &self,
        manager: &TransactionManager,
        rate: &Rate,
        wanted: u32,
    ) -> store::Result<u32> {
        let found = Found::read(&*self.store, self.rate_key())?;
        let now = self.store.now()?;
        let bucket = Bucket::at(read(found.value()), rate, now);
        let Allowed::Now(allowed) = bucket.allowed(rate, now) else {
            return Ok(0);
        };
        let taken = allowed.min(wanted);
        let mark = found.saying(&bucket.take(rate, taken), &*self.store, "write a rate")?;
        apply(&self.store, manager, &Batch::new(vec![mark]))?;
        Ok(taken)
    }

    fn rate_key(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

/// Reads a mark; one that is damaged is taken for a full bucket and replaced.
fn read(mark: Option<&[u8]>) -> Option<Bucket> {
    let bucket = serde_json::from_slice(mark?);
    bucket
        .inspect_err(|error| tracing::warn!(%error, "the mark of a rate is damaged and replaced"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn after(duration: Duration) -> Timestamp {
        NOW.saturating_add(duration)
    }

    /// Takes all that may start at each of these instants, and returns how many that was.
    fn started(rate: &Rate, at: impl Iterator<Item = Timestamp>) -> u32 {
        let mut found = None;
        let mut count = 0;
        for now in at {
            let bucket = Bucket::at(found, rate, now);
            if let Allowed::Now(allowed) = bucket.allowed(rate, now) {
                count += allowed;
                found = Some(bucket.take(rate, allowed));
            }
        }
        count
    }

    #[test]
    fn without_bursts_starts_are_an_interval_apart() {
        let rate = Rate::new(4, SECOND);
        let bucket = Bucket::at(None, &rate, NOW);
        assert_eq!(bucket.allowed(&rate, NOW), Allowed::Now(1));
        let bucket = bucket.take(&rate, 1);
        let wait = Allowed::In(SECOND / 4);
        assert_eq!(bucket.allowed(&rate, NOW), wait);
        let later = after(SECOND / 4);
        let bucket = Bucket::at(Some(bucket), &rate, later);
        assert_eq!(bucket.allowed(&rate, later), Allowed::Now(1));
    }

    #[test]
    fn no_period_has_more_starts_than_the_rate_and_the_burst_say() {
        for burst in [1, 3, 10] {
            let rate = Rate::new(10, SECOND).burst(burst);
            let millis = (0..1_000).map(|milli| after(Duration::from_millis(milli)));
            assert_eq!(started(&rate, millis), 10 + burst - 1, "burst {burst}");
        }
    }

    #[test]
    fn a_long_run_has_as_many_starts_as_the_rate_says() {
        let rate = Rate::new(10, SECOND).burst(5);
        let millis = (0..100_000).map(|milli| after(Duration::from_millis(milli)));
        assert_eq!(started(&rate, millis), 1_000 + 4);
    }

    #[test]
    fn a_burst_comes_back_after_a_pause_and_grows_no_further() {
        let rate = Rate::new(10, SECOND).burst(3);
        let empty = Bucket::at(None, &rate, NOW).take(&rate, 3);
        assert_eq!(empty.allowed(&rate, NOW), Allowed::In(SECOND / 10));
        let later = after(SECOND * 60);
        let full = Bucket::at(Some(empty), &rate, later);
        assert_eq!(full.allowed(&rate, later), Allowed::Now(3));
    }

    #[test]
    fn a_bucket_of_a_slower_rate_holds_nobody_up() {
        let slow = Rate::new(1, SECOND * 3_600);
        let bucket = Bucket::at(None, &slow, NOW).take(&slow, 1);
        let rate = Rate::new(10, SECOND);
        let bucket = Bucket::at(Some(bucket), &rate, NOW);
        assert_eq!(bucket.allowed(&rate, NOW), Allowed::In(SECOND / 10));
    }

    #[test]
    fn rates_of_nothing_are_not_sound() {
        assert!(Rate::new(1, SECOND).is_sound());
        assert!(!Rate::new(0, SECOND).is_sound());
        assert!(!Rate::new(1, Duration::ZERO).is_sound());
        assert!(!Rate::new(1, SECOND).burst(0).is_sound());
    }
}
