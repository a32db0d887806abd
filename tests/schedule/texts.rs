//! The texts of schedules: read, written, described, and refused with a reason.
#![cfg(test)]

use std::time::Duration;

use votive::schedule::{Schedule, ScheduleError};
use votive::time::Timestamp;

fn refused(text: &str) -> String {
    text.parse::<Schedule>().unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_again() {
    for text in [
        "0 5 * * *",
        "*/10 0 5 1,15 JAN-MAR MON#2 in America/New_York",
        "@daily",
        "every 1h 30m",
        "every 90s from 2026-01-01T00:20:00Z",
    ] {
        let schedule: Schedule = text.parse().unwrap();
        let written = schedule.to_string();
        assert_eq!(written.parse(), Ok(schedule), "{written}");
    }
    assert_eq!(
        "0  5 * * *  in europe/rome"
            .parse::<Schedule>()
            .unwrap()
            .to_string(),
        "0 5 * * * in Europe/Rome"
    );
}

#[test]
fn a_schedule_says_what_it_is() {
    let describe = |text: &str| text.parse::<Schedule>().unwrap().describe();
    assert_eq!(
        describe("0 5 * * * in Europe/Rome"),
        "At 05:00, in the time of Europe/Rome."
    );
    assert_eq!(
        describe("*/15 * * * *"),
        "At every 15 minutes, in the time of UTC."
    );
    assert_eq!(describe("every 90s"), "Every 1m 30s.");
    assert_eq!(
        describe("every 1h from 2026-01-01T00:20:00Z"),
        "Every 1h, counted from 2026-01-01T00:20:00Z."
    );
}

#[test]
fn an_error_names_the_field_where_it_is_and_what_is_allowed() {
    let error = Schedule::cron("0 25 * * *").unwrap_err();
    let ScheduleError::Field { text, at, name, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((&text[at.clone()], *name), ("25", "hour"));
    assert!(error.to_string().contains("write 0-23"), "{error}");
    let error = Schedule::cron("61 0 5 * * *").unwrap_err();
    assert!(matches!(error, ScheduleError::Field { at, name: "second", .. } if at == (0..2)));
}

#[test]
fn a_name_where_a_number_belongs_is_refused() {
    assert!(refused("MON 5 * * *").contains("`MON` does not belong there"));
    assert!(refused("0 5 JAN * *").contains("no day of the month"));
    assert!(refused("0 5 * MON *").contains("no month"));
    assert!("0 5 LW JAN,feb +mon".parse::<Schedule>().is_ok());
}

#[test]
fn what_is_no_schedule_is_refused_with_what_would_be_one() {
    assert!(refused("0 5 *").contains("3 fields instead of 5 or 6"));
    assert!(refused("").contains("instead of 5 or 6"));
    assert!(refused("0 5 * * * * 2027").contains("7 fields"));
    assert!(refused("@midnight").contains("`@daily`"));
    assert!(refused("5/10 * * * *").contains("no minute"));
    assert!(refused("0 0 30 2 *").contains("never comes"));
    assert!(refused("every fortnight").contains("`1h 30m`"));
    assert!(refused("every 1h from noon").contains("2026-01-01T00:20:00Z"));
}

#[test]
fn a_misspelt_zone_is_answered_with_the_one_that_was_meant() {
    assert!(refused("0 5 * * * in Europe/Roma").contains("did you mean `Europe/Rome`?"));
    assert!(refused("0 5 * * * in Rome").contains("did you mean `Europe/Rome`?"));
    assert!(refused("0 5 * * * in 12345").contains("write one such as"));
}

#[test]
fn intervals_are_whole_seconds() {
    for wrong in [Duration::ZERO, Duration::from_millis(1_500), Duration::MAX] {
        let error = Schedule::every(wrong).unwrap_err();
        assert!(matches!(error, ScheduleError::Interval { .. }), "{error}");
    }
    assert!(Schedule::every(Duration::from_secs(1)).is_ok());
}

#[test]
fn a_zone_for_an_interval_and_an_anchor_for_a_pattern_are_refused() {
    let every = Schedule::every(Duration::from_secs(60)).unwrap();
    assert!(matches!(
        every.in_zone("UTC"),
        Err(ScheduleError::Misplaced { .. })
    ));
    let daily = Schedule::cron("@daily").unwrap();
    assert!(matches!(
        daily.anchored_at(Timestamp::EPOCH),
        Err(ScheduleError::Misplaced { .. })
    ));
}

#[test]
fn outside_the_calendar_there_is_no_next_time() {
    let daily = Schedule::cron("@daily").unwrap();
    for end in [i64::MIN, i64::MAX] {
        assert_eq!(daily.next_after(Timestamp::from_micros(end)), None);
    }
    let every = Schedule::every(Duration::from_secs(1)).unwrap();
    assert_eq!(every.next_after(Timestamp::from_micros(i64::MAX)), None);
}
