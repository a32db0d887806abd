//! Several processes on one file, one that dies, and one that forks.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use votive::id::Incarnation;
use votive::register::Register;
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{Arrival, Dispatch, Inspect, Interest, Kind};

use crate::child::{self, Task};
use crate::fixture::{Client, NOW, place};

#[test]
fn two_processes_write_to_one_file_and_lose_nothing() {
    let place = place();
    let client = Client::open(&place.path);
    let mut child = child::start(Task::Enqueue, &place.path);
    client.enqueue_many(50);
    assert_eq!(child::said(&mut child), "enqueued");
    child::end(child);
    assert_eq!(client.task_count(), 100);
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

/// Another name of a file, which is too long for SQLite.
fn long_name(path: &Path) -> PathBuf {
    let folder = path.with_file_name(vec!["f".repeat(200); 3].join("/"));
    fs::create_dir_all(&folder).unwrap();
    let name = folder.join("queue.db");
    fs::hard_link(path, &name).unwrap();
    name
}

#[test]
fn a_file_that_cannot_be_opened_once_more_stays_locked_by_those_who_have_it_open() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue().unwrap();
    SqliteStore::open(long_name(&place.path), Options::default()).unwrap_err();
    let mut child = child::start(Task::Open, &place.path);
    assert_eq!(child::said(&mut child), "opened");
    child::end(child);
    // Who closes a file that nobody else has open deletes its log.
    assert!(place.path.with_file_name("queue.db-wal").exists());
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
fn the_departed_are_named_by_their_free_locks() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue().unwrap();
    let mut child = child::start(Task::Claim, &place.path);
    child::said(&mut child);
    assert!(Dispatch::departed(&client.store, NOW).unwrap().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Dispatch::departed(&client.store, NOW).unwrap().len(), 1);
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
