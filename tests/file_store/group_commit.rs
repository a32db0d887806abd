//! Operations that arrive together share an append, and nothing else.
#![cfg(test)]

use std::fs::File;
use std::thread;

use votive::store::{Error, Kind};

use crate::fixture::{Client, Place, done, place};

type Outcome = Result<(), Error>;
type Task<'t> = &'t (dyn Fn(&Client) -> Outcome + Sync);

/// Has several threads do something at once, while somebody else keeps them all waiting.
fn together(client: &Client, place: &Place, tasks: &[Task<'_>]) -> Vec<Outcome> {
    let blocker = File::open(place.path.join("lock")).unwrap();
    blocker.lock().unwrap();
    thread::scope(|threads| {
        let threads: Vec<_> = tasks
            .iter()
            .map(|task| threads.spawn(move || task(client)))
            .collect();
        while client.store.writes_waiting() < tasks.len() {
            thread::yield_now();
        }
        blocker.unlock().unwrap();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn enqueue(client: &Client) -> Outcome {
    client.enqueue().map(drop)
}

#[test]
fn what_waits_together_is_flushed_together() {
    let place = place();
    let client = Client::open(&place.path);
    let before = client.store.flush_count();
    let tasks: [Task<'_>; 16] = [&enqueue; 16];
    let outcomes = together(&client, &place, &tasks);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(client.task_count(), 16);
    assert!(client.store.flush_count() - before <= 2);
}

#[test]
fn a_refused_member_takes_nobody_along() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue().unwrap();
    let claim = client.claim().remove(0);
    client.apply(vec![done(&claim)]).unwrap();
    let settle_again = |client: &Client| client.apply(vec![done(&claim)]);
    let tasks: [Task<'_>; 4] = [&enqueue, &settle_again, &enqueue, &settle_again];
    let mut outcomes = together(&client, &place, &tasks);
    assert!(outcomes.iter().step_by(2).all(Result::is_ok));
    let refused = outcomes.swap_remove(1).unwrap_err();
    assert_eq!(refused.kind, Kind::ClaimLost(claim.record.id));
    assert_eq!(client.task_count(), 2);
    client.is_healthy();
}

#[test]
fn every_task_is_claimed_once_while_others_are_appended() {
    const TASKS: usize = 400;
    let place = place();
    let client = Client::open(&place.path);
    let claimed = thread::scope(|threads| {
        let enqueue = || client.enqueue_many(TASKS / 4);
        let producers = [(); 4].map(|()| threads.spawn(enqueue));
        let mut claimed = 0;
        while producers.iter().any(|producer| !producer.is_finished()) {
            claimed += client.claim_up_to(3).len();
        }
        claimed
    });
    assert_eq!(claimed + client.claim_up_to(TASKS).len(), TASKS);
    client.is_healthy();
}
