//! Time. The only module that reads the wall clock; everything else is told the time.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// An instant: microseconds since the Unix epoch, UTC.
///
/// The first of all instants is that after `i64::MIN` microseconds, so that an `Option` of one takes no
/// more room than one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timestamp(NonZeroU64);

/// Has the order of numbers be that of their bits.
const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self::from_micros(0);

    /// Takes microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        match NonZeroU64::new(micros.cast_unsigned() ^ SIGN) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Returns microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Adds a duration; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_micros(self.as_micros().saturating_add(micros(duration)))
    }

    /// Subtracts a duration; stops at the beginning of time instead of wrapping.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_micros(self.as_micros().saturating_sub(micros(duration)))
    }

    /// Returns how long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let difference = self.as_micros().saturating_sub(earlier.as_micros());
        Duration::from_micros(u64::try_from(difference).unwrap_or(0))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl From<i64> for Timestamp {
    fn from(micros: i64) -> Self {
        Self::from_micros(micros)
    }
}

impl From<Timestamp> for i64 {
    fn from(at: Timestamp) -> Self {
        at.as_micros()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_micros()).finish()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with microseconds, such as `2026-11-21T09:30:00.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_micros().div_euclid(1_000_000);
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, date) = civil(day);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let micro = self.as_micros().rem_euclid(1_000_000);
        write!(
            f,
            "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"
        )
    }
}

/// Days since the epoch to year, month and day of the proleptic Gregorian calendar, counting years
/// from March so that the leap day comes last.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

/// Tells the time. Called by whoever needs `now`; must not block.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the current instant. It may go backwards; who needs order uses [`Monotonic`].
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let elapsed = elapsed.map_or_else(|before| -micros(before.duration()), micros);
        Timestamp::from_micros(elapsed)
    }
}

/// A clock that stands still until it is moved. Cheap to clone; clones share their time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// Creates a clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves the clock forwards.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock();
        *now = now.saturating_add(duration);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock() = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// When to give up waiting, by the timer of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    start: Instant,
    timeout: Duration,
}

impl Deadline {
    /// Begins to count.
    #[expect(clippy::disallowed_methods, reason = "waiting is measured, not dated")]
    pub(crate) fn after(timeout: Duration) -> Self {
        Self {
            start: Instant::now(),
            timeout,
        }
    }

    /// Returns how long there still is to wait.
    pub(crate) fn left(self) -> Duration {
        self.timeout.saturating_sub(self.start.elapsed())
    }
}

/// A clock that never goes backwards: a jump of the clock under it is clamped, and logged once.
#[derive(Debug)]
pub struct Monotonic {
    clock: Arc<dyn Clock>,
    /// In microseconds.
    latest: AtomicI64,
    is_behind: AtomicBool,
}

impl Monotonic {
    /// Wraps `clock`; `floor` is the latest instant already seen, such as the newest one in a store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, floor: Timestamp) -> Self {
        Self {
            clock,
            latest: AtomicI64::new(floor.as_micros()),
            is_behind: AtomicBool::new(false),
        }
    }

    /// Says once, each time, that the clock fell behind.
    fn note(&self, read: Timestamp, latest: Timestamp) {
        let is_behind = read < latest;
        if self.is_behind.load(Ordering::Relaxed) != is_behind
            && self.is_behind.swap(is_behind, Ordering::Relaxed) != is_behind
            && is_behind
        {
            let behind = latest.since(read);
            tracing::warn!(
                ?behind,
                "the clock went backwards; time stands still until it caught up"
            );
        }
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Timestamp {
        let read = self.clock.now();
        let before = self.latest.fetch_max(read.as_micros(), Ordering::Relaxed);
        let latest = Timestamp::from_micros(before);
        self.note(read, latest);
        read.max(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00.000000Z");
        let leap = Timestamp::from_micros(1_709_164_800_000_001);
        assert_eq!(leap.to_string(), "2024-02-29T00:00:00.000001Z");
        assert_eq!(
            Timestamp::from_micros(-1).to_string(),
            "1969-12-31T23:59:59.999999Z"
        );
    }

    #[test]
    fn instants_are_in_order_from_the_first_to_the_last() {
        let instants = [i64::MIN, i64::MIN + 2, -1, 0, 1, i64::MAX].map(Timestamp::from_micros);
        assert!(instants.is_sorted());
        assert_eq!(
            instants.map(Timestamp::as_micros)[1..],
            [i64::MIN + 2, -1, 0, 1, i64::MAX]
        );
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<i64>());
    }

    #[test]
    fn an_instant_is_encoded_as_its_number() {
        let at = Timestamp::from_micros(-7);
        assert_eq!(postcard::to_stdvec(&at), postcard::to_stdvec(&-7_i64));
        assert_eq!(serde_json::to_string(&at).unwrap(), "-7");
    }

    #[test]
    fn a_monotonic_clock_stands_still_while_its_source_is_behind() {
        let source = ManualClock::new(Timestamp::from_micros(50));
        let clock = Monotonic::new(Arc::new(source.clone()), Timestamp::EPOCH);
        assert_eq!(clock.now().as_micros(), 50);
        source.set(Timestamp::from_micros(10));
        assert_eq!(clock.now().as_micros(), 50);
        source.set(Timestamp::from_micros(60));
        assert_eq!(clock.now().as_micros(), 60);
    }
}
