//! Who is cut off is dead when its lease has run out by the server's clock, and others go on in seconds.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::consumer::Consumer;
use votive::handler::{Context, Registry};
use votive::store::redis::RedisStore;
use votive::store::{Arrival, Dispatch, Inspect, Interest, Kind};
use votive_testbed::{Proxy, Redis};

use crate::fixture::{Client, LONG, connect, done, eventually, kind, options, server};

const LEASE: Duration = Duration::from_millis(600);

fn ready() -> Interest {
    Interest::Ready("default".to_owned())
}

#[test]
fn the_tasks_of_who_is_cut_off_go_to_others_when_its_lease_has_run_out() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.address()).unwrap();
    let far = Client::with(options(proxy.address()), LEASE);
    let near = Client::new(server.address());
    near.enqueue();
    let lost = far.claim(1).unwrap().remove(0);
    proxy.refuse();
    assert_eq!(near.store.wait(&[ready()], LONG).unwrap(), Some(ready()));
    let claim = near.claim(1).unwrap().remove(0);
    assert_eq!(
        (claim.record.id, claim.arrival),
        (lost.record.id, Arrival::Reclaimed)
    );
    proxy.pass();
    let now = far.store.now().unwrap();
    let extended = far.store.extend(&[lost.key()], LEASE, now);
    assert_eq!(extended.unwrap(), [lost.record.id]);
    assert_eq!(
        kind(far.apply(done(&lost))),
        Kind::ClaimLost(lost.record.id)
    );
    near.apply(done(&claim)).unwrap();
}

#[test]
fn who_lives_keeps_its_tasks_for_longer_than_its_lease() {
    let Some(server) = server() else { return };
    let busy = Client::with(options(server.address()), LEASE);
    let idle = Client::new(server.address());
    idle.enqueue();
    let claim = busy.claim(1).unwrap().remove(0);
    let waited = idle.store.wait(&[ready()], LEASE * 4).unwrap();
    assert_eq!(waited, None);
    assert!(idle.claim(1).unwrap().is_empty());
    busy.apply(done(&claim)).unwrap();
}

#[test]
fn the_tasks_of_who_leaves_go_to_others_at_once() {
    let Some(server) = server() else { return };
    let (leaving, staying) = (Client::new(server.address()), Client::new(server.address()));
    staying.enqueue();
    leaving.claim(1).unwrap();
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| staying.store.wait(&[ready()], LONG).unwrap());
        eventually(|| is_waiting(&server));
        drop(leaving);
        assert_eq!(waiter.join().unwrap(), Some(ready()));
    });
    assert_eq!(staying.claim(1).unwrap()[0].arrival, Arrival::Reclaimed);
}

fn is_waiting(server: &Redis) -> bool {
    let count: usize = redis::cmd("SCARD")
        .arg("{votive:default}:waiting")
        .query(&mut connect(server))
        .unwrap();
    count > 0
}

/// Whether the kernel probes an idle connection of this process to the server: the timer of the socket, in
/// the kernel's list, is 2.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_connection_is_kept_alive() {
    let Some(server) = server() else { return };
    let _client = Client::new(server.address());
    let remote = format!("0100007F:{:04X}", server.address().port());
    eventually(|| {
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let fields = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut ours = fields.filter(|field| field[2] == remote && field[3] == "01");
        ours.any(|field| field[5].starts_with("02:"))
    });
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Noop;

impl votive::Task for Noop {
    const KIND: &'static str = "noop";
}

/// A consumer with a short lease, whose handler does `work`.
fn consumer(
    address: std::net::SocketAddr,
    work: impl Fn(&mut Context<'_>) + Send + Sync + 'static,
) -> votive::consumer::Running {
    let store = RedisStore::open(options(address)).unwrap();
    let mut registry = Registry::new();
    let handler = move |_: Noop, context: &mut Context<'_>| {
        work(context);
        std::io::Result::Ok(())
    };
    registry.register(handler).unwrap();
    let builder = Consumer::builder(Arc::new(store), registry).lease(LEASE);
    builder.queue("default").start().unwrap()
}

#[test]
fn a_consumer_that_was_cut_off_stops_what_another_has_taken_over() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.address()).unwrap();
    let (started, starts) = crossbeam_channel::bounded(1);
    let far = consumer(proxy.address(), move |context| {
        started.send(()).unwrap();
        eventually(|| context.cancellation().is_cancelled());
    });
    let store = votive::open(&server.url()).unwrap();
    let queue = votive::queue::Queue::new(store, "default").unwrap();
    let mut txn = votive::txn::TransactionManager::new().begin().unwrap();
    queue.enqueue(&mut txn, &Noop).unwrap();
    txn.commit().unwrap();
    starts.recv().unwrap();
    proxy.refuse();
    let near = consumer(server.address(), |_| {});
    eventually(|| near.stats().done == 1);
    proxy.pass();
    eventually(|| far.stats().lost == 1);
    assert_eq!((near.stats().reclaimed, far.stats().done), (1, 0));
}
