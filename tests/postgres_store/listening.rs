//! Who waits for nothing is not notified, and wakes up neither the server nor himself.
#![cfg(test)]

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use votive::store::postgres::PostgresStore;
use votive::store::{Dispatch, Inspect, Interest};
use votive_testbed::Postgres;

use crate::fixture::{Process, SERVER, claim, insert, options, record, schema};

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

/// A connection that hears what a store says to those who wait.
fn listener(server: &Postgres, schema: &str) -> postgres::Client {
    let mut client = server.client().unwrap();
    let channel = format!("SELECT 'votive_' || '{schema}.task'::regclass::oid");
    let channel: String = client.query_one(&channel, &[]).unwrap().get(0);
    client.batch_execute(&format!("LISTEN {channel}")).unwrap();
    client
}

fn next_heard(client: &mut postgres::Client) -> String {
    let mut notifications = client.notifications();
    let next = notifications.timeout_iter(Duration::from_secs(60)).next();
    next.unwrap().unwrap().payload().to_owned()
}

#[test]
fn who_waits_is_told_in_which_queue_tasks_are_ready() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let store = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let elsewhere = [Interest::Ready("elsewhere".to_owned())];
    store.wait(&elsewhere, Duration::from_millis(10)).unwrap();
    let mut hears = listener(server, &schema);
    let mut process = Process::new(&store);

    process.enqueue(1);
    assert_eq!(next_heard(&mut hears), "default");
    process.enqueue(100);
    assert_eq!(next_heard(&mut hears), "default");

    let mut later = record(&store);
    let not_before = store.now().unwrap().saturating_add(Duration::from_secs(60));
    later.not_before = Some(not_before);
    process.apply(vec![insert(later)]).unwrap();
    assert_eq!(next_heard(&mut hears), "");

    let mut other = record(&store);
    other.queue = "other".into();
    process
        .apply(vec![insert(record(&store)), insert(other)])
        .unwrap();
    assert_eq!(next_heard(&mut hears), "");
}

#[test]
fn who_was_told_of_his_queue_and_comes_too_late_waits_again() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let store = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let mut tells = server.client().unwrap();
    let tell = format!("SELECT pg_notify('votive_' || '{schema}.task'::regclass::oid, 'default')");
    let process = Process::new(&store);
    let (consumer, _presence) = process.consumer("late");
    let ready = [Interest::Ready("default".to_owned())];
    std::thread::scope(|scope| {
        let (woken, wakes) = crossbeam_channel::bounded(1);
        let store = &store;
        scope.spawn(move || woken.send(store.wait(&ready, Duration::from_secs(300)).unwrap()));
        // He may not listen yet when he is told for the first time.
        let heard = loop {
            tells.execute(&tell, &[]).unwrap();
            if let Ok(heard) = wakes.recv_timeout(Duration::from_millis(50)) {
                break heard;
            }
        };
        assert_eq!(heard, Some(Interest::Ready("default".to_owned())));
    });
    assert!(claim(&store, &consumer, 1).is_empty());
    let ready = [Interest::Ready("default".to_owned())];
    let again = store.wait(&ready, Duration::from_millis(50)).unwrap();
    assert_eq!(again, None);
}
