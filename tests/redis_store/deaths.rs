//! The server is killed and started again while it is at work, and nothing is lost or doubled.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use votive::id::TaskId;
use votive::register::{Decision, Register};
use votive::store::{Change, Claim, Dispatch, Inspect, Interest, Kind};

use crate::fixture::{Client, LONG, done, eventually, insert, server, tell};

/// How often the server is killed.
const KILLS: usize = 6;

/// How much is done between two kills.
const TASKS: usize = 30;

/// Applies a change whatever becomes of the server; returns whether it was made, or why it cannot be.
fn commit(client: &Client, change: &Change) -> Result<bool, Kind> {
    let txn = client.txn();
    match client.apply_as(txn, vec![change.clone()]) {
        Ok(_) => return Ok(true),
        Err(error) if error.is_retryable() => return Ok(false),
        Err(error) if error.is_definite() => return Err(error.kind),
        Err(_) => {}
    }
    let mut decision = None;
    eventually(|| {
        let answer = client.store.decide(txn, Decision::Aborted, &[]);
        decision = answer.ok().and_then(votive::register::Answer::as_owner);
        decision.is_some()
    });
    Ok(decision == Some(Decision::Committed))
}

/// What producers were told is there, and what consumers were told they did.
#[derive(Default)]
struct Books {
    enqueued: Mutex<BTreeSet<TaskId>>,
    processed: Mutex<Vec<TaskId>>,
    is_over: AtomicBool,
}

impl Books {
    fn produce(&self, client: &Client) {
        while !self.is_over.load(Ordering::SeqCst) {
            let record = client.record();
            let id = record.id;
            if commit(client, &insert(record)).unwrap() {
                self.enqueued.lock().insert(id);
            }
        }
    }

    /// Settles a claim, unless it ended with the server that gave it out.
    fn finish(&self, client: &Client, claim: &Claim) {
        let mut settled = Ok(false);
        eventually(|| {
            settled = commit(client, &done(claim));
            settled != Ok(false)
        });
        match settled {
            Ok(_) => self.processed.lock().push(claim.record.id),
            Err(kind) => assert_eq!(kind, Kind::ClaimLost(claim.record.id)),
        }
    }

    /// Works until the end, and then until nothing is left.
    fn consume(&self, client: &Client) {
        loop {
            let is_over = self.is_over.load(Ordering::SeqCst);
            let claims = client.claim(4);
            let is_drained = claims.as_ref().is_ok_and(Vec::is_empty);
            for claim in claims.into_iter().flatten() {
                self.finish(client, &claim);
            }
            if is_over && is_drained {
                return;
            }
        }
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let Some(server) = server() else { return };
    let address = server.address();
    let clients: Vec<_> = (0..4).map(|_| Client::new(address)).collect();
    let books = Books::default();
    std::thread::scope(|threads| {
        for (number, client) in clients.iter().enumerate() {
            let books = &books;
            threads.spawn(move || match number {
                0 | 1 => books.produce(client),
                _ => books.consume(client),
            });
        }
        for kill in 1..=KILLS {
            eventually(|| books.processed.lock().len() >= kill * TASKS);
            server.restart().unwrap();
        }
        eventually(|| books.processed.lock().len() >= (KILLS + 1) * TASKS);
        books.is_over.store(true, Ordering::SeqCst);
    });
    // What a consumer had claimed when its answer was lost it claims again; then nothing is left.
    books.consume(&clients[2]);
    books.consume(&clients[3]);
    let processed = books.processed.into_inner();
    let once: BTreeSet<_> = processed.iter().copied().collect();
    assert_eq!(once.len(), processed.len(), "a task was done twice");
    let enqueued = books.enqueued.into_inner();
    let lost: Vec<_> = enqueued.difference(&once).collect();
    let unknown: Vec<_> = once.difference(&enqueued).collect();
    assert!(
        lost.is_empty() && unknown.is_empty(),
        "lost {lost:?}, unknown {unknown:?}"
    );
    assert_eq!(clients[0].store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn scripts_that_a_server_has_forgotten_are_sent_again() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    tell(&server, &["SCRIPT", "FLUSH"]);
    let task = client.enqueue();
    tell(&server, &["SCRIPT", "FLUSH"]);
    assert_eq!(client.claim(1).unwrap()[0].record.id, task);
}

#[test]
fn who_waits_is_woken_after_the_server_came_back() {
    let Some(server) = server() else { return };
    let (waiting, producing) = (Client::new(server.address()), Client::new(server.address()));
    let ready = Interest::Ready("default".to_owned());
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| {
            loop {
                match waiting.store.wait(std::slice::from_ref(&ready), LONG) {
                    Ok(found) => return found,
                    Err(error) => {
                        let is_outage = matches!(error.kind, Kind::Unknown | Kind::Unavailable);
                        assert!(is_outage, "{error}");
                    }
                }
            }
        });
        eventually(|| subscribers(&server) == 1);
        server.restart().unwrap();
        eventually(|| subscribers(&server) == 1);
        eventually(|| producing.apply(insert(producing.record())).is_ok());
        assert_eq!(waiter.join().unwrap(), Some(ready.clone()));
    });
}

/// How many listen for wake-ups.
fn subscribers(server: &votive_testbed::Redis) -> usize {
    let answer: Result<(String, usize), _> = redis::cmd("PUBSUB")
        .arg(&["NUMSUB", "{votive:default}:wake"])
        .query(&mut crate::fixture::connect(server));
    answer.map_or(0, |(_, count)| count)
}
