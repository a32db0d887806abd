//! Tasks that nobody will run any more: they are listed and shown with their causes, retried singly or by
//! what they have in common, and purged by their age.
#![cfg(test)]

use std::time::Duration;

use serde_json::Value;
use votive::handler::{Context, Registry};
use votive::task::Record;
use votive::{Consumer, store::Interest};

use crate::desk::Desk;

#[derive(Debug, thiserror::Error)]
#[error("the page cannot be fetched")]
struct Unfetched(#[source] std::fmt::Error);

/// Enqueues tasks of these kinds, of which one attempt is all that they get, and has them fail.
fn dead(desk: &Desk, kinds: &[&str]) -> Vec<String> {
    let enqueue = |kind: &&str| desk.enqueue(&[*kind, "{}", "--attempts-max", "1"]);
    let tasks: Vec<String> = kinds.iter().map(enqueue).collect();
    let mut registry = Registry::new();
    registry.fallback(|_: &Record, _: &mut Context<'_>| Err(Unfetched(std::fmt::Error)));
    let store = desk.store();
    let running = Consumer::builder(store.clone(), registry).start().unwrap();
    let count = || {
        desk.json(&["list", "--state", "dead"])["tasks"]
            .as_array()
            .map(Vec::len)
    };
    for _ in 0..3_000 {
        if count() == Some(kinds.len()) {
            running.stop();
            return tasks;
        }
        let nothing = [Interest::Ready("nothing".to_owned())];
        store.wait(&nothing, Duration::from_millis(20)).unwrap();
    }
    panic!("the tasks do not die: {}", desk.run(&["list"]).text);
}

fn ids(listing: &Value) -> Vec<&str> {
    let tasks = listing["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| task["id"].as_str().unwrap())
        .collect()
}

#[test]
fn the_dead_are_listed_and_shown_with_the_chain_of_their_causes() {
    let desk = Desk::new();
    let tasks = dead(&desk, &["fetch"]);
    assert_eq!(ids(&desk.json(&["list", "--state", "dead"])), tasks);
    let listed = desk.run(&["list", "--state", "dead"]).text;
    assert!(listed.contains("the page cannot be fetched"), "{listed}");
    let shown = desk.run(&["show", &tasks[0]]).text;
    let cause = std::fmt::Error.to_string();
    assert!(shown.contains("the page cannot be fetched"), "{shown}");
    assert!(shown.contains(&format!("because: {cause}")), "{shown}");
}

#[test]
fn the_dead_are_retried_singly_or_by_what_they_have_in_common() {
    let desk = Desk::new();
    let tasks = dead(&desk, &["fetch", "mail", "mail"]);
    assert_eq!(desk.json(&["retry", &tasks[1]])["changed"], 1);
    assert_eq!(desk.state(&tasks[1]), "ready");
    assert_eq!(desk.json(&["retry", "--kind", "mail"])["changed"], 1);
    assert_eq!(desk.state(&tasks[2]), "ready");
    assert_eq!(desk.state(&tasks[0]), "dead");
    assert_eq!(desk.json(&["show", &tasks[1]])["attempts"], 0);
}

#[test]
fn the_dead_are_purged_by_their_age() {
    let desk = Desk::new();
    let tasks = dead(&desk, &["fetch"]);
    let purge = |age: &str| {
        desk.json(&["purge", "--state", "dead", "--older-than", age, "--yes"])["changed"].clone()
    };
    assert_eq!(purge("1h"), 0);
    assert_eq!(purge("0s"), 1);
    assert_eq!(desk.run(&["show", &tasks[0]]).exit, 3);
}
