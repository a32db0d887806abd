//! Who is cut off is dead when its lease has run out by the server's clock, and others go on in seconds.
#![cfg(test)]

use std::time::Duration;

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
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!("0100007F:{:04X}", server.address().port());
    let mut fields = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(
        fields.any(|field| field[2] == remote && field[3] == "01" && field[5].starts_with("02:"))
    );
}
