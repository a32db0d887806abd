//! Schedules where clocks are put forward and back: by an hour in Rome and New York, by half an hour on Lord
//! Howe Island.
#![cfg(test)]

use votive::schedule::Schedule;
use votive::time::Timestamp;

const ROME: &str = "Europe/Rome";
const NEW_YORK: &str = "America/New_York";
const LORD_HOWE: &str = "Australia/Lord_Howe";

/// Reads an instant such as `2026-03-29T00:59`.
fn at(text: &str) -> Timestamp {
    let read: jiff::Timestamp = format!("{text}:00Z").parse().unwrap();
    Timestamp::from_micros(read.as_microsecond())
}

/// Shows an instant in the same form.
fn shown(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix(":00.000000Z").unwrap().to_owned()
}

/// A schedule comes next at these instants, one after the other.
#[track_caller]
fn comes(pattern: &str, zone: &str, after: &str, expected: &[&str]) {
    let schedule = Schedule::cron(pattern).unwrap().in_zone(zone).unwrap();
    let times = schedule.after(at(after)).take(expected.len()).map(shown);
    assert_eq!(times.collect::<Vec<_>>(), expected, "{schedule}");
}

#[test]
fn a_time_of_day_that_is_left_out_comes_when_the_clock_is_put_forward() {
    let rome = ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"];
    comes("30 2 * * *", ROME, "2026-03-28T01:00", &rome);
    let new_york = ["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"];
    comes("30 2 * * *", NEW_YORK, "2026-03-07T07:00", &new_york);
    let lord_howe = ["2026-10-02T15:45", "2026-10-03T15:30", "2026-10-04T15:15"];
    comes("15 2 * * *", LORD_HOWE, "2026-10-02T15:30", &lord_howe);
}

#[test]
fn several_times_of_day_that_are_left_out_together_come_once() {
    let times = ["2026-03-29T01:00", "2026-03-29T02:10"];
    comes(
        "0,20,40 2,3 29 3 *",
        ROME,
        "2026-03-29T00:59",
        &["2026-03-29T01:00"],
    );
    comes("10,50 2,4 29 3 *", ROME, "2026-03-28T23:00", &times);
}

#[test]
fn a_time_of_day_that_is_shown_twice_comes_the_first_time() {
    let rome = ["2026-10-25T00:30", "2026-10-26T01:30"];
    comes("30 2 * * *", ROME, "2026-10-24T12:00", &rome);
    let new_york = ["2026-11-01T05:30", "2026-11-02T06:30"];
    comes("30 1 * * *", NEW_YORK, "2026-10-31T12:00", &new_york);
    let lord_howe = ["2026-04-04T14:45", "2026-04-05T15:15"];
    comes("45 1 * * *", LORD_HOWE, "2026-04-04T12:00", &lord_howe);
}

#[test]
fn asked_between_the_two_showings_it_is_the_next_day() {
    comes(
        "30 2 * * *",
        ROME,
        "2026-10-25T00:45",
        &["2026-10-26T01:30"],
    );
    comes(
        "30 2 * * *",
        ROME,
        "2026-10-25T01:15",
        &["2026-10-26T01:30"],
    );
    comes(
        "45 1 * * *",
        LORD_HOWE,
        "2026-04-04T15:05",
        &["2026-04-05T15:15"],
    );
}

#[test]
fn lists_and_ranges_of_hours_are_times_of_day_too() {
    comes(
        "30 2,14 * * *",
        ROME,
        "2026-03-29T00:00",
        &["2026-03-29T01:00", "2026-03-29T12:30"],
    );
    comes(
        "30 2,14 * * *",
        ROME,
        "2026-10-25T00:00",
        &["2026-10-25T00:30", "2026-10-25T13:30"],
    );
    comes(
        "0 1-3 * * *",
        ROME,
        "2026-10-24T22:00",
        &["2026-10-24T23:00", "2026-10-25T00:00", "2026-10-25T02:00"],
    );
}

#[test]
fn what_goes_by_real_time_goes_on_where_the_clock_is_put_forward() {
    comes(
        "*/30 * * * *",
        ROME,
        "2026-03-29T00:00",
        &["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"],
    );
    comes(
        "0 * * * *",
        NEW_YORK,
        "2026-03-08T05:30",
        &["2026-03-08T06:00", "2026-03-08T07:00", "2026-03-08T08:00"],
    );
    comes(
        "*/30 * * * *",
        LORD_HOWE,
        "2026-10-03T14:59",
        &["2026-10-03T15:00", "2026-10-03T15:30", "2026-10-03T16:00"],
    );
}

#[test]
fn what_goes_by_real_time_goes_on_where_the_clock_is_put_back() {
    comes(
        "*/30 * * * *",
        ROME,
        "2026-10-25T00:00",
        &[
            "2026-10-25T00:30",
            "2026-10-25T01:00",
            "2026-10-25T01:30",
            "2026-10-25T02:00",
        ],
    );
    comes(
        "@hourly",
        NEW_YORK,
        "2026-11-01T04:30",
        &["2026-11-01T05:00", "2026-11-01T06:00", "2026-11-01T07:00"],
    );
    comes(
        "*/30 * * * *",
        LORD_HOWE,
        "2026-04-04T14:00",
        &["2026-04-04T14:30", "2026-04-04T15:00", "2026-04-04T15:30"],
    );
}

#[test]
fn what_goes_by_real_time_in_an_hour_that_is_left_out_does_not_come_that_day() {
    comes(
        "*/30 2 * * *",
        ROME,
        "2026-03-28T01:15",
        &["2026-03-28T01:30", "2026-03-30T00:00", "2026-03-30T00:30"],
    );
}

#[test]
fn what_goes_by_real_time_in_an_hour_that_is_shown_twice_comes_in_both() {
    comes(
        "*/30 2 * * *",
        ROME,
        "2026-10-24T12:00",
        &[
            "2026-10-25T00:00",
            "2026-10-25T00:30",
            "2026-10-25T01:00",
            "2026-10-25T01:30",
            "2026-10-26T01:00",
        ],
    );
}

#[test]
fn a_day_that_a_place_left_out_comes_when_the_next_one_begins() {
    // Samoa crossed the date line: after the 29th of December 2011 came the 31st.
    comes(
        "0 5 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00",
        &["2011-12-29T15:00", "2011-12-30T10:00", "2011-12-30T15:00"],
    );
}

#[test]
fn an_interval_is_the_same_everywhere_and_counted_from_its_anchor() {
    let every: Schedule = "every 45m from 2026-01-01T00:20:00Z".parse().unwrap();
    let times: Vec<_> = every
        .after(at("2026-01-01T00:19"))
        .take(3)
        .map(shown)
        .collect();
    assert_eq!(
        times,
        ["2026-01-01T00:20", "2026-01-01T01:05", "2026-01-01T01:50"]
    );
    let before = every.next_after(at("2025-12-31T23:30")).map(shown);
    assert_eq!(before.as_deref(), Some("2025-12-31T23:35"));
}
