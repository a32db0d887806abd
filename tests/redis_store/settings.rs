//! What a server must promise, what is found on it, and what is shown of it.
#![cfg(test)]

use std::error::Error as _;

use votive::id::Incarnation;
use votive::register::{Register, RegisterErrorKind, Tier};
use votive::store::redis::{Durability, RedisStore};
use votive::store::{Inspect, Kind};
use votive_testbed::{Redis, or_skip, redis};

use crate::fixture::{Client, connect, insert, kind, options, server, tell};

/// A store on a server with one setting changed, opened all the same.
fn store_with(name: &str, value: &str) -> Option<(Redis, RedisStore)> {
    let changed = redis::Options::default().setting(name, value);
    let server = or_skip(Redis::start(changed))?;
    let store = RedisStore::open(options(server.address())).unwrap();
    Some((server, store))
}

#[test]
fn a_setting_that_loses_what_was_acknowledged_is_named_and_refuses_transactions() {
    for (name, value) in [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "allkeys-lru"),
    ] {
        let Some((_server, store)) = store_with(name, value) else {
            return;
        };
        assert_eq!(store.capabilities().tier_max, Tier::Volatile);
        let expected = format!("`{name}` is `{value}`");
        assert!(store.capabilities().caveats[0].contains(&expected));
        let refused = store
            .enroll(Incarnation::random(), store.now().unwrap())
            .unwrap_err();
        assert_eq!(refused.kind, RegisterErrorKind::Unusable);
        let reason = refused.source().unwrap().to_string();
        assert!(reason.contains(&expected), "{reason}");
    }
}

#[test]
fn people_can_look_at_a_store_that_takes_part_in_no_transaction() {
    let Some(server) = server() else { return };
    let task = Client::new(server.address()).enqueue();
    tell(&server, &["CONFIG", "SET", "appendfsync", "no"]);
    let store = RedisStore::open(options(server.address())).unwrap();
    assert!(store.get(task).unwrap().is_some());
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_setting_that_is_changed_while_the_store_is_open_is_noticed_when_it_connects_again() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    tell(&server, &["CONFIG", "SET", "appendfsync", "no"]);
    tell(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
    let refused = loop {
        match client.apply(insert(client.record())) {
            Err(error) if matches!(error.kind, Kind::Unknown | Kind::Unavailable) => {}
            other => break kind(other),
        }
    };
    assert!(matches!(refused, Kind::NotDurable(why) if why.contains("`appendfsync` is `no`")));
}

#[test]
fn relaxed_durability_is_a_caveat_and_no_refusal() {
    let changed = redis::Options::default().setting("appendonly", "no");
    let Some(server) = or_skip(Redis::start(changed)) else {
        return;
    };
    let relaxed = options(server.address()).durability(Durability::Relaxed);
    let client = Client::with(relaxed, crate::fixture::LONG);
    assert!(client.is_visible(client.enqueue()));
    let capabilities = client.store.capabilities();
    assert_eq!(capabilities.tier_max, Tier::Prepared);
    let caveats = capabilities.caveats.join("; ");
    assert!(caveats.contains("durability=relaxed") && caveats.contains("`appendonly` is `no`"));
}

#[test]
fn a_server_that_does_not_tell_its_settings_is_not_believed() {
    let Some(server) = server() else { return };
    tell(&server, &["ACL", "SETUSER", "default", "-config"]);
    let store = RedisStore::open(options(server.address())).unwrap();
    assert_eq!(store.capabilities().tier_max, Tier::Volatile);
    assert!(store.capabilities().caveats[0].contains("CONFIG GET is forbidden"));
}

#[test]
fn a_replica_can_be_looked_at_and_takes_part_in_nothing() {
    let (Some(master), Some(replica)) = (server(), server()) else {
        return;
    };
    let task = Client::new(master.address()).enqueue();
    let port = master.address().port().to_string();
    tell(&replica, &["REPLICAOF", "127.0.0.1", &port]);
    let store = || RedisStore::open(options(replica.address())).ok();
    crate::fixture::eventually(|| {
        store().is_some_and(|store| store.get(task).is_ok_and(|found| found.is_some()))
    });
    let store = store().unwrap();
    assert!(store.capabilities().caveats[0].contains("replica"));
    let refused = store.enroll(Incarnation::random(), store.now().unwrap());
    assert!(refused.is_err());
}

#[test]
fn keys_of_a_newer_version_are_left_alone() {
    let Some(server) = server() else { return };
    tell(
        &server,
        &["HSET", "{votive:default}:meta", "version", "2", "id", "x"],
    );
    let refused = kind(RedisStore::open(options(server.address())));
    assert_eq!(refused, Kind::NewerVersion { found: 2, known: 1 });
}

#[test]
fn keys_of_another_program_are_left_alone() {
    let Some(server) = server() else { return };
    tell(&server, &["SET", "{votive:default}:meta", "theirs"]);
    let refused = kind(RedisStore::open(options(server.address())));
    assert!(matches!(refused, Kind::Foreign(_)), "{refused:?}");
    let value: String = ::redis::cmd("GET")
        .arg("{votive:default}:meta")
        .query(&mut connect(&server))
        .unwrap();
    assert_eq!(value, "theirs");
}

#[test]
fn stores_of_two_names_on_one_server_are_apart() {
    let Some(server) = server() else { return };
    let one = Client::new(server.address());
    let other = Client::with(
        options(server.address()).name("other"),
        crate::fixture::LONG,
    );
    let task = one.enqueue();
    assert!(!other.is_visible(task));
    assert!(other.claim(1).unwrap().is_empty());
    assert_eq!(one.claim(1).unwrap().len(), 1);
}

#[test]
fn a_password_is_shown_by_nothing() {
    let protected = redis::Options::default().password("geheim");
    let Some(server) = or_skip(Redis::start(protected)) else {
        return;
    };
    let right = options(server.address()).password("geheim");
    let store = RedisStore::open(right.clone()).unwrap();
    let wrong = RedisStore::open(options(server.address()).password("geheimer")).unwrap_err();
    let source = wrong.source().map(|source| format!("{source} {source:?}"));
    let shown = format!("{right:?} {store:?} {wrong} {wrong:?} {source:?}");
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn a_store_that_cannot_be_reached_is_unavailable() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    assert_eq!(kind(RedisStore::open(options(nowhere))), Kind::Unavailable);
}
