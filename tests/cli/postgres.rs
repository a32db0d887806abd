//! Application databases on a Postgres server: their registers, and what they have prepared.
#![cfg(test)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use votive::id::TxnId;
use votive::register::{Decision, Register as _};
use votive::resource::postgres::{Database, Options};
use votive_testbed::{Postgres, or_skip, postgres};

use crate::desk::Desk;
use crate::in_doubt::{AT_ONCE, stage};

/// The address of a database of its own, on a server that keeps prepared transactions.
fn database() -> Option<String> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let options = postgres::Options::default().setting("max_prepared_transactions", "9");
    let server = SERVER.get_or_init(|| or_skip(Postgres::start(options)));
    let name = format!("app_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    Some(server.as_ref()?.create_database(&name).unwrap())
}

fn run(url: &str, sql: &str) {
    let mut client = ::postgres::Client::connect(url, ::postgres::NoTls).unwrap();
    client.batch_execute(sql).unwrap();
}

/// A desk, and a transaction staged that the database at the address decides.
fn desk(url: &str) -> (Desk, TxnId) {
    let desk = Desk::new();
    assert_eq!(desk.run(&["migrate", "--register", url]).exit, 0);
    let txn = stage(&desk, Database::open(url).unwrap().id());
    (desk, txn)
}

fn recover(desk: &Desk, url: &str) -> serde_json::Value {
    desk.json(&[&["recover", "--app", url][..], &AT_ONCE].concat())
}

#[test]
fn a_register_is_made_once() {
    let Some(url) = database() else { return };
    let desk = Desk::new();
    let made = desk.json(&["migrate", "--register", &url]);
    assert_eq!(made, desk.json(&["migrate", "--register", &url]));
    let id = Database::open(&url).unwrap().id().to_string();
    assert_eq!(made["register"], id);
}

#[test]
fn the_statements_that_are_printed_make_a_register() {
    let Some(url) = database() else { return };
    let desk = Desk::new();
    let elsewhere = format!("{url}?schema=elsewhere");
    let said = desk.run(&["migrate", "--register", &elsewhere, "--print"]);
    run(&url, &said.text);
    Database::migrate(&url, Options::default().schema("elsewhere")).unwrap();
}

#[test]
fn what_the_application_never_committed_is_discarded() {
    let Some(url) = database() else { return };
    let (desk, _) = desk(&url);
    assert_eq!(recover(&desk, &url)["discarded"], 1);
}

#[test]
fn what_the_application_committed_is_published() {
    let Some(url) = database() else { return };
    let (desk, txn) = desk(&url);
    let database = Database::open(&url).unwrap();
    let now = votive::time::Timestamp::EPOCH;
    database.enroll(txn.incarnation, now).unwrap();
    let holders = [desk.store().id()];
    database.decide(txn, Decision::Committed, &holders).unwrap();
    assert_eq!(recover(&desk, &url)["published"], 1);
}

#[test]
fn what_a_dead_process_prepared_is_rolled_back() {
    let Some(url) = database() else { return };
    let desk = Desk::new();
    let txn = stage(&desk, desk.store().id());
    let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).unwrap();
    let own = "SELECT oid FROM pg_database WHERE datname = current_database()";
    let oid: u32 = client.query_one(own, &[]).unwrap().get(0);
    let name = format!("votive:{}:{txn}:{oid}", desk.store().id());
    let prepare = format!("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION '{name}'");
    client.batch_execute(&prepare).unwrap();
    let recovered = recover(&desk, &url);
    assert_eq!(recovered["discarded"], 1);
    assert_eq!(recovered["databases"]["rolled_back"], 1);
    let left = client.query("SELECT 1 FROM pg_prepared_xacts WHERE gid = $1", &[&name]);
    assert!(left.unwrap().is_empty());
}

#[test]
fn no_password_is_told() {
    let Some(url) = database() else { return };
    let desk = Desk::new();
    let secret = url
        .replace("postgres@", "postgres:hunter2@")
        .replace("/app_", "/no_app_");
    for command in [["recover", "--app"], ["migrate", "--register"]] {
        let said = desk.run(&[&command[..], &[&secret]].concat());
        assert_ne!(said.exit, 0);
        assert!(!said.error.contains("hunter2"), "{}", said.error);
    }
}
