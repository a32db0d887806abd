//! Writes that arrive together share a transaction, and nothing else.
#![cfg(test)]

use std::thread;

use votive::store::{Error, Inspect, Kind};

use crate::fixture::{Client, done, place};

/// Has `count` threads do something at once, while another program keeps them all waiting.
fn together(client: &Client, place: &crate::fixture::Place, tasks: &[Task<'_>]) -> Vec<Outcome> {
    let blocker = place.connection();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|threads| {
        let threads: Vec<_> = tasks
            .iter()
            .map(|task| threads.spawn(move || task(client)))
            .collect();
        while client.store.writes_waiting() < tasks.len() {
            thread::yield_now();
        }
        blocker.execute_batch("COMMIT").unwrap();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

type Outcome = Result<(), Error>;
type Task<'t> = &'t (dyn Fn(&Client) -> Outcome + Sync);

fn enqueue(client: &Client) -> Outcome {
    client.enqueue().map(drop)
}

#[test]
fn what_waits_together_is_committed_together() {
    let place = place();
    let client = Client::open(&place.path);
    let before = client.store.commit_count();
    let tasks: [Task<'_>; 16] = [&enqueue; 16];
    let outcomes = together(&client, &place, &tasks);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(client.task_count(), 16);
    assert!(client.store.commit_count() - before <= 2);
}

#[test]
fn a_refused_member_takes_nobody_along() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue().unwrap();
    let claim = client.claim().remove(0);
    client.apply(done(&claim)).unwrap();
    let settle_again = |client: &Client| client.apply(done(&claim));
    let tasks: [Task<'_>; 4] = [&enqueue, &settle_again, &enqueue, &settle_again];
    let mut outcomes = together(&client, &place, &tasks);
    assert!(outcomes.iter().step_by(2).all(Result::is_ok));
    let refused = outcomes.swap_remove(1).unwrap_err();
    assert_eq!(refused.kind, Kind::ClaimLost(claim.record.id));
    assert_eq!(client.task_count(), 2);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn one_that_is_kept_out_for_too_long_is_refused() {
    let place = place();
    let options = votive::store::sqlite::Options::default();
    let short = std::time::Duration::from_millis(50);
    let client = Client::open_with(&place.path, options.busy_timeout(short));
    let blocker = place.connection();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = client.enqueue().unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.is_retryable());
    blocker.execute_batch("COMMIT").unwrap();
    client.enqueue().unwrap();
}
