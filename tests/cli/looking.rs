//! Commands that look: each shows what is there, for people and for programs.
#![cfg(test)]

use crate::desk::Desk;
use serde_json::Value;

#[test]
fn stats_count_pending_and_scheduled_tasks() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    desk.enqueue(&["index", "{}", "--delay", "1h", "--queue", "slow"]);
    let stats = desk.json(&["stats"]);
    assert_eq!(
        (&stats["pending"], &stats["scheduled"]),
        (&1.into(), &1.into())
    );
    assert_eq!(stats["queues"][1]["counts"]["scheduled"], 1);
    assert_eq!(stats["backend"], "sqlite");
}

#[test]
fn stats_are_a_table_for_people() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    let said = desk.run(&["stats"]);
    assert!(said.text.contains("QUEUE"), "{}", said.text);
    assert!(said.text.contains("default"), "{}", said.text);
}

#[test]
fn a_listing_goes_on_where_its_cursor_says() {
    let desk = Desk::new();
    let ids: Vec<String> = (0..3).map(|_| desk.enqueue(&["index", "{}"])).collect();
    let first = desk.json(&["list", "--limit", "2"]);
    let cursor = first["next"].as_str().unwrap();
    let second = desk.json(&["list", "--limit", "2", "--cursor", cursor]);
    assert_eq!(first["tasks"][1]["id"], *ids[1]);
    assert_eq!(second["tasks"][0]["id"], *ids[2]);
    assert_eq!(second["next"], Value::Null);
}

#[test]
fn a_listing_is_filtered_by_queue_kind_state_and_object() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    let wanted = desk.enqueue(&["mail", "{}", "--queue", "out", "--about", "page-7"]);
    for filter in ["--queue=out", "--kind=mail", "--about=page-7"] {
        let found = desk.json(&["list", filter, "--state=dead,ready"]);
        assert_eq!(found["tasks"][0]["id"], *wanted, "{filter}");
        assert_eq!(found["tasks"].as_array().unwrap().len(), 1, "{filter}");
    }
    let dead = desk.json(&["list", "--state", "dead"]);
    assert_eq!(dead["tasks"], Value::Array(vec![]));
    let old = desk.json(&["list", "--older-than", "1h"]);
    assert_eq!(old["tasks"], Value::Array(vec![]));
}

#[test]
fn show_gives_the_payload_back_as_it_was_typed() {
    let desk = Desk::new();
    let payload = r#"{"b": 1, "a": 12345678901234567890123}"#;
    let task = desk.enqueue(&["index", payload]);
    let said = desk.run(&["show", &task]);
    assert!(said.text.contains(payload), "{}", said.text);
    let said = desk.run(&["show", &task, "--json"]);
    assert!(said.text.contains(payload), "{}", said.text);
}

#[test]
fn a_control_character_is_shown_and_not_obeyed() {
    let desk = Desk::new();
    let task = desk.enqueue(&["evil\u{1b}[2J", "{}"]);
    for arguments in [vec!["list"], vec!["show", &task]] {
        let said = desk.run(&arguments);
        assert!(!said.text.contains('\u{1b}'), "{}", said.text);
    }
}

#[test]
fn a_healthy_store_is_called_healthy() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.json(&["check"])["healthy"], true);
    assert_eq!(desk.run(&["check"]).text, "healthy\n");
}
