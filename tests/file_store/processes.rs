//! Several processes on one folder, one that dies, and one that forks.
#![cfg(test)]

use std::time::Duration;

use votive::id::Incarnation;
use votive::register::Register;
use votive::store::file::Options;
use votive::store::{Arrival, Dispatch, Inspect, Interest, Kind};

use crate::child::{self, Task};
use crate::fixture::{Client, NOW, place};

#[test]
fn three_processes_write_to_one_folder_and_lose_nothing() {
    let place = place();
    let client = Client::open(&place.path);
    let mut children = [(); 2].map(|()| child::start(Task::Enqueue, &place.path));
    client.enqueue_many(50);
    for child in &mut children {
        assert_eq!(child::said(child), "enqueued");
    }
    children.into_iter().for_each(child::end);
    assert_eq!(client.task_count(), 150);
    client.is_healthy();
}

#[test]
fn a_commit_of_another_process_wakes_who_waits_without_polling() {
    let place = place();
    let hour = Duration::from_secs(3_600);
    let client = Client::open_with(&place.path, Options::default().poll_interval(hour));
    let child = child::start(Task::Enqueue, &place.path);
    let ready = Interest::Ready("default".to_owned());
    let woken = client.store.wait(std::slice::from_ref(&ready), hour);
    assert_eq!(woken.unwrap(), Some(ready));
    child::end(child);
}

#[test]
fn the_claims_of_a_process_are_its_own_until_it_is_killed() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue().unwrap();
    let mut child = child::start(Task::Claim, &place.path);
    assert_eq!(child::said(&mut child), "claimed 1");
    assert_eq!(client.claim(), []);
    child.kill().unwrap();
    child.wait().unwrap();
    let claims = client.claim();
    assert_eq!(claims[0].arrival, Arrival::Reclaimed);
    assert_eq!(claims[0].record.counts.reclaims, 1);
}

#[test]
fn a_fork_is_told_to_open_the_store_again() {
    let place = place();
    let client = Client::open(&place.path);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let refused = client.store.stats().unwrap_err().kind == Kind::Forked
                && client.enqueue().unwrap_err().kind == Kind::Forked;
            std::process::exit(if refused { 7 } else { 1 });
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            assert_eq!(fork::WEXITSTATUS(status), 7);
        }
    }
    client.enqueue().unwrap();
}

#[test]
fn an_incarnation_is_proved_alive_before_it_is_enrolled() {
    let place = place();
    let (one, other) = (place.open().unwrap(), place.open().unwrap());
    let incarnation = Incarnation::random();
    one.enroll(incarnation, NOW).unwrap();
    one.drop_incarnation(incarnation).unwrap();
    // Its lock is held, so the other cannot prove that it lives.
    other.enroll(incarnation, NOW).unwrap_err();
    assert!(one.incarnations().unwrap().is_empty());
}

#[test]
fn what_one_handle_does_the_other_sees_at_once() {
    let place = place();
    let (one, other) = (Client::open(&place.path), Client::open(&place.path));
    let task = one.enqueue().unwrap();
    assert_eq!(other.claim()[0].record.id, task);
    assert_eq!(one.claim(), []);
}
