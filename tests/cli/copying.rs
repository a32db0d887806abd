//! Moving a queue to another store.
#![cfg(test)]

use std::time::Duration;

use votive::id::{ConsumerId, Incarnation};
use votive::store::{ClaimRequest, Want};

use crate::desk::Desk;

const FROM: &str = "sqlite:tasks.db";
const TO: &str = "sqlite:other.db";

#[test]
fn a_copy_moves_every_task_and_a_second_one_has_nothing_to_do() {
    let desk = Desk::new();
    let task = desk.enqueue(&["index", "{}"]);
    let copied = desk.json(&["copy", FROM, TO]);
    assert_eq!(
        (&copied["tasks"], &copied["claimed"]),
        (&1.into(), &0.into())
    );
    assert_eq!(desk.json(&["show", &task, "--url", TO])["state"], "ready");
    assert_eq!(desk.run(&["show", &task]).exit, 3);
    assert_eq!(
        desk.run(&["copy", FROM, TO]).text,
        "0 tasks and 0 marks copied\n"
    );
}

#[test]
fn a_copy_that_had_to_leave_a_task_says_so() {
    let desk = Desk::new();
    desk.enqueue(&["index", "{}"]);
    let store = desk.store();
    let consumer = ConsumerId {
        incarnation: Incarnation::random(),
        name: "worker".to_owned(),
    };
    let lease = Duration::from_secs(60);
    let _presence = store.attend(consumer.incarnation, lease).unwrap();
    let wants = vec![Want {
        queue: "default".to_owned(),
        count: 1,
    }];
    let request = ClaimRequest {
        consumer,
        wants,
        lease,
    };
    store.claim(&request, store.now().unwrap()).unwrap();
    let said = desk.run(&["copy", FROM, TO]);
    assert_eq!(said.exit, 4);
    assert!(said.text.contains("1 still claimed"), "{}", said.text);
}

#[test]
fn a_copy_needs_a_store_that_is_there_and_none_in_memory() {
    let desk = Desk::empty();
    assert_eq!(desk.run(&["copy", FROM, TO]).exit, 3);
    let desk = Desk::new();
    assert_eq!(desk.run(&["copy", FROM, "memory://"]).exit, 2);
}

#[test]
fn a_password_in_a_url_is_not_printed() {
    let desk = Desk::new();
    for to in [
        "redis://:secret@127.0.0.1:1/0",
        "sqlight://user:secret@host/db",
    ] {
        let said = desk.run(&["copy", FROM, to, "-vv"]);
        assert_ne!(said.exit, 0);
        assert!(!said.error.contains("secret"), "{}", said.error);
    }
}
