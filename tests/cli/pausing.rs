//! Pausing a queue, and seeing that it is.
#![cfg(test)]

use crate::desk::Desk;
use serde_json::Value;

#[test]
fn a_paused_queue_is_shown_with_the_reason_until_it_is_resumed() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    let paused = desk.json(&["queue", "pause", "default", "--reason", "moving house"]);
    assert_eq!(paused["queues"][0]["status"], "disabled");
    let listed = desk.json(&["queue", "list"]);
    assert_eq!(listed["queues"][0]["paused_because"], "moving house");
    assert_eq!(desk.json(&["stats"])["queues"][0]["status"], "disabled");
    let resumed = desk.json(&["queue", "resume", "default"]);
    assert_eq!(resumed["queues"][0]["status"], "ready");
    assert_eq!(resumed["queues"][0]["paused_because"], Value::Null);
}

#[test]
fn a_paused_queue_without_tasks_is_listed_for_people() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["queue", "list"]).text, "no queues\n");
    desk.run(&["queue", "pause", "later", "--reason", "not yet"]);
    let said = desk.run(&["queue", "list"]);
    assert!(said.text.contains("later"), "{}", said.text);
    assert!(said.text.contains("not yet"), "{}", said.text);
    assert!(desk.run(&["stats"]).text.contains("disabled"));
}

#[test]
fn tasks_are_enqueued_into_a_paused_queue() {
    let desk = Desk::new();
    desk.run(&["queue", "pause", "default"]);
    let task = desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_queue_needs_a_name_to_be_paused() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["queue", "pause", ""]).exit, 2);
}
