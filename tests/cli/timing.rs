//! `votive periodic` and `votive reschedule`: when things are.
#![cfg(test)]

use votive::{Consumer, Periodic, Registry, Schedule, Task};

use crate::desk::{Desk, NOBODY};

#[derive(serde::Serialize, serde::Deserialize)]
struct Sweep {}

impl Task for Sweep {
    const KIND: &'static str = "sweep";
}

/// A desk at which a consumer has kept the entry `nightly`.
fn kept() -> Desk {
    let desk = Desk::new();
    let schedule: Schedule = "0 5 * * * in Europe/Rome".parse().unwrap();
    let entry = Periodic::new("nightly", schedule, &Sweep {}).queue("night");
    let running = Consumer::builder(desk.store(), Registry::new())
        .periodic(entry)
        .start()
        .unwrap();
    for _ in 0..10_000 {
        if !desk.store().marks("periodic/").unwrap().is_empty() {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    running.stop();
    desk
}

#[test]
fn the_timetable_says_when_what_comes() {
    let desk = kept();
    let entry = &desk.json(&["periodic"])["entries"][0];
    assert_eq!(
        (&entry["name"], &entry["kind"]),
        (&"nightly".into(), &"sweep".into())
    );
    assert_eq!(
        (&entry["queue"], &entry["catch_up"]),
        (&"night".into(), &"once".into())
    );
    assert_eq!(
        entry["description"],
        "At 05:00, in the time of Europe/Rome."
    );
    assert_eq!(
        (&entry["overdue"], &entry["fired_for"]),
        (&false.into(), &().into())
    );
    assert_eq!(entry["next"].as_array().unwrap().len(), 3);
    let said = desk.run(&["periodic", "list"]);
    assert!(
        said.text.contains("nightly  0 5 * * * in Europe/Rome  in "),
        "{}",
        said.text
    );
}

#[test]
fn an_entry_can_be_forgotten() {
    let desk = kept();
    assert_eq!(
        desk.json(&["periodic", "remove", "nightly"])["removed"],
        "nightly"
    );
    assert_eq!(desk.run(&["periodic", "remove", "nightly"]).exit, 3);
    assert_eq!(desk.run(&["periodic"]).text, "no periodic entries\n");
}

#[test]
fn any_schedule_is_described_without_a_store() {
    let desk = Desk::empty();
    let after = "--after=2026-03-28T12:00:00Z";
    let said = desk.run(&[
        "periodic",
        "next",
        "30 2 * * *",
        "--tz=Europe/Rome",
        "--count=2",
        after,
    ]);
    assert_eq!(
        said.text,
        "At 02:30, in the time of Europe/Rome.\n\
         2026-03-29T01:00:00.000000Z  2026-03-29T03:00:00+02:00[Europe/Rome]\n\
         2026-03-30T00:30:00.000000Z  2026-03-30T02:30:00+02:00[Europe/Rome]\n"
    );
    let said = desk.run(&["periodic", "next", "0 25 * * *"]);
    assert_eq!(said.exit, 2);
    assert!(
        said.error.contains("`25` in `0 25 * * *` is no hour"),
        "{}",
        said.error
    );
}

#[test]
fn tasks_are_put_off_and_called_in() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    let at = |time: &str| desk.json(&["reschedule", &task, time])["changed"].clone();
    assert_eq!(at("--at=2100-01-01T00:00:00Z"), 1);
    assert_eq!(desk.state(&task), "scheduled");
    assert_eq!(
        desk.json(&["show", &task])["not_before"],
        "2100-01-01T00:00:00.000000Z"
    );
    assert_eq!(at("--now"), 1);
    assert_eq!(desk.state(&task), "ready");
    assert_eq!(at("--delay=2h"), 1);
    assert_eq!(desk.state(&task), "scheduled");
}

#[test]
fn to_reschedule_one_says_when_and_what() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["reschedule", NOBODY]).exit, 2);
    assert_eq!(
        desk.run(&["reschedule", NOBODY, "--now", "--delay=2h"])
            .exit,
        2
    );
    assert_eq!(desk.run(&["reschedule", NOBODY, "--now"]).exit, 3);
}

#[test]
fn a_task_that_is_enqueued_for_later_can_expire() {
    let desk = Desk::new();
    let times = [
        "--at=2100-01-01T00:00:00Z",
        "--expires=2100-01-02T00:00:00Z",
    ];
    let task = desk.enqueue(&[&["index", "{}"][..], &times].concat());
    let shown = desk.json(&["show", &task]);
    assert_eq!(shown["not_before"], "2100-01-01T00:00:00.000000Z");
    assert_eq!(shown["expires_at"], "2100-01-02T00:00:00.000000Z");
}
