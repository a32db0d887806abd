//! Durations of this process: when to give up waiting, and how long something took. Instants that a
//! task keeps come from its store.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Returns the present instant of the monotonic timer.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the consumer that reads a timer"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// Returns the instant so long after `start`; a time-out without end is one of a hundred years.
pub(super) fn later(start: Instant, delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
    start + delay.min(FAR)
}

/// Returns the instant so long from now.
pub(super) fn within(delay: Duration) -> Instant {
    later(instant(), delay)
}

/// Draws a number evenly from `0.0..1.0`, so that those who failed together come back apart.
pub(super) fn jitter() -> f64 {
    let drawn = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(drawn >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// A delay that doubles with each use, with jitter, until it is reset.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Returns the next delay: between half of it and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.max);
        delay.mul_f64(0.5 + jitter() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_up_to_its_longest_and_starts_anew() {
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(400));
        let mut backoff = Backoff::new(min, max);
        for longest in [min, min * 2, max, max] {
            let delay = backoff.next();
            assert!(delay >= longest / 2 && delay <= longest, "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= min);
    }

    #[test]
    fn jitter_is_spread_over_its_range() {
        let drawn: Vec<f64> = (0..200).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.iter().any(|number| *number < 0.3));
        assert!(drawn.iter().any(|number| *number > 0.7));
    }
}
