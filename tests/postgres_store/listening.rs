//! Who waits for nothing is not notified, and wakes up neither the server nor himself.
#![cfg(test)]

use std::time::Duration;

use votive::store::postgres::PostgresStore;
use votive::store::{Dispatch, Interest};
use votive_testbed::Postgres;

use crate::fixture::{Process, SERVER, options, schema};

/// How many sessions have listened, and seen a message of their own come.
fn listeners(server: &Postgres, name: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1
                 AND (query LIKE 'LISTEN%' OR query LIKE '%pg_notify%' AND query NOT LIKE '%sleeper%')";
    let row = server.client().unwrap().query_one(count, &[&name]);
    row.unwrap().get(0)
}

#[test]
fn a_store_listens_once_somebody_waits() {
    let Some(server) = &*SERVER else { return };
    let url = format!("{}?application_name=listening", server.url());
    let store = PostgresStore::open(&url, options(&schema())).unwrap();
    Process::new(&store).enqueue(3);
    assert_eq!(listeners(server, "listening"), 0);
    let elsewhere = [Interest::Ready("elsewhere".to_owned())];
    let found = store.wait(&elsewhere, Duration::from_secs(1)).unwrap();
    assert_eq!((found, listeners(server, "listening")), (None, 1));
}
