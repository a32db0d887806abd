//! A large backlog: what it takes in memory, and what it does not take to claim from it.
#![cfg(test)]

use crate::child::{self, Task};
use crate::fixture::{Client, place};

/// How many tasks there are.
const BACKLOG: usize = 100_000;

/// How many bytes of memory a pending task may take.
const BYTES_MAX: usize = 300;

#[test]
fn a_backlog_takes_little_memory() {
    let place = place();
    Client::open(&place.path).fill(BACKLOG);
    let mut child = child::start(Task::Weigh, &place.path);
    let bytes: usize = child::said(&mut child).parse().unwrap();
    child::end(child);
    let each = bytes / BACKLOG;
    assert!(each <= BYTES_MAX, "{each} bytes for each task");
}

/// How many tasks 100 claims look at.
fn visits(backlog: usize) -> u64 {
    let place = place();
    let client = Client::open(&place.path);
    client.fill(backlog);
    let before = client.store.visit_count();
    for _ in 0..10 {
        assert_eq!(client.claim().len(), 10);
    }
    client.store.visit_count() - before
}

#[test]
fn a_claim_looks_at_as_many_tasks_whatever_the_backlog() {
    assert_eq!(visits(1_000), visits(1_000_000));
}
