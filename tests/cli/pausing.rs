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

#[test]
fn a_full_queue_takes_no_task_and_says_so() {
    let desk = Desk::new();
    let set = desk.json(&[
        "queue",
        "set",
        "default",
        "--capacity",
        "1",
        "--rate",
        "10/1s",
    ]);
    assert_eq!(set["queues"][0]["capacity"], 1);
    assert_eq!(set["queues"][0]["rate"]["starts"], 10);
    desk.enqueue(&["index", "{}"]);
    let said = desk.run(&["enqueue", "index", "{}"]);
    assert_eq!(said.exit, 5, "{}", said.error);
    assert!(said.error.contains("is full"), "{}", said.error);
    let set = desk.json(&["queue", "set", "default", "--capacity", "none"]);
    assert_eq!(set["queues"][0]["capacity"], Value::Null);
    assert_eq!(set["queues"][0]["rate"]["burst"], 1);
    desk.enqueue(&["index", "{}"]);
}

#[test]
fn a_queue_that_takes_nothing_more_is_resuming_until_it_is_empty() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    let set = desk.json(&["queue", "set", "default", "--capacity", "0"]);
    assert_eq!(set["queues"][0]["status"], "resuming");
    desk.run(&["cancel", "--all", "--yes"]);
    assert_eq!(desk.json(&["stats"])["queues"][0]["status"], "disabled");
}

#[test]
fn a_kind_that_goes_first_is_enqueued_with_priority_0() {
    let desk = Desk::new();
    desk.run(&["queue", "set", "default", "--top", "mail,password"]);
    let task = desk.enqueue(&["mail", "{}"]);
    assert_eq!(desk.json(&["show", &task])["priority"], 0);
    let said = desk.run(&["queue", "list"]);
    assert!(said.text.contains("mail,password"), "{}", said.text);
    assert_eq!(desk.run(&["queue", "set", "default"]).exit, 2);
}

#[test]
fn what_a_step_of_priority_is_worth_is_said_and_shown() {
    let desk = Desk::new();
    let set = desk.json(&["queue", "set", "default", "--ageing", "1m"]);
    assert_eq!(set["queues"][0]["ageing_seconds"], 60.0);
    let task = desk.enqueue(&["mail", "{}"]);
    let said = desk.run(&["show", &task]);
    assert!(said.text.contains("ageing"), "{}", said.text);
    assert_eq!(desk.json(&["show", &task])["ageing_seconds"], 60.0);
    let absurd = desk.run(&["queue", "set", "default", "--ageing", "31days"]);
    assert!(
        absurd.exit != 0 && absurd.error.contains("2592000 s at most"),
        "{}",
        absurd.error
    );
    let set = desk.json(&["queue", "set", "default", "--ageing", "none"]);
    assert_eq!(set["queues"][0]["ageing_seconds"], Value::Null);
}

#[test]
fn how_many_tasks_of_a_kind_may_run_at_once_is_said_and_shown() {
    let desk = Desk::new();
    let set = desk.json(&["queue", "set", "default", "--limit", "mail=1,index=4"]);
    assert_eq!(set["queues"][0]["kind_limits"]["index"], 4);
    let tasks = [(); 2].map(|()| desk.enqueue(&["mail", "{}"]));
    assert_eq!(desk.state(&tasks[0]), "ready");
    assert_eq!(desk.state(&tasks[1]), "waiting");
    assert!(desk.run(&["show", &tasks[0]]).text.contains("group limit"));
    assert_eq!(desk.json(&["show", &tasks[0]])["group_limit"], 1);
    let said = desk.run(&["queue", "list"]);
    assert!(said.text.contains("index=4,mail=1"), "{}", said.text);
    let absurd = desk.run(&["queue", "set", "default", "--limit", "mail=0"]);
    assert!(
        absurd.exit != 0 && absurd.error.contains("1 to 1000"),
        "{}",
        absurd.error
    );
    let set = desk.json(&["queue", "set", "default", "--limit", "none"]);
    assert_eq!(set["queues"][0]["kind_limits"], serde_json::json!({}));
    assert_eq!(
        desk.run(&["queue", "set", "default", "--limit", "mail"])
            .exit,
        2
    );
}

#[test]
fn a_task_is_enqueued_with_the_limit_of_its_group() {
    let desk = Desk::new();
    let placed = ["mail", "{}", "--group", "printer", "--group-limit", "2"];
    let tasks = [(); 3].map(|()| desk.enqueue(&placed));
    let states = tasks.each_ref().map(|task| desk.state(task));
    assert_eq!(states, ["ready", "ready", "waiting"]);
    assert_eq!(
        desk.run(&["enqueue", "mail", "{}", "--group-limit", "2"])
            .exit,
        2
    );
}
