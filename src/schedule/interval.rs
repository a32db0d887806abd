//! Equal intervals, counted from an anchor.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use super::ScheduleError;
use crate::time::Timestamp;

/// What an interval begins with, in the text form.
const EVERY: &str = "every ";

/// What parts an interval from its anchor, in the text form.
const FROM: &str = " from ";

const MICROS: i64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    seconds: i64,
    /// In seconds since the Unix epoch.
    anchor: i64,
}

/// Returns what follows `every`, if the text begins so.
pub(super) fn text(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix(EVERY)
}

impl Interval {
    pub(super) fn new(interval: Duration) -> Result<Self, ScheduleError> {
        let seconds = i64::try_from(interval.as_secs()).ok();
        let whole = seconds.filter(|seconds| *seconds > 0 && interval.subsec_nanos() == 0);
        let seconds = whole.filter(|seconds| *seconds <= i64::MAX / MICROS);
        let wrong = || ScheduleError::Interval {
            text: format!("{interval:?}"),
        };
        let seconds = seconds.ok_or_else(wrong)?;
        Ok(Self { seconds, anchor: 0 })
    }

    /// Reads what follows `every`.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let (interval, anchor) = match text.split_once(FROM) {
            Some((interval, anchor)) => (interval.trim(), Some(anchor.trim())),
            None => (text.trim(), None),
        };
        let wrong = |_| ScheduleError::Interval {
            text: interval.to_owned(),
        };
        let read: SignedDuration = interval.parse().map_err(wrong)?;
        let every = Duration::try_from(read)
            .map_err(wrong)
            .and_then(Self::new)?;
        let Some(anchor) = anchor else {
            return Ok(every);
        };
        let wrong = |_| ScheduleError::Anchor {
            text: anchor.to_owned(),
        };
        let at: jiff::Timestamp = anchor.parse().map_err(wrong)?;
        Ok(every.anchored_at(Timestamp::from_micros(at.as_microsecond())))
    }

    pub(super) fn anchored_at(self, anchor: Timestamp) -> Self {
        Self {
            anchor: anchor.as_micros().div_euclid(MICROS),
            ..self
        }
    }

    pub(super) fn next_after(self, instant: Timestamp) -> Option<Timestamp> {
        let second = instant.as_micros().div_euclid(MICROS);
        let past = second.checked_sub(self.anchor)?.rem_euclid(self.seconds);
        let next = second.checked_add(self.seconds - past)?;
        next.checked_mul(MICROS).map(Timestamp::from_micros)
    }

    pub(super) fn describe(self) -> String {
        let Self { seconds, anchor } = self;
        let from = format_args!(", counted from {}", instant(anchor));
        let every = SignedDuration::from_secs(seconds);
        match anchor {
            0 => format!("Every {every:#}."),
            _ => format!("Every {every:#}{from}."),
        }
    }
}

/// A second as an instant of the calendar; of one outside of it, the number.
fn instant(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string())
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EVERY}{:#}", SignedDuration::from_secs(self.seconds))?;
        match self.anchor {
            0 => Ok(()),
            anchor => write!(f, "{FROM}{}", instant(anchor)),
        }
    }
}
