//! What a claim costs does not depend on what waits.
#![cfg(test)]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use votive::store::{Batch, Inspect, Stage};
use votive::task::{Options, Unique};
use votive_testbed::Redis;

use crate::fixture::{Client, connect, done, insert, server};

/// How many tasks one batch enqueues.
const BATCH: usize = 1_000;

/// Enqueues as many ready, scheduled and staged tasks each.
fn fill(client: &Client, count: usize) {
    let later = Options {
        delay: Some(Duration::from_secs(3_600)),
        ..Options::default()
    };
    let fill = |batches: usize| {
        for _ in 0..batches {
            let changes = (0..BATCH).map(|number| match number % 4 {
                0 => insert(client.record().with_options(later.clone())),
                _ => insert(client.record()),
            });
            client.apply_as(client.txn(), changes.collect()).unwrap();
        }
    };
    // Whoever encodes the next batch does not keep the server waiting.
    let half = count / BATCH / 2;
    thread::scope(|threads| {
        threads.spawn(|| fill(half));
        fill(count / BATCH - half);
    });
    let staged = (0..BATCH / 10).map(|_| insert(client.record()));
    let now = client.store.now().unwrap();
    let batch = Batch::new(staged.collect());
    let register = votive::id::ResourceId::random();
    client
        .store
        .stage(client.txn(), register, &batch, now)
        .unwrap();
}

/// How often the server has been asked to do what.
fn commands(server: &Redis) -> BTreeMap<String, u64> {
    let info: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut connect(server))
        .unwrap();
    let counts = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (count, _) = rest.split_once(',')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    counts
        .filter(|(name, _)| !["info", "client|setinfo"].contains(&&name[..]))
        .collect()
}

/// What something that is one script has the server do. The thread that renews leases may open a connection of its own
/// meanwhile and run its script there, again for each lease that begins.
fn cost_of(server: &Redis, act: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = commands(server);
    act();
    let mut after = commands(server);
    for (name, count) in &mut after {
        *count -= before.get(name).copied().unwrap_or(0);
    }
    let scripts = after.get("evalsha").copied().unwrap_or(0);
    let renewals = scripts.saturating_sub(1);
    for name in ["evalsha", "time", "zadd"] {
        after
            .entry(name.to_owned())
            .and_modify(|count| *count -= renewals);
    }
    after.retain(|name, count| *count > 0 && name != "config|get");
    after
}

/// What a claim of ten tasks has the server do, at a backlog of so many.
fn cost(count: usize) -> Option<BTreeMap<String, u64>> {
    let server = server()?;
    let client = Client::new(server.address());
    fill(&client, count);
    client.claim(1).unwrap();
    let claim = || assert_eq!(client.claim(10).unwrap().len(), 10);
    Some(cost_of(&server, claim))
}

/// The ranges that a claim reads are bounded by what it takes, so as many commands visit as many members.
#[test]
fn a_claim_takes_the_same_commands_whatever_the_backlog() {
    let (Some(few), Some(many)) = (cost(BATCH), cost(1_000 * BATCH)) else {
        return;
    };
    assert_eq!(few, many);
    assert!(few.values().sum::<u64>() < 250, "{few:?}");
}

/// Tasks of which two of each group of four may run at once.
fn enqueue_grouped(client: &Client, count: usize) {
    let options = |number: usize| Options {
        group: Some(format!("group/{}", number / 4)),
        group_limit: Some(2),
        ..Options::default()
    };
    let tasks = (0..count).map(|number| insert(client.record().with_options(options(number))));
    client.apply_as(client.txn(), tasks.collect()).unwrap();
}

#[test]
fn tasks_of_groups_are_claimed_and_ended_together() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    enqueue_grouped(&client, 40);
    client.claim(1).unwrap();
    let mut claims = Vec::new();
    let few = cost_of(&server, || claims = client.claim(2).unwrap());
    let many = cost_of(&server, || claims.extend(client.claim(16).unwrap()));
    assert_eq!((few, claims.len()), (many, 18));
    let done = claims.iter().map(done).collect();
    let ended = cost_of(&server, || {
        client.apply_as(client.txn(), done).unwrap();
    });
    // Six commands for each of ten groups, and as many as for plain tasks: the rules take thirty for each task.
    assert!(ended.values().sum::<u64>() < 100, "{ended:?}");
    assert_eq!(client.claim(40).unwrap().len(), 19);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

/// What claiming and ending ten tasks has the server do, each with a key of its own or without.
fn costs_of_ten(has_keys: bool) -> Option<[BTreeMap<String, u64>; 2]> {
    let server = server()?;
    let client = Client::new(server.address());
    let options = |number: usize| Options {
        unique: has_keys.then(|| Unique::new(number.to_string())),
        ..Options::default()
    };
    let tasks = (0..20).map(|number| insert(client.record().with_options(options(number))));
    client.apply_as(client.txn(), tasks.collect()).unwrap();
    client.claim(1).unwrap();
    let mut claims = Vec::new();
    let claimed = cost_of(&server, || claims = client.claim(10).unwrap());
    let done = claims.iter().map(done).collect();
    let ended = cost_of(&server, || {
        client.apply_as(client.txn(), done).unwrap();
    });
    Some([claimed, ended])
}

#[test]
fn keys_cost_a_claim_no_command_and_an_end_two() {
    let (Some([claimed, mut ended]), Some(plain)) = (costs_of_ten(true), costs_of_ten(false))
    else {
        return;
    };
    for command in ["hmget", "hdel"] {
        ended
            .entry(command.to_owned())
            .and_modify(|count| *count -= 1);
    }
    assert_eq!([claimed, ended], plain);
}

#[test]
fn a_task_that_cannot_be_read_holds_up_nobody() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    client.enqueue();
    let body: Vec<Vec<u8>> = ::redis::cmd("KEYS")
        .arg("*:body:*")
        .query(&mut connect(&server))
        .unwrap();
    let mut remove = ::redis::cmd("DEL");
    remove.arg(&body[0]).exec(&mut connect(&server)).unwrap();
    let others = [client.enqueue(), client.enqueue()];
    let claimed = client.claim(10).unwrap();
    assert_eq!(
        claimed
            .iter()
            .map(|claim| claim.record.id)
            .collect::<Vec<_>>(),
        others
    );
    let next = client.enqueue();
    assert_eq!(client.claim(10).unwrap()[0].record.id, next);
}
