//! What is wrong with a schedule, where, and what would be right.

use std::ops::Range;

/// What is wrong with the text of a schedule. Nothing else has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The pattern has too few or too many fields.
    #[error(
        "`{text}` has {found} fields instead of 5 or 6: write `minute hour day-of-month month \
         day-of-week`, with the second before them if you like"
    )]
    FieldCount {
        /// The pattern.
        text: String,
        /// How many fields it has.
        found: usize,
    },
    /// One of the fields makes no sense.
    #[error("`{field}` in `{text}` is no {name} ({reason}): write {expected}")]
    Field {
        /// The pattern.
        text: String,
        /// Where in the text the field is, in bytes.
        at: Range<usize>,
        /// The field as it was written.
        field: String,
        /// What it is for.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
        /// What is allowed there.
        expected: &'static str,
    },
    /// The pattern begins with `@`, but is none of the names.
    #[error(
        "`{text}` is no name of a schedule: write `@yearly`, `@monthly`, `@weekly`, `@daily` or `@hourly`"
    )]
    Name {
        /// The text.
        text: String,
    },
    /// The days that the pattern asks for never come.
    #[error("`{text}` never comes: no month that it names has such a day")]
    Never {
        /// The pattern.
        text: String,
    },
    /// The time zone is not known here.
    #[error("`{name}` is no time zone that is known here: {advice}")]
    Zone {
        /// The name.
        name: String,
        /// What was probably meant, or what a name looks like.
        advice: String,
    },
    /// The interval cannot be kept.
    #[error("`{text}` is no interval: write a number of whole seconds, such as `90s` or `1h 30m`")]
    Interval {
        /// The interval.
        text: String,
    },
    /// What intervals are counted from cannot be read.
    #[error("`{text}` is no instant: write one such as `2026-01-01T00:20:00Z`")]
    Anchor {
        /// The instant.
        text: String,
    },
    /// A time zone or an anchor was given to what has none.
    #[error("`{text}` cannot be changed so: {reason}")]
    Misplaced {
        /// The schedule.
        text: String,
        /// Why not, and what to do instead.
        reason: &'static str,
    },
}
