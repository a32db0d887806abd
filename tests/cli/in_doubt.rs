//! `votive recover` and `in-doubt`: the register decides, and a person only where it cannot.
#![cfg(test)]

use votive::id::{Incarnation, ResourceId, TaskId, TxnId};
use votive::register::{Decision, Register as _};
use votive::resource::rusqlite::Database;
use votive::store::{Batch, Change};
use votive::task::{Format, Payload, Record};
use votive::time::Timestamp;

use crate::desk::{Desk, NO_TXN};

pub(crate) const AT_ONCE: [&str; 2] = ["--grace", "0s"];
const APPLICATION: [&str; 2] = ["--app", "sqlite:app.db"];

/// A desk with an application's database, and a transaction staged that the database decides.
fn desk() -> (Desk, Database, TxnId) {
    let desk = Desk::new();
    assert_eq!(
        desk.run(&["migrate", "--register", "sqlite:app.db"]).exit,
        0
    );
    let database = Database::open(desk.path().join("app.db")).unwrap();
    let txn = stage(&desk, database.id());
    (desk, database, txn)
}

pub(crate) fn stage(desk: &Desk, register: ResourceId) -> TxnId {
    let store = desk.store();
    let now = store.now().unwrap();
    let payload = Payload {
        format: Format::Json,
        version: 0,
        bytes: b"{}"[..].into(),
    };
    let record = Record::new(TaskId::new(now), "default", "index", payload, now);
    let batch = Batch::new(vec![Change::Insert(Box::new(record))]);
    let incarnation = Incarnation::random();
    let sequence = 1;
    let txn = TxnId {
        incarnation,
        sequence,
    };
    store.stage(txn, register, &batch, now).unwrap();
    txn
}

#[test]
fn a_staged_transaction_is_listed_with_its_register() {
    let (desk, database, txn) = desk();
    let listing = desk.json(&["in-doubt", "list"]);
    assert_eq!(listing["in_doubt"][0]["txn"], *txn.to_string());
    assert_eq!(
        listing["in_doubt"][0]["register"],
        *database.id().to_string()
    );
    assert_eq!(desk.json(&["stats"])["in_doubt"], 1);
    assert_eq!(desk.json(&["stats"])["pending"], 0);
}

#[test]
fn what_cannot_be_asked_stays_in_doubt() {
    let (desk, database, _) = desk();
    let said = desk.run(&[&["recover"][..], &AT_ONCE].concat());
    let register = database.id().to_string();
    assert!(said.error.contains(&register), "{}", said.error);
    assert_eq!(said.exit, 4, "{}", said.error);
    assert_eq!(said.text, "0 published, 0 discarded, 1 still in doubt\n");
}

#[test]
fn what_the_application_never_committed_is_discarded() {
    let (desk, _, _) = desk();
    let recovered = desk.json(&[&["recover"][..], &AT_ONCE, &APPLICATION].concat());
    assert_eq!(recovered["discarded"], 1);
    assert_eq!(desk.json(&["stats"])["in_doubt"], 0);
}

#[test]
fn what_the_application_committed_is_published() {
    let (desk, database, txn) = desk();
    database.enroll(txn.incarnation, Timestamp::EPOCH).unwrap();
    let store = desk.json(&["stats"])["store"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    database.decide(txn, Decision::Committed, &[store]).unwrap();
    let recovered = desk.json(&[&["recover"][..], &AT_ONCE, &APPLICATION].concat());
    assert_eq!(recovered["published"], 1);
    assert_eq!(desk.json(&["stats"])["pending"], 1);
}

#[test]
fn a_word_decides_only_by_force_and_is_kept_until_forgotten() {
    let (desk, _, txn) = desk();
    let txn = txn.to_string();
    let commit = ["in-doubt", "commit", &txn, "--reason", "disk lost", "--yes"];
    assert_eq!(desk.run(&commit).exit, 4);
    assert_eq!(
        desk.json(&[&commit[..], &["--force"]].concat())["by"],
        "force"
    );
    assert_eq!(desk.json(&["stats"])["pending"], 1);
    let heuristics = desk.json(&["in-doubt", "list"])["heuristics"].clone();
    assert_eq!(heuristics[0]["reason"], "disk lost");
    assert_eq!(desk.run(&["in-doubt", "forget", &txn]).exit, 0);
    assert_eq!(desk.run(&["in-doubt", "forget", &txn]).exit, 3);
}

#[test]
fn a_word_against_the_register_is_not_followed() {
    let (desk, _, txn) = desk();
    let txn = txn.to_string();
    let commit = [
        "in-doubt", "commit", &txn, "--reason", "sure", "--yes", "--force",
    ];
    let said = desk.run(&[&commit[..], &APPLICATION].concat());
    assert_eq!(said.exit, 5, "{}", said.error);
    assert_eq!(desk.json(&["stats"])["pending"], 0);
}

#[test]
fn settling_asks_first() {
    let (desk, _, txn) = desk();
    let said = desk.run(&["in-doubt", "abort", &txn.to_string(), "--reason", "sure"]);
    assert_eq!(said.exit, 2, "{}", said.error);
    assert_eq!(desk.json(&["stats"])["in_doubt"], 1);
}

#[test]
fn a_reason_is_required() {
    let (desk, _, txn) = desk();
    assert_eq!(
        desk.run(&["in-doubt", "abort", &txn.to_string(), "--yes"])
            .exit,
        2
    );
}

#[test]
fn an_unknown_transaction_is_not_found() {
    let abort = ["in-doubt", "abort", NO_TXN, "--reason", "sure", "--yes"];
    assert_eq!(Desk::new().run(&abort).exit, 3);
}
