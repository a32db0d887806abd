//! Schedules drawn at random, against a scan of every minute.
#![cfg(test)]

use jiff::tz::TimeZone;
use proptest::prelude::*;
use votive::schedule::Schedule;
use votive::time::Timestamp;

const ZONES: [&str; 5] = [
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
];
const MINUTE: i64 = 60;
/// The first minute of 2026.
const START: i64 = 1_767_225_600;
const DAY: i64 = 86_400;

/// A field of numbers: all, each so many, a range or a list.
fn field(low: i8, high: i8) -> impl Strategy<Value = String> {
    let number = low..=high;
    let range = (number.clone(), number.clone()).prop_map(|(one, other)| {
        let (low, high) = (one.min(other), one.max(other));
        format!("{low}-{high}")
    });
    let list = prop::collection::btree_set(number, 1..4).prop_map(|set| {
        let numbers: Vec<_> = set.iter().map(i8::to_string).collect();
        numbers.join(",")
    });
    let step = (2..=high).prop_map(|step| format!("*/{step}"));
    prop_oneof![Just("*".to_owned()), step, range, list]
}

/// The numbers that a field of [`field`] means.
fn numbers(field: &str, low: i8, high: i8) -> Vec<i8> {
    if let Some(step) = field.strip_prefix("*/") {
        return (low..=high).step_by(step.parse().unwrap()).collect();
    }
    if field == "*" {
        return (low..=high).collect();
    }
    if let Some((first, last)) = field.split_once('-') {
        return (first.parse().unwrap()..=last.parse().unwrap()).collect();
    }
    field
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect()
}

/// The reference: which minutes of a span come, found by looking at each.
fn scan(minutes: &str, hours: &str, zone: &str, span: std::ops::Range<i64>) -> Vec<i64> {
    let zone = TimeZone::get(zone).unwrap();
    let (minute, hour) = (numbers(minutes, 0, 59), numbers(hours, 0, 23));
    let fits =
        |at: &jiff::civil::DateTime| minute.contains(&at.minute()) && hour.contains(&at.hour());
    if minutes.starts_with('*') || hours.starts_with('*') {
        let shown = |at: i64| zone.to_datetime(jiff::Timestamp::from_second(at).unwrap());
        let found = span.step_by(60).filter(|at| fits(&shown(*at)));
        return found.collect();
    }
    once_each(&zone, span, fits)
}

/// Looks at every minute of the calendar, and takes the instant of each that fits.
fn once_each(
    zone: &TimeZone,
    span: std::ops::Range<i64>,
    fits: impl Fn(&jiff::civil::DateTime) -> bool,
) -> Vec<i64> {
    let civil =
        |at: i64| jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(at).unwrap());
    let calendar = (span.start - DAY..span.end + DAY).step_by(60).map(civil);
    let instant = |shown: jiff::civil::DateTime| {
        // The first minute from here on that the clock does show.
        let mut shown = shown;
        while matches!(
            zone.to_ambiguous_timestamp(shown).offset(),
            jiff::tz::AmbiguousOffset::Gap { .. }
        ) {
            shown = shown
                .checked_add(jiff::SignedDuration::from_secs(MINUTE))
                .unwrap();
        }
        zone.to_ambiguous_timestamp(shown)
            .earlier()
            .unwrap()
            .as_second()
    };
    let mut found: Vec<_> = calendar.filter(fits).map(instant).collect();
    found.dedup();
    found.retain(|at| span.contains(at));
    found
}

fn second(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

fn instant(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// A day of the year, among them more often those around which clocks are changed.
fn day() -> impl Strategy<Value = i64> {
    let changes = [48, 66, 87, 94, 95, 276, 297, 305].map(Just);
    prop_oneof![1 => 0..365_i64, 3 => proptest::strategy::Union::new(changes)]
}

proptest! {
    #[test]
    fn nothing_is_left_out_and_nothing_is_made_up(
        minutes in field(0, 59), hours in field(0, 23), zone in prop::sample::select(&ZONES[..]), day in day(),
    ) {
        let span = START + day * DAY..START + (day + 2) * DAY;
        let schedule = Schedule::cron(&format!("{minutes} {hours} * * *")).unwrap().in_zone(zone).unwrap();
        let times = schedule.after(instant(span.start - 1)).map(second);
        let times: Vec<_> = times.take_while(|at| *at < span.end).collect();
        prop_assert_eq!(times, scan(&minutes, &hours, zone, span), "{}", schedule);
    }

    #[test]
    fn the_next_time_is_later_and_the_same_from_every_instant_before(
        minutes in field(0, 59), hours in field(0, 23), zone in prop::sample::select(&ZONES[..]),
        day in day(), micros in 0..2 * DAY * 1_000_000, share in 0.0..1.0,
    ) {
        let from = Timestamp::from_micros((START + day * DAY) * 1_000_000 + micros);
        let schedule = Schedule::cron(&format!("{minutes} {hours} * * *")).unwrap().in_zone(zone).unwrap();
        let next = schedule.next_after(from).unwrap();
        prop_assert!(next > from);
        prop_assert!(schedule.next_after(next).unwrap() > next);
        let between = from.saturating_add(next.since(from).mul_f64(share));
        if between < next {
            prop_assert_eq!(schedule.next_after(between), Some(next));
        }
    }

    #[test]
    fn the_last_time_between_two_instants_is_that_of_the_row(
        minutes in field(0, 59), hours in field(0, 23), zone in prop::sample::select(&ZONES[..]),
        day in day(), length in 0..3 * DAY,
    ) {
        let from = instant(START + day * DAY);
        let until = instant(START + day * DAY + length);
        let schedule = Schedule::cron(&format!("{minutes} {hours} * * *")).unwrap().in_zone(zone).unwrap();
        let last = schedule.after(from).take_while(|at| *at <= until).last();
        prop_assert_eq!(schedule.last_between(from, until), last);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~]{0,40}") {
        drop(text.parse::<Schedule>());
    }

    #[test]
    fn no_field_makes_the_reader_panic(fields in prop::collection::vec("[0-9*/,#LW+?-]{1,5}", 5..7)) {
        drop(fields.join(" ").parse::<Schedule>());
    }
}
