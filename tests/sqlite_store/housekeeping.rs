//! What the store removes by itself.
#![cfg(test)]

use std::time::Duration;

use votive::id::{ResourceId, TxnId};
use votive::store::sqlite::Options;
use votive::store::{Batch, Change, Inspect, Stage};
use votive::time::ManualClock;

use crate::fixture::{Client, NOW, place};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn stage_and_discard(client: &Client, sequence: u64) {
    let incarnation = client.incarnation;
    let txn = TxnId {
        incarnation,
        sequence,
    };
    let (key, expect) = ("mark".to_owned(), None);
    let batch = Batch::new(vec![Change::Mark {
        key,
        expect,
        value: None,
    }]);
    let now = client.store.now().unwrap();
    client
        .store
        .stage(txn, ResourceId::random(), &batch, now)
        .unwrap();
    client.store.discard(txn).unwrap();
}

#[test]
fn the_traces_of_discarded_batches_do_not_pile_up() {
    let place = place();
    let clock = ManualClock::new(NOW);
    let client = Client::open_with(&place.path, Options::default().clock(clock.clone()));
    (100..120).for_each(|sequence| stage_and_discard(&client, sequence));
    clock.advance(2 * DAY);
    (120..130).for_each(|sequence| stage_and_discard(&client, sequence));
    let count = "SELECT count(*) FROM votive_staged";
    let left: i64 = place
        .connection()
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 10, "only those of the last day");
}
