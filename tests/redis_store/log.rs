//! What the server writes down: all but claims, whether or not it has rewritten its file meanwhile.
#![cfg(test)]

use std::time::Duration;

use votive::id::TaskId;
use votive::store::{
    Arrival, Change, Claim, Dispatch, Inspect, Interest, Kind, Settlement, Stage, Verdict,
};
use votive::task::{Counts, Options, State, Unique};
use votive_testbed::Redis;

use crate::fixture::{Client, connect, done, eventually, insert, kind, server, tell};

/// Has the server write its memory down, and waits until that is done.
fn rewrite(server: &Redis) {
    tell(server, &["BGREWRITEAOF"]);
    eventually(|| {
        let info: String = redis::cmd("INFO")
            .arg("persistence")
            .query(&mut connect(server))
            .unwrap();
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    });
}

fn retry(claim: &Claim, client: &Client) -> Change {
    let at = client.store.now().unwrap();
    let at = at.saturating_add(Duration::from_secs(3_600));
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Retry { at },
        counts: Counts::default(),
        account: None,
    })
}

fn release(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Release { at: None },
        counts: Counts::default(),
        account: None,
    })
}

fn keyed(key: &str) -> Options {
    Options {
        unique: Some(Unique::new(key)),
        ..Options::default()
    }
}

/// Claims four of five tasks, ends two of them and pins a third; then the server is killed.
fn states_after_a_death(has_rewritten: bool) -> Option<Vec<Option<State>>> {
    let server = server()?;
    let client = Client::new(server.address());
    let tasks: Vec<_> = (0..5).map(|_| client.enqueue()).collect();
    let claims = client.claim(4).unwrap();
    if has_rewritten {
        rewrite(&server);
    }
    client.apply(done(&claims[0])).unwrap();
    client.apply(retry(&claims[1], &client)).unwrap();
    client.stage(client.txn(), done(&claims[2])).unwrap();
    server.restart().unwrap();
    let client = Client::new(server.address());
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
    let states = tasks.iter().map(|task| client.store.get(*task).unwrap());
    Some(
        states
            .map(|listed| listed.map(|listed| listed.record.state))
            .collect(),
    )
}

#[test]
fn a_claim_ends_with_the_server_unless_something_depends_on_it() {
    let Some(states) = states_after_a_death(false) else {
        return;
    };
    let (scheduled, claimed, ready) = (State::Scheduled, State::Claimed, State::Ready);
    assert_eq!(
        states,
        [
            None,
            Some(scheduled),
            Some(claimed),
            Some(ready),
            Some(ready)
        ]
    );
}

#[test]
fn a_claim_that_was_written_down_with_the_memory_is_kept_and_can_be_settled() {
    let Some(states) = states_after_a_death(true) else {
        return;
    };
    let (scheduled, claimed, ready) = (State::Scheduled, State::Claimed, State::Ready);
    assert_eq!(
        states,
        [
            None,
            Some(scheduled),
            Some(claimed),
            Some(claimed),
            Some(ready)
        ]
    );
}

#[test]
fn a_task_given_back_as_it_was_can_be_claimed_again_whatever_was_written_down_between() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let task = client.enqueue();
    let claims = client.claim(1).unwrap();
    rewrite(&server);
    client.apply(release(&claims[0])).unwrap();
    server.restart().unwrap();
    let client = Client::new(server.address());
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
    assert_eq!(client.claim(1).unwrap()[0].record.id, task);
}

fn state(client: &Client, task: TaskId) -> Option<State> {
    let listed = client.store.get(task).unwrap();
    listed.map(|listed| listed.record.state)
}

/// Has who was connected before the server died connect anew, and leave.
fn depart(client: Client) {
    eventually(|| client.store.stats().is_ok());
    drop(client);
}

/// Enqueues a task with a key; returns the task that has it then.
fn enqueue_keyed(client: &Client, key: &str) -> TaskId {
    let record = client.record().with_options(keyed(key));
    let id = record.id;
    let applied = client.apply(insert(record)).unwrap();
    applied.merged.first().map_or(id, |(_, holder)| *holder)
}

/// Enqueues tasks with these keys, claims them all, and returns them.
fn claim_keyed<const COUNT: usize>(client: &Client, keys: [&str; COUNT]) -> [TaskId; COUNT] {
    let tasks = keys.map(|key| enqueue_keyed(client, key));
    assert_eq!(client.claim(COUNT).unwrap().len(), COUNT);
    tasks
}

#[test]
fn a_claim_outlives_the_server_if_another_task_took_the_key_that_it_freed() {
    let Some(server) = server() else { return };
    let former = Client::new(server.address());
    let [taken, free] = claim_keyed(&former, ["taken", "free"]);
    let other = enqueue_keyed(&former, "taken");
    server.restart().unwrap();
    let client = Client::new(server.address());
    let states = [taken, free, other].map(|task| state(&client, task).unwrap());
    assert_eq!(states, [State::Claimed, State::Ready, State::Ready]);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
    assert_eq!(enqueue_keyed(&client, "free"), free);
    depart(former);
    let claims = client.claim(5).unwrap();
    let arrivals: Vec<_> = claims.iter().map(|claim| claim.arrival).collect();
    let fresh = Arrival::Fresh;
    assert_eq!(arrivals, [Arrival::Reclaimed, fresh, fresh]);
}

#[test]
fn a_claim_outlives_the_server_if_the_key_that_it_freed_is_promised() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let [promised] = claim_keyed(&client, ["promised"]);
    let record = client.record().with_options(keyed("promised"));
    let (txn, other) = (client.txn(), record.id);
    client.stage(txn, insert(record)).unwrap();
    server.restart().unwrap();
    let client = Client::new(server.address());
    let now = client.store.now().unwrap();
    client.store.publish(txn, now).unwrap();
    let states = [promised, other].map(|task| state(&client, task).unwrap());
    assert_eq!(states, [State::Claimed, State::Ready]);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn who_held_nothing_but_what_went_with_the_server_is_forgotten() {
    let Some(server) = server() else { return };
    let former = Client::new(server.address());
    enqueue_keyed(&former, "key");
    let first = former.claim(1).unwrap();
    enqueue_keyed(&former, "key");
    former.claim(1).unwrap();
    former.apply(done(&first[0])).unwrap();
    server.restart().unwrap();
    depart(former);
    let client = Client::new(server.address());
    assert_eq!(client.claim(2).unwrap().len(), 1);
    let now = client.store.now().unwrap();
    let departed = Dispatch::departed(&client.store, now).unwrap();
    assert!(departed.is_empty());
    let ready = [Interest::Ready("default".to_owned())];
    let found = client.store.wait(&ready, Duration::from_millis(1));
    assert_eq!(found.unwrap(), None, "there is nothing left to claim");
}

#[test]
fn tasks_that_end_together_free_the_keys_that_nobody_has_taken() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let tasks = ["free", "taken", "also free"].map(|key| enqueue_keyed(&client, key));
    let claims = client.claim(3).unwrap();
    let other = enqueue_keyed(&client, "taken");
    let done = claims.iter().map(done).collect();
    client.apply_as(client.txn(), done).unwrap();
    server.restart().unwrap();
    let client = Client::new(server.address());
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
    assert_eq!(enqueue_keyed(&client, "taken"), other);
    let new = ["free", "also free"].map(|key| enqueue_keyed(&client, key));
    assert!(new.iter().all(|task| !tasks.contains(task)));
}

/// Enqueues a task of a group of which two may run at once.
fn enqueue_grouped(client: &Client, priority: u8) -> TaskId {
    let record = client.record().with_options(Options {
        group: Some("group".to_owned()),
        group_limit: Some(2),
        priority,
        ..Options::default()
    });
    let id = record.id;
    client.apply(insert(record)).unwrap();
    id
}

#[test]
fn whoever_lost_its_claim_gives_way_to_more_urgent_tasks_of_its_group() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let slow = [2, 2].map(|priority| enqueue_grouped(&client, priority));
    client.claim(2).unwrap();
    let urgent = [1, 1].map(|priority| enqueue_grouped(&client, priority));
    server.restart().unwrap();
    let client = Client::new(server.address());
    let claims = client.claim(1).unwrap();
    assert_eq!(claims[0].record.id, slow[0]);
    client.apply(done(&claims[0])).unwrap();
    let claims = client.claim(3).unwrap();
    let claimed: Vec<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(claimed, urgent);
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

/// The file to which the server appends.
fn read_log(server: &Redis) -> Vec<u8> {
    let log = "appendonlydir/appendonly.aof.1.incr.aof";
    std::fs::read(server.folder().join(log)).unwrap()
}

#[test]
fn a_merge_is_logged_as_shortly_however_many_came_before() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let first = enqueue_keyed(&client, "key");
    let merge = || {
        let before = read_log(&server).len();
        assert_eq!(enqueue_keyed(&client, "key"), first);
        read_log(&server).len() - before
    };
    merge();
    let few = merge();
    for _ in 0..100 {
        merge();
    }
    // Beside it the thread that renews leases may have written.
    assert!(merge() < few + 500);
    let claims = client.claim(1).unwrap();
    client.apply(done(&claims[0])).unwrap();
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_task_that_comes_alone_is_logged_in_four_commands() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    client.enqueue();
    let before = read_log(&server).len();
    client.enqueue();
    let written = read_log(&server).split_off(before);
    let written = String::from_utf8_lossy(&written);
    // Each begins with the number of its words. The thread that renews leases may have written between.
    let commands = written.split("\n*").filter(|command| {
        let is_lease = |key: &&str| command.contains(&format!("{{votive:default}}:{key}\r"));
        !["leases", "managers"].iter().any(is_lease) && command.contains("{votive:")
    });
    assert_eq!(commands.count(), 4, "{written}");
}

#[test]
fn a_claim_does_not_wait_for_the_disk() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    client.enqueue();
    client.enqueue();
    client.claim(1).unwrap();
    let before = read_log(&server).len();
    assert_eq!(client.claim(1).unwrap().len(), 1);
    let written = read_log(&server).split_off(before);
    let written = String::from_utf8(written).unwrap();
    // The thread that renews leases may have written between.
    for key in [":task:", ":meta", ":held:", ":ready:", ":claims"] {
        assert!(!written.contains(key), "{written}");
    }
}

#[test]
fn a_task_among_many_is_logged_in_two_commands() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let insert_many = || (0..10).map(|_| insert(client.record())).collect();
    client.apply_as(client.txn(), insert_many()).unwrap();
    let before = read_log(&server).len();
    client.apply_as(client.txn(), insert_many()).unwrap();
    let written = read_log(&server).split_off(before);
    let written = String::from_utf8_lossy(&written);
    let count = |key: &str| {
        written
            .matches(&format!("{{votive:default}}:{key}"))
            .count()
    };
    let counts = [
        "task:",
        "body:",
        "tasks\r",
        "ready:",
        "meta\r",
        "outcomes\r",
    ]
    .map(count);
    assert_eq!(counts, [10, 10, 1, 1, 1, 0]);
}

#[test]
fn a_refused_batch_leaves_none_of_its_tasks_behind() {
    let Some(server) = server() else { return };
    let client = Client::new(server.address());
    let (new, known) = (client.record(), client.record());
    client.apply(insert(known.clone())).unwrap();
    // The first is refused, so that nobody comes to undo the second.
    let batch = vec![insert(known.clone()), insert(new.clone())];
    let refused = kind(client.apply_as(client.txn(), batch));
    assert_eq!(refused, Kind::TaskExists(known.id));
    assert_eq!(
        (client.is_visible(new.id), client.is_visible(known.id)),
        (false, true)
    );
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}
