//! When something is to happen again and again. Pure: a schedule is told an instant and answers with the
//! next one; it reads no clock, starts no thread and knows of no store.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `pattern` | crontab patterns, and what they mean where clocks are changed |
//! | `interval` | equal intervals, counted from an anchor |
//! | `zone` | names of time zones, and where their rules come from |
//! | `error` | what is wrong with a schedule, and where |
//!
//! # Where clocks are changed
//! The rules are those of Vixie's cron. A pattern whose hours or minutes (or seconds) begin with `*` goes by
//! *real time*: it matches whatever the clock shows, so a repeated hour counts twice and one that is
//! left out counts for nothing; `*/15 * * * *` runs every 15 minutes, always. Any other pattern names
//! *times of the day*, and each of these counts once on its day: where the clock shows it twice, the first
//! time; where it is left out, at the instant at which the clock is put forward.
//!
//! # Where the rules of a time zone come from
//! From the machine's own database (`/usr/share/zoneinfo`, or what `TZDIR` says), which is updated more
//! often than programs are. A zone that is not there is taken from the one that is built in, so that a
//! machine without any works too.

mod error;
mod interval;
mod pattern;
mod zone;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use error::ScheduleError;

use self::interval::Interval;
use self::pattern::Pattern;
use crate::time::Timestamp;

/// What parts a pattern from its time zone, in the text form.
const IN: &str = " in ";

/// When something is to happen again and again. Cheap to ask, and always of the same answer.
///
/// Its text form is what [`Display`](fmt::Display) writes and [`FromStr`] reads: `0 5 * * *`,
/// `30 2 * * MON-FRI in Europe/Rome`, `every 1h 30m`, `every 1h from 2026-01-01T00:20:00Z`.
///
/// ```
/// use votive::schedule::Schedule;
/// use votive::time::Timestamp;
///
/// let nightly = Schedule::cron("0 5 * * *")?.in_zone("Europe/Rome")?;
/// assert_eq!(nightly.describe(), "At 05:00, in the time of Europe/Rome.");
/// let next = nightly.next_after(Timestamp::EPOCH).map(|at| at.to_string());
/// assert_eq!(next.as_deref(), Some("1970-01-01T04:00:00.000000Z"));
/// assert_eq!("0 5 * * * in Europe/Rome".parse(), Ok(nightly));
/// # Ok::<(), votive::schedule::ScheduleError>(())
/// ```
#[doc(alias = "crontab")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Cron {
        pattern: Box<Pattern>,
        zone: TimeZone,
    },
    Every(Interval),
}

impl Schedule {
    /// Reads a crontab pattern: `minute hour day-of-month month day-of-week`, or the same after a field
    /// for the second, or one of `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`. It is in UTC unless
    /// [`in_zone`](Self::in_zone) says otherwise.
    ///
    /// Fields are numbers, lists `1,15`, ranges `9-17`, steps `*/15` or `9-17/2`, and `*`; months and
    /// weekdays have names too. A day counts if the day of the month *or* the day of the week fits, as
    /// in every cron, unless one of them is `*`; `+MON` asks for both. `L` is the last day, `15W` the
    /// weekday nearest the 15th, and `MON#2` the second Monday of the month.
    ///
    /// # Errors
    /// The text is no pattern, or names days that never come, such as the 30th of February.
    pub fn cron(pattern: &str) -> Result<Self, ScheduleError> {
        Ok(Self(Kind::Cron {
            pattern: Box::new(Pattern::parse(pattern)?),
            zone: TimeZone::UTC,
        }))
    }

    /// Repeats something at equal intervals of real time, counted from the Unix epoch: `every` hour is
    /// every full hour of UTC. For others see [`anchored_at`](Self::anchored_at).
    ///
    /// # Errors
    /// [`ScheduleError::Interval`] unless the interval is a number of whole seconds, and at least one.
    pub fn every(interval: Duration) -> Result<Self, ScheduleError> {
        Interval::new(interval).map(|every| Self(Kind::Every(every)))
    }

    /// Has a pattern be in the time of this place, such as `Europe/Rome`. Defaults to `UTC`.
    ///
    /// # Errors
    /// [`ScheduleError::Zone`] if nobody knows the zone; [`ScheduleError::Misplaced`] if this is an
    /// interval, which is the same everywhere.
    pub fn in_zone(self, name: &str) -> Result<Self, ScheduleError> {
        match self.0 {
            Kind::Cron { pattern, .. } => Ok(Self(Kind::Cron {
                pattern,
                zone: zone::find(name)?,
            })),
            Kind::Every(_) => Err(ScheduleError::Misplaced {
                text: self.to_string(),
                reason: "an interval is the same in every time zone: use a pattern instead",
            }),
        }
    }

    /// Has intervals be counted from `anchor` instead of the Unix epoch, in both directions. A fraction of
    /// a second is left out.
    ///
    /// # Errors
    /// [`ScheduleError::Misplaced`] if this is a pattern, which says itself when it applies.
    pub fn anchored_at(self, anchor: Timestamp) -> Result<Self, ScheduleError> {
        match self.0 {
            Kind::Every(every) => Ok(Self(Kind::Every(every.anchored_at(anchor)))),
            Kind::Cron { .. } => Err(ScheduleError::Misplaced {
                text: self.to_string(),
                reason: "only an interval is counted from somewhere: use `every`",
            }),
        }
    }

    /// Returns the first time after `instant`, always a whole second; `None` if there is none before the end
    /// of the calendar, which is a few thousand years away.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron { pattern, zone } => {
                let after = jiff::Timestamp::from_microsecond(instant.as_micros()).ok()?;
                let next = pattern.next_after(zone, after)?;
                Some(Timestamp::from_micros(next.as_microsecond()))
            }
            Kind::Every(interval) => interval.next_after(instant),
        }
    }

    /// Returns the last time that is after `after` and not after `until`; `None` if there is none. Its work
    /// grows with the logarithm of the time between, and not with how often the schedule applies in it.
    #[must_use]
    pub fn last_between(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let within = |instant| self.next_after(instant).filter(|next| *next <= until);
        let mut found = within(after)?;
        // Something is due after `low` and by `until`; nothing is due after `high` any more.
        let (mut low, mut high) = (found.as_micros(), until.as_micros());
        while low < high {
            let middle = low.midpoint(high);
            match within(Timestamp::from_micros(middle)) {
                Some(next) => {
                    found = next;
                    low = next.as_micros();
                }
                None => high = middle,
            }
        }
        Some(found)
    }

    /// Iterates over the times after `instant`.
    pub fn after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(instant), |at| self.next_after(*at))
    }

    /// Says in English when it is.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Cron { pattern, zone } => {
                let text = pattern.describe();
                let text = text.trim_end_matches('.');
                format!("{text}, in the time of {}.", zone::name(zone))
            }
            Kind::Every(interval) => interval.describe(),
        }
    }

    /// Returns the name of the time zone that a pattern is in; `None` for an interval.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        match &self.0 {
            Kind::Cron { zone, .. } => Some(zone::name(zone)),
            Kind::Every(_) => None,
        }
    }

    /// Writes an instant as the clock shows it in the schedule's time zone, with the offset from UTC, such
    /// as `2026-03-29T03:00:00+02:00[Europe/Rome]`.
    #[must_use]
    pub fn local(&self, instant: Timestamp) -> String {
        let zone = match &self.0 {
            Kind::Cron { zone, .. } => zone.clone(),
            Kind::Every(_) => TimeZone::UTC,
        };
        let at = jiff::Timestamp::from_microsecond(instant.as_micros());
        at.map_or_else(|_| instant.to_string(), |at| at.to_zoned(zone).to_string())
    }
}

/// The text form, which [`FromStr`] reads.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every(interval) => interval.fmt(f),
            Kind::Cron { pattern, zone } if *zone == TimeZone::UTC => pattern.fmt(f),
            Kind::Cron { pattern, zone } => write!(f, "{pattern}{IN}{}", zone::name(zone)),
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        if let Some(interval) = interval::text(text) {
            return Interval::parse(interval).map(|every| Self(Kind::Every(every)));
        }
        match text.split_once(IN) {
            Some((pattern, zone)) => Self::cron(pattern)?.in_zone(zone.trim()),
            None => Self::cron(text),
        }
    }
}
