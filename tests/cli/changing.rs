//! `votive retry`, `cancel`, `move` and `purge`: what is meant is changed, and nothing else.
#![cfg(test)]

use std::time::Duration;

use votive::id::{ConsumerId, Incarnation};
use votive::store::{ClaimRequest, Want};

use crate::desk::{Desk, NOBODY};

#[test]
fn a_cancelled_task_is_retried_by_its_id() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.json(&["cancel", &task])["changed"], 1);
    assert_eq!(desk.state(&task), "cancelled");
    assert_eq!(desk.json(&["retry", &task])["changed"], 1);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_scheduled_task_is_retried_at_once() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}", "--delay", "1h"]);
    assert_eq!(desk.run(&["retry", &task]).exit, 0);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_task_that_does_not_allow_it_is_skipped_and_named() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    let said = desk.run(&["retry", &task]);
    assert_eq!(said.exit, 5);
    assert!(
        said.text.contains(&format!("skipped {task}: it is ready")),
        "{}",
        said.text
    );
}

#[test]
fn a_filter_cancels_what_it_means_and_nothing_else() {
    let desk = Desk::new();
    let kept = desk.enqueue(&["index", "{}"]);
    let gone = desk.enqueue(&["mail", "{}"]);
    assert_eq!(
        desk.json(&["cancel", "--kind", "mail", "--yes"])["changed"],
        1
    );
    assert_eq!(desk.state(&kept), "ready");
    assert_eq!(desk.state(&gone), "cancelled");
}

#[test]
fn tasks_move_to_another_queue() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    assert_eq!(
        desk.run(&["move", "--queue", "default", "--to", "slow"])
            .exit,
        0
    );
    assert_eq!(desk.json(&["show", &task])["queue"], "slow");
}

#[test]
fn a_purge_takes_what_has_ended() {
    let desk = Desk::new();
    let ended = desk.enqueue(&["index", "{}"]);
    desk.enqueue(&["index", "{}"]);
    desk.run(&["cancel", &ended]);
    assert_eq!(
        desk.json(&["purge", "--all", "--older-than", "1h", "--yes"])["changed"],
        0
    );
    assert_eq!(desk.json(&["purge", "--all", "--yes"])["changed"], 1);
    assert_eq!(desk.run(&["show", &ended]).exit, 3);
    assert_eq!(desk.json(&["stats"])["pending"], 1);
}

#[test]
fn more_tasks_than_one_transaction_takes_are_all_changed() {
    let desk = Desk::new();
    let lines = "{}\n".repeat(450);
    desk.run_with_input(&["enqueue", "index", "-", "--lines"], &lines);
    assert_eq!(desk.json(&["cancel", "--all", "--yes"])["changed"], 450);
}

#[test]
fn what_cannot_be_undone_asks_and_without_a_terminal_refuses() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    let said = desk.run(&["cancel", "--all"]);
    assert_eq!(said.exit, 2);
    assert!(said.error.contains("--yes"), "{}", said.error);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_command_without_a_selection_changes_nothing() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.run(&["cancel", "--yes"]).exit, 2);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_state_that_a_command_never_fits_is_wrong_usage() {
    let said = Desk::new().run(&["purge", "--state", "ready", "--yes"]);
    assert_eq!(said.exit, 2, "{}", said.error);
}

#[test]
fn an_unknown_id_stops_the_command_before_anything_changes() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    assert_eq!(desk.run(&["cancel", &task, NOBODY]).exit, 3);
    assert_eq!(desk.state(&task), "ready");
}

#[test]
fn a_claimed_task_is_left_to_its_consumer() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    let store = desk.store();
    let lease = Duration::from_secs(60);
    let presence = store.attend(Incarnation::random(), lease).unwrap();
    let consumer = ConsumerId {
        incarnation: presence.incarnation(),
        name: "web-1".to_owned(),
    };
    let (queue, count) = ("default".to_owned(), 1);
    let wants = vec![Want { queue, count }];
    let request = ClaimRequest {
        consumer,
        wants,
        lease,
    };
    store.claim(&request, store.now().unwrap()).unwrap();
    assert_eq!(desk.run(&["cancel", &task]).exit, 5);
    assert_eq!(desk.json(&["show", &task])["holder"]["name"], "web-1");
}
