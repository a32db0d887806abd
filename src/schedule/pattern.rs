//! Crontab patterns. The pattern says what the clock has to show; this file says at which instants it does
//! so in a time zone, also where the clock is put forward or back.

use std::fmt;
use std::ops::Range;

use croner::Cron;
use jiff::Timestamp;
use jiff::civil::{self, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::ScheduleError;

/// The fields of a pattern, the optional one first.
const FIELDS: [Field; 6] = [
    Field::of("second", "0-59, such as `0` or `*/10`", &[]),
    Field::of("minute", "0-59, such as `0` or `*/15`", &[]),
    Field::of("hour", "0-23, such as `5` or `9-17`", &[]),
    Field::of(
        "day of the month",
        "1-31, such as `1,15`, `L` for the last or `15W` for the weekday nearest the 15th",
        &["L", "W", "LW"],
    ),
    Field::of("month", "1-12 or JAN-DEC, such as `*/3` or `JUN`", &MONTHS),
    Field::of(
        "day of the week",
        "0-7 or SUN-SAT, such as `MON-FRI`, `5L` for the last Friday or `MON#2` for the second Monday",
        &DAYS,
    ),
];

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

const DAYS: [&str; 15] = [
    "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUNL", "MONL", "TUEL", "WEDL", "THUL",
    "FRIL", "SATL", "L",
];

const NAMES: [&str; 6] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@hourly",
];

/// What is known of a field apart from what croner knows.
struct Field {
    name: &'static str,
    expected: &'static str,
    words: &'static [&'static str],
}

impl Field {
    const fn of(
        name: &'static str,
        expected: &'static str,
        words: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            expected,
            words,
        }
    }

    /// Returns a word that does not belong into the field. Croner replaces names wherever they are, so
    /// that it would take `MON` for a minute.
    fn foreign_word<'t>(&self, text: &'t str) -> Option<&'t str> {
        let words = text.split(|letter: char| !letter.is_alphabetic());
        let is_known = |word: &str| self.words.iter().any(|it| it.eq_ignore_ascii_case(word));
        words
            .filter(|word| !word.is_empty())
            .find(|word| !is_known(word))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    cron: Cron,
    /// Whether it goes by real time, as against times of the day that count once each.
    by_real_time: bool,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.starts_with('@') {
            return Self::named(text);
        }
        let fields = fields(&text);
        if !matches!(fields.len(), 5 | 6) {
            let found = fields.len();
            return Err(ScheduleError::FieldCount { text, found });
        }
        let known = FIELDS.iter().skip(FIELDS.len() - fields.len());
        for ((at, field), known) in fields.iter().zip(known) {
            if let Some(reason) = wrong(field, known) {
                return Err(ScheduleError::Field {
                    at: at.clone(),
                    field: (*field).to_owned(),
                    name: known.name,
                    reason,
                    expected: known.expected,
                    text: text.clone(),
                });
            }
        }
        // The day of the month, the month and the day of the week say nothing of the time of the day.
        let times = fields.iter().rev().skip(3);
        let by_real_time = times.into_iter().any(|(_, field)| field.starts_with('*'));
        Self::checked(text, by_real_time)
    }

    fn named(text: String) -> Result<Self, ScheduleError> {
        let is_known = NAMES.iter().any(|name| name.eq_ignore_ascii_case(&text));
        if !is_known {
            return Err(ScheduleError::Name { text });
        }
        let by_real_time = text.eq_ignore_ascii_case("@hourly");
        Self::checked(text, by_real_time)
    }

    /// Has croner read the whole, and makes sure that it ever comes.
    fn checked(text: String, by_real_time: bool) -> Result<Self, ScheduleError> {
        let Ok(cron) = text.parse::<Cron>() else {
            let found = fields(&text).len();
            return Err(ScheduleError::FieldCount { text, found });
        };
        let start = civil::date(2000, 1, 1).at(0, 0, 0, 0);
        if cron.find_next_occurrence(&start, true).is_err() {
            return Err(ScheduleError::Never { text });
        }
        Ok(Self {
            text,
            cron,
            by_real_time,
        })
    }

    pub(super) fn next_after(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        if self.by_real_time {
            self.next_by_real_time(zone, after)
        } else {
            self.next_time_of_day(zone, after)
        }
    }

    pub(super) fn describe(&self) -> String {
        self.cron.describe()
    }

    /// Follows what the clock shows, from one change of the clock to the next.
    fn next_by_real_time(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        loop {
            let offset = zone.to_offset(from);
            let shown = self.next_shown(offset.to_datetime(from), inclusive)?;
            let at = offset.to_timestamp(shown).ok()?;
            match zone.following(from).next() {
                Some(change) if change.timestamp() <= at => {
                    (from, inclusive) = (change.timestamp(), true);
                }
                _ => return Some(at),
            }
        }
    }

    /// Goes through the times of the day that the pattern names, each at its one instant.
    fn next_time_of_day(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let mut shown = zone.to_datetime(after);
        loop {
            shown = self.next_shown(shown, false)?;
            let at = once(zone, shown)?;
            // Not so in the second of two hours that are shown alike, and just after one that is left out.
            if at > after {
                return Some(at);
            }
        }
    }

    /// Returns what the clock shows next that fits.
    fn next_shown(&self, shown: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&shown, inclusive).ok()
    }
}

/// Returns the one instant of a time of the day: the first at which the clock shows it, or the one at which
/// the clock is put forward over it.
fn once(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    let is_left_out = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let at = ambiguous.earlier().ok()?;
    if is_left_out {
        // The time of the day by the offset that holds afterwards, hence before the change.
        return Some(zone.following(at).next()?.timestamp());
    }
    Some(at)
}

/// The fields of a text and where they are.
fn fields(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut at = 0;
    let place = |field: &'_ str| {
        let start = at;
        at += field.len() + 1;
        start..start + field.len()
    };
    let places: Vec<_> = text.split(' ').map(place).collect();
    places.into_iter().zip(text.split(' ')).collect()
}

/// Says what is wrong with a field, by asking croner about it alone.
fn wrong(field: &str, known: &Field) -> Option<String> {
    if let Some(word) = known.foreign_word(field) {
        return Some(format!("`{word}` does not belong there"));
    }
    let alone = FIELDS
        .iter()
        .map(|other| if other.name == known.name { field } else { "*" });
    let alone = alone.collect::<Vec<_>>().join(" ");
    let error = alone.parse::<Cron>().err()?;
    let text = error.to_string();
    let reason = text.split_once(": ").map_or(&*text, |(_, reason)| reason);
    Some(reason.trim_end_matches('.').to_owned())
}

/// Patterns that are written alike; where they are written otherwise they may still mean the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
