//! When a failed task is tried again: exponential backoff with jitter, and an end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often, and after which delays, a failed task is tried again.
///
/// The delay before attempt *n* + 1 is `backoff_min × factor^(n − 1)`, at most `backoff_max`, then
/// drawn evenly from the upper half of that, so that tasks that failed together come back apart
/// ("equal jitter"; M. Brooker, *Exponential Backoff And Jitter*, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; then the task is Dead. At least 1. Defaults to 10.
    pub attempts_max: u32,
    /// The delay after the first failure. Defaults to 1 s.
    pub backoff_min: Duration,
    /// What each further delay is multiplied by. At least 1. Defaults to 2.
    pub factor: f64,
    /// The longest delay. Defaults to 1 h.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            backoff_min: Duration::from_secs(1),
            factor: 2.0,
            backoff_max: Duration::from_secs(3_600),
        }
    }
}

impl RetryPolicy {
    /// Returns the delay after `attempts` failures, or `None` when that was the last attempt.
    /// `jitter` is a number in `0.0..1.0`, drawn by the caller.
    #[must_use]
    pub fn delay(&self, attempts: u32, jitter: f64) -> Option<Duration> {
        if attempts >= self.attempts_max.max(1) {
            return None;
        }
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let raw = self.backoff_min.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let ceiling = raw.min(self.backoff_max.as_secs_f64());
        Some(Duration::from_secs_f64(
            ceiling * (0.5 + jitter.clamp(0.0, 1.0) / 2.0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_then_end() {
        let policy = RetryPolicy {
            attempts_max: 4,
            ..RetryPolicy::default()
        };
        assert_eq!(policy.delay(1, 1.0), Some(Duration::from_secs(1)));
        assert_eq!(policy.delay(3, 1.0), Some(Duration::from_secs(4)));
        assert_eq!(policy.delay(3, 0.0), Some(Duration::from_secs(2)));
        assert_eq!(policy.delay(4, 0.5), None);
    }

    #[test]
    fn an_endless_backoff_stays_at_the_longest_delay() {
        let policy = RetryPolicy {
            attempts_max: u32::MAX,
            ..RetryPolicy::default()
        };
        assert_eq!(policy.delay(1_000_000, 1.0), Some(policy.backoff_max));
    }
}
