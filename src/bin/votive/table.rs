//! Tables and texts for people.

use std::fmt;
use std::time::Duration;

use comfy_table::{ContentArrangement, presets};
use votive::time::Timestamp;

/// Rows under a line of headings, in columns parted by spaces.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Creates a table with these headings.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(headings.into_iter().map(str::to_uppercase));
        Self(table)
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| plain(&cell)));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        Ok(())
    }
}

/// Names and values, one pair a line; what has no value is left out.
pub(crate) struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    /// Creates an empty list.
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a pair.
    pub(crate) fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, plain(&value.to_string())));
    }

    /// Adds a pair if there is a value.
    pub(crate) fn add_some(&mut self, name: &'static str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.0.iter().map(|(name, _)| name.len());
        let width = widths.max().unwrap_or(0);
        for (name, value) in &self.0 {
            writeln!(f, "{name:width$}  {value}")?;
        }
        Ok(())
    }
}

/// Shows control characters instead of sending them to the terminal, which might obey them.
pub(crate) fn plain(text: &str) -> String {
    let show = |symbol: char| match symbol {
        '\n' => vec![symbol],
        _ if symbol.is_control() => symbol.escape_default().collect(),
        _ => vec![symbol],
    };
    text.chars().flat_map(show).collect()
}

/// Says how many there are of something.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Says how long ago, or in how long, something is.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", rough(at.since(now)))
    } else {
        format!("{} ago", rough(now.since(at)))
    }
}

/// Says a duration in its two largest units.
pub(crate) fn rough(duration: Duration) -> String {
    let seconds = Duration::from_secs(duration.as_secs());
    let exact = humantime::format_duration(seconds).to_string();
    let units: Vec<&str> = exact.split(' ').take(2).collect();
    units.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_in_its_two_largest_units() {
        assert_eq!(rough(Duration::from_millis(90_061_500)), "1day 1h");
        assert_eq!(rough(Duration::from_millis(300)), "0s");
    }

    #[test]
    fn an_escape_sequence_never_reaches_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }

    #[test]
    fn what_lies_ahead_is_told_from_what_is_past() {
        let now = Timestamp::from_micros(60_000_000);
        assert_eq!(relative(Timestamp::EPOCH, now), "1m ago");
        assert_eq!(relative(now, Timestamp::EPOCH), "in 1m");
    }
}
