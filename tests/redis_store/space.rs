//! A server without room: nothing can be enqueued, all else goes on, and nothing half remains.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use votive::register::{Decision, Register};
use votive::store::{Amendment, Change, Inspect, Kind, Stage};
use votive::task::{State, StateSet};
use votive_testbed::Redis;

use crate::fixture::{Client, done, eventually, insert, kind, server, tell};

#[test]
fn a_server_whose_memory_is_full_refuses_new_tasks_and_lets_old_ones_be_done() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    client.enqueue();
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    assert_eq!(kind(client.apply(insert(client.record()))), Kind::Full);
    let staged = client.stage(client.txn(), insert(client.record()));
    assert_eq!(kind(staged), Kind::Full);
    let claims = client.claim(1).unwrap();
    client.apply(done(&claims[0])).unwrap();
    tell(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    assert!(client.is_visible(client.enqueue()));
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_staged_is_published_although_the_memory_is_full() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let (txn, record) = (client.txn(), client.record());
    let task = record.id;
    client.stage(txn, insert(record)).unwrap();
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let now = client.store.now().unwrap();
    client.store.publish(txn, now).unwrap();
    assert!(client.is_visible(task));
}

#[test]
fn whoever_comes_anew_to_a_server_whose_memory_is_full_works_off_what_is_there() {
    let Some(server) = server() else { return };
    let task = Client::new(server.address()).enqueue();
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let client = Client::new(server.address());
    let mark = Change::Mark {
        key: "name".to_owned(),
        expect: None,
        value: Some(b"mine".to_vec()),
    };
    client.apply(mark).unwrap();
    let cancel = Change::Amend {
        task,
        expect: StateSet::of(&[State::Ready]),
        amendment: Amendment::Cancel,
    };
    client.apply(cancel).unwrap();
    assert_eq!(kind(client.apply(insert(client.record()))), Kind::Full);
}

/// The file that the server begins with its next rewrite.
fn next_log(server: &Redis) -> PathBuf {
    let folder = server.folder().join("appendonlydir");
    folder.join("appendonly.aof.2.incr.aof")
}

#[test]
fn a_server_whose_disk_is_full_loses_nothing_that_it_acknowledged() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let task = client.enqueue();
    // Writes to this device fail as on a full disk. A server that cannot flush gives up.
    let log = next_log(&server);
    symlink("/dev/full", &log).unwrap();
    tell(&server, &["BGREWRITEAOF"]);
    let (txn, record) = (client.txn(), client.record());
    let lost = record.id;
    // The thread that renews leases may have been the one at whose write the server gave up: then it is gone already.
    let refused = kind(client.apply_as(txn, vec![insert(record)]));
    assert!(
        matches!(refused, Kind::Unknown | Kind::Unavailable),
        "{refused:?}"
    );
    fs::remove_file(&log).unwrap();
    fs::write(&log, "").unwrap();
    server.restart().unwrap();
    let mut decision = None;
    eventually(|| {
        decision = client.store.decide(txn, Decision::Aborted, &[]).ok();
        decision.is_some()
    });
    let committed = decision.and_then(votive::register::Answer::as_owner);
    assert_eq!(committed, Some(Decision::Aborted));
    assert_eq!(
        (client.is_visible(task), client.is_visible(lost)),
        (true, false)
    );
}
