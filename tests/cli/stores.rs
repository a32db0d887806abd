//! The commands on every kind of store, by its URL.
#![cfg(test)]

use std::process::Command;

use votive::id::{Incarnation, ResourceId, TxnId};
use votive::store::{Batch, Change};
use votive_testbed::{Redis, or_skip, redis};

use crate::desk::Said;
use crate::homes::Home;

fn run(url: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
    command.args(arguments).env("VOTIVE_URL", url);
    command.output().unwrap().into()
}

/// Runs a command that must succeed, and reads what it tells programs.
fn json(home: &Home, arguments: &[&str]) -> serde_json::Value {
    let said = run(&home.url, &[arguments, &["--json"]].concat());
    assert_eq!(said.exit, 0, "{arguments:?}: {}", said.error);
    serde_json::from_str(&said.text).unwrap()
}

fn what_only_looks_makes_no_store(home: &Home) {
    for command in [["stats"], ["list"], ["check"], ["stats"]] {
        let said = run(&home.url, &command);
        assert_eq!(said.exit, 3, "{command:?}: {}", said.error);
        assert!(
            said.error.contains("`votive migrate` makes one"),
            "{}",
            said.error
        );
    }
    assert_eq!(run(&home.url, &["migrate"]).exit, 0);
    assert_eq!(run(&home.url, &["stats"]).exit, 0);
}

fn what_was_enqueued_is_counted_shown_and_healthy(home: &Home) {
    assert_eq!(run(&home.url, &["migrate"]).exit, 0);
    let enqueued = json(home, &["enqueue", "index", "{\"document\": 7}"]);
    let task = enqueued["tasks"][0].as_str().unwrap();
    assert_eq!(json(home, &["stats"])["pending"], 1);
    assert_eq!(
        json(home, &["show", task])["payload"]["json"]["document"],
        7
    );
    assert_eq!(json(home, &["list"])["tasks"][0]["id"], *task);
    assert_eq!(json(home, &["check"])["healthy"], true);
    json(home, &["cancel", task]);
    json(home, &["purge", task, "--yes"]);
    assert_eq!(json(home, &["stats"])["pending"], 0);
}

/// Stages a batch whose register nobody knows.
fn stage(home: &Home) -> TxnId {
    let store = votive::open(&home.url).unwrap();
    let txn = TxnId {
        incarnation: Incarnation::random(),
        sequence: 1,
    };
    let mark = Change::Mark {
        key: "cursor".to_owned(),
        expect: None,
        value: Some(b"7".to_vec()),
    };
    let (register, batch) = (ResourceId::random(), Batch::new(vec![mark]));
    let now = store.now().unwrap();
    store.stage(txn, register, &batch, now).unwrap();
    txn
}

fn what_is_in_doubt_is_listed_and_settled_by_force(home: &Home) {
    let txn = stage(home).to_string();
    assert_eq!(
        json(home, &["in-doubt", "list"])["in_doubt"][0]["txn"],
        *txn
    );
    let abort = [
        "in-doubt",
        "abort",
        &txn,
        "--reason",
        "the database is gone",
        "--yes",
    ];
    assert_eq!(run(&home.url, &abort).exit, 4);
    let forced = json(home, &[&abort[..], &["--force"]].concat());
    assert_eq!(forced["by"], "force");
    let listed = json(home, &["in-doubt", "list"]);
    assert_eq!(listed["in_doubt"].as_array().unwrap().len(), 0);
    assert_eq!(listed["heuristics"][0]["txn"], *txn);
    json(home, &["in-doubt", "forget", &txn]);
}

/// Makes a test of each story for each kind of store.
macro_rules! on_every_store {
    ($($story:ident)*: $stores:tt) => {$( on_every_store!(@ $story $stores); )*};
    (@ $story:ident [$($store:ident)*]) => {
        mod $story {
            $(
                #[test]
                fn $store() {
                    if let Some(home) = Option::from(crate::homes::$store()) {
                        super::$story(&home);
                    }
                }
            )*
        }
    };
}

on_every_store! {
    what_only_looks_makes_no_store
    what_was_enqueued_is_counted_shown_and_healthy
    what_is_in_doubt_is_listed_and_settled_by_force:
    [sqlite file redis postgres]
}

#[test]
fn no_command_prints_the_password_of_a_server() {
    let options = redis::Options::default().password("geheim");
    let Some(server) = or_skip(Redis::start(options)) else {
        return;
    };
    assert_eq!(run(&server.url(), &["migrate"]).exit, 0);
    let wrong = server.url().replace("geheim", "falsch");
    let copy = ["copy", &server.url(), "sqlite:nowhere/tasks.db", "-vv"];
    for arguments in [
        &["stats", "-vv"][..],
        &["check", "-vv"],
        &["in-doubt", "list", "-vv"],
        &copy,
    ] {
        for url in [&server.url(), &wrong] {
            let said = run(url, arguments);
            let all = said.text + &said.error;
            assert!(!all.contains("geheim") && !all.contains("falsch"), "{all}");
        }
    }
    assert_eq!(run(&server.url(), &["stats"]).exit, 0);
    assert_ne!(run(&wrong, &["stats"]).exit, 0);
}
