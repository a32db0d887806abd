//! Waiting for the end of a task.
#![cfg(test)]

use std::time::Duration;

use votive::id::TaskId;
use votive::store::{Change, Dispatch, Interest};
use votive::task::{OnDuplicate, Options, Unique};

use crate::fixture::{Client, done, place, record};

fn enqueue_unique(client: &Client) -> TaskId {
    let unique = Some(Unique {
        on_duplicate: OnDuplicate::Merge,
        ..Unique::new("key")
    });
    let record = record().with_options(Options {
        unique,
        ..Options::default()
    });
    let id = record.id;
    client.apply(Change::Insert(Box::new(record))).unwrap();
    id
}

#[test]
fn a_merged_task_has_not_ended_before_the_one_that_it_merged_into() {
    let place = place();
    let client = Client::open(&place.path);
    let _holder = enqueue_unique(&client);
    let settled = Interest::Settled(enqueue_unique(&client));
    let wait = || {
        client
            .store
            .wait(std::slice::from_ref(&settled), Duration::ZERO)
    };
    assert_eq!(wait().unwrap(), None);
    client.apply(done(&client.claim()[0])).unwrap();
    assert_eq!(wait().unwrap(), Some(settled.clone()));
}
