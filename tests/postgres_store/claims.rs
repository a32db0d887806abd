//! Claims: whoever else claims, and while an old snapshot is held.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Barrier;

use votive::id::TaskId;
use votive::store::postgres::PostgresStore;
use votive::store::{Amendment, Change, Claim, Inspect, Kind, Verdict};
use votive::task::{State, StateSet};
use votive_testbed::Postgres;

use crate::fixture::{Process, SERVER, claim, done, settled};

#[test]
fn two_consumers_share_the_work() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let enqueued: BTreeSet<_> = process.enqueue(200).into_iter().collect();
    let both = Barrier::new(2);
    let drain = || {
        let process = Process::new(&store);
        let (consumer, presence) = process.consumer("web");
        both.wait();
        // A round more than enough: who is second may find less than there is.
        let rounds = (0..60).flat_map(|_| {
            let claims = claim(&store, &consumer, 2);
            both.wait();
            claims
        });
        let ids: Vec<_> = rounds.map(|claim| claim.record.id).collect();
        (ids, presence)
    };
    let drained: Vec<_> = std::thread::scope(|threads| {
        let threads = [threads.spawn(drain), threads.spawn(drain)];
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(drained.iter().all(|(ids, _)| ids.len() >= 80));
    let claimed: Vec<_> = drained.into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), enqueued);
}

#[test]
fn a_drain_goes_on_while_an_old_snapshot_is_held() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let enqueued = process.enqueue(1_000).len();
    let mut holder = server.client().unwrap();
    let held = holder.build_transaction();
    let held = held.isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut held = held.start().unwrap();
    held.query_one("SELECT 1", &[]).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let mut drained = 0;
    while drained < enqueued {
        let claims = claim(&store, &consumer, 100);
        assert!(!claims.is_empty());
        drained += claims.len();
        process.apply(claims.iter().map(done).collect()).unwrap();
    }
    assert!(store.stats().unwrap().queues.is_empty());
    assert!(store.check().unwrap().is_empty());
}

/// How many rows a table of the store has.
fn rows(server: &Postgres, store: &PostgresStore, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {}.{table}", store.schema());
    server
        .client()
        .unwrap()
        .query_one(&sql, &[])
        .unwrap()
        .get(0)
}

#[test]
fn tasks_that_come_together_are_in_one_row_of_the_line_and_their_claims_in_one() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    process.enqueue(100);
    assert_eq!(rows(server, &store, "ready"), 1);
    let (consumer, _presence) = process.consumer("web");
    let claims = claim(&store, &consumer, 60);
    assert_eq!(claims.len(), 60);
    assert_eq!(rows(server, &store, "ready"), 1);
    assert_eq!(rows(server, &store, "claim"), 1);
    process.apply(claims.iter().map(done).collect()).unwrap();
    assert_eq!(rows(server, &store, "claim"), 0);
    assert_eq!(claim(&store, &consumer, 60).len(), 40);
}

#[test]
fn tasks_that_come_one_after_the_other_are_claimed_by_one_row_too() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let came: Vec<_> = (0..20).flat_map(|_| process.enqueue(1)).collect();
    assert_eq!(rows(server, &store, "ready"), 20);
    let (consumer, _presence) = process.consumer("web");
    let claims = claim(&store, &consumer, 100);
    let claimed: Vec<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(claimed, came);
    // One look to learn how long the runs are, and one for all others.
    assert_eq!(rows(server, &store, "claim"), 2);
}

#[test]
fn claims_in_another_order_than_that_in_which_tasks_came_are_of_the_tasks_that_were_taken() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let came: Vec<_> = (0..6).flat_map(|_| process.enqueue(1)).collect();
    // The fifth is between the second and the third that are claimed together, but not one of them.
    let place =
        "CASE seq WHEN 1 THEN 1 WHEN 4 THEN 2 WHEN 2 THEN 3 WHEN 6 THEN 4 WHEN 5 THEN 5 ELSE 6 END";
    let places = format!(
        "UPDATE @.task SET rank = {place}; DELETE FROM @.ready;
         INSERT INTO @.ready (queue, rank, first, last) SELECT queue, rank, seq, seq FROM @.task"
    );
    let places = places.replace('@', store.schema());
    server.client().unwrap().batch_execute(&places).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let claimed = [1, 3, 2].map(|count| {
        let claims = claim(&store, &consumer, count);
        claims
            .into_iter()
            .map(|claim| claim.record.id)
            .collect::<Vec<_>>()
    });
    let expected = [vec![0], vec![3, 1, 5], vec![4, 2]];
    let expected = expected.map(|places| {
        places
            .into_iter()
            .map(|at: usize| came[at])
            .collect::<Vec<_>>()
    });
    assert_eq!(claimed, expected);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn claims_that_end_one_by_one_leave_nothing_behind_when_their_holder_goes() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    process.enqueue(3);
    let (consumer, presence) = process.consumer("web");
    let mut claims = claim(&store, &consumer, 3);
    let left = claims.pop().unwrap();
    for claim in &claims {
        process.apply(vec![done(claim)]).unwrap();
    }
    assert_eq!(rows(server, &store, "claim"), 1);
    drop(presence);
    let (consumer, presence) = process.consumer("another");
    let again = claim(&store, &consumer, 3);
    assert_eq!(again.len(), 1);
    assert!(process.apply(vec![done(&left)]).is_err());
    process.apply(vec![done(&again[0])]).unwrap();
    drop(presence);
    assert_eq!(rows(server, &store, "claim"), 0);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_claim_that_is_over_ends_nothing_although_others_of_its_run_are_not() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    process.enqueue(3);
    let (consumer, presence) = process.consumer("web");
    let claims = claim(&store, &consumer, 3);
    let at = store.now().unwrap();
    process
        .apply(vec![settled(&claims[0], Verdict::Retry { at })])
        .unwrap();
    let lost = |claim: &Claim| Kind::ClaimLost(claim.record.id);
    let late = process.apply(vec![done(&claims[0])]);
    assert_eq!(late.unwrap_err().kind, lost(&claims[0]));
    drop(presence);
    let (consumer, _presence) = process.consumer("another");
    let taken = claim(&store, &consumer, 1).remove(0);
    assert_eq!(taken.record.id, claims[1].record.id);
    let late = process.apply(vec![done(&claims[1])]);
    assert_eq!(late.unwrap_err().kind, lost(&claims[1]));
    process.apply(vec![done(&taken)]).unwrap();
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Claimers and somebody who cancels, all at the same runs.
#[test]
fn a_task_of_a_run_is_claimed_or_cancelled_and_never_both() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let ids: Vec<_> = (0..5)
        .flat_map(|_| Process::new(&store).enqueue(40))
        .collect();
    let claiming = || {
        let process = Process::new(&store);
        let (consumer, presence) = process.consumer("web");
        let claims = (0..25).flat_map(|_| claim(&store, &consumer, 3));
        (
            claims.map(|claim| claim.record.id).collect::<Vec<_>>(),
            presence,
        )
    };
    let cancelling = |start: usize| {
        let mut process = Process::new(&store);
        let chosen = ids.iter().skip(start).step_by(7).copied();
        let cancelled = chosen.filter(|task| process.apply(vec![cancel(*task)]).is_ok());
        cancelled.collect::<Vec<_>>()
    };
    let (claimed, cancelled) = std::thread::scope(|threads| {
        let claimers = [(); 2].map(|()| threads.spawn(claiming));
        let cancellers = [0, 3].map(|start| threads.spawn(move || cancelling(start)));
        let claimed = claimers.map(|thread| thread.join().unwrap());
        (claimed, cancellers.map(|thread| thread.join().unwrap()))
    });
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    let all = claimed
        .iter()
        .flat_map(|(ids, _)| ids)
        .chain(cancelled.iter().flatten());
    let all: Vec<_> = all.collect();
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        all.len(),
        "{all:?}"
    );
    let ready = store.stats().unwrap().queues.remove(0);
    let is_ready = |(state, _): &&(State, u64)| *state == State::Ready;
    let left = ready
        .counts
        .iter()
        .find(is_ready)
        .map_or(0, |(_, count)| *count);
    assert_eq!(all.len() as u64 + left, 200);
}

fn cancel(task: TaskId) -> Change {
    Change::Amend {
        task,
        expect: StateSet::of(&[State::Ready]),
        amendment: Amendment::Cancel,
    }
}
