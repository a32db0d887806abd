//! `votive enqueue`: what is typed becomes a task, or nothing does.
#![cfg(test)]

use crate::desk::Desk;

#[test]
fn a_file_of_lines_is_a_task_for_each() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("all.jsonl"), "{\"n\":1}\n\n{\"n\":2}\n").unwrap();
    let said = desk.run(&["enqueue", "index", "--file", "all.jsonl", "--lines"]);
    assert_eq!(said.text.lines().count(), 2);
    assert_eq!(desk.json(&["stats"])["pending"], 2);
}

#[test]
fn one_bad_line_keeps_all_from_being_enqueued() {
    let desk = Desk::new();
    let said = desk.run_with_input(&["enqueue", "index", "-", "--lines"], "{}\n{oops\n");
    assert_eq!(said.exit, 2);
    assert!(
        said.error.contains("nothing was enqueued"),
        "{}",
        said.error
    );
    assert_eq!(desk.json(&["stats"])["pending"], 0);
}

#[test]
fn standard_input_is_a_payload() {
    let desk = Desk::new();
    let said = desk.run_with_input(&["enqueue", "index", "-"], "[1, 2]\n");
    let shown = desk.json(&["show", said.text.trim()]);
    assert_eq!(shown["payload"]["json"], serde_json::json!([1, 2]));
}

#[test]
fn a_negative_number_is_a_payload_and_no_option() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "-5"]);
    assert_eq!(desk.json(&["show", &task])["payload"]["json"], -5);
}

#[test]
fn what_the_producer_says_is_kept() {
    let desk = Desk::new();
    let said = [
        "--priority=3",
        "--group=g",
        "--about=x",
        "--about=y",
        "--user=eva",
    ];
    let more = [
        "--timeout=90s",
        "--attempts-max=2",
        "--not-before=2100-01-01T00:00:00Z",
    ];
    let task = desk.enqueue(&[&["index", "{}"][..], &said, &more].concat());
    let shown = desk.json(&["show", &task]);
    assert_eq!(shown["priority"], 3);
    assert_eq!(shown["about"], serde_json::json!(["x", "y"]));
    assert_eq!(
        (&shown["group"], &shown["user"]),
        (&"g".into(), &"eva".into())
    );
    assert_eq!(
        (&shown["timeout_seconds"], &shown["attempts_max"]),
        (&90.0.into(), &2.into())
    );
    assert_eq!(shown["state"], "scheduled");
    assert_eq!(shown["not_before"], "2100-01-01T00:00:00.000000Z");
}

#[test]
fn a_second_task_of_a_unique_key_merges_or_is_refused() {
    let desk = Desk::new();
    let first = desk.enqueue(&["index", "{}", "--unique", "page-7"]);
    let merged = desk.json(&["enqueue", "index", "{}", "--unique", "page-7"]);
    assert_eq!(merged["merged"][0]["into"], *first);
    let refused = ["--unique", "page-7", "--on-duplicate", "refuse"];
    let said = desk.run(&[&["enqueue", "index", "{}"][..], &refused].concat());
    assert_eq!(said.exit, 5, "{}", said.error);
    assert_eq!(desk.json(&["stats"])["pending"], 1);
}

#[test]
fn a_key_is_held_for_as_long_as_is_said() {
    let desk = Desk::new();
    let key = ["index", "{}", "--unique", "page-7"];
    let periods = ["--unique-after-enqueued=1h", "--unique-after-ended=10m"];
    let task = desk.enqueue(&[&key[..], &periods].concat());
    let hold = &desk.json(&["show", &task])["hold"];
    assert_eq!(hold["until_ended"], true);
    assert_eq!(hold["after_enqueued_seconds"], 3_600.0);
    assert_eq!(hold["after_ended_seconds"], 600.0);
    let shown = desk.run(&["show", &task]).text;
    let periods = "until it has ended, 1h after it was enqueued, 10m after it has ended";
    assert!(shown.contains(periods), "{shown}");
    let without_key = desk.run(&["enqueue", "index", "{}", "--unique-until-ended"]);
    assert_eq!(without_key.exit, 2, "{}", without_key.error);
}

#[test]
fn a_payload_over_the_limit_is_refused() {
    let desk = Desk::new();
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    let said = desk.run_with_input(&["enqueue", "index", "-"], &large);
    assert_eq!(said.exit, 2, "{}", said.error);
    assert!(said.error.contains("more than the limit"), "{}", said.error);
}

#[test]
fn the_first_task_makes_the_store() {
    let desk = Desk::empty();
    desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.json(&["stats"])["pending"], 1);
}

#[test]
fn a_payload_that_is_nested_too_deeply_is_refused() {
    let desk = Desk::new();
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let said = desk.run(&["enqueue", "index", &deep]);
    assert_eq!(said.exit, 2, "{}", said.error);
    assert_eq!(desk.json(&["stats"])["pending"], 0);
}
