//! Claims: order, leases, and what becomes of the claims of the dead.

use std::collections::BTreeSet;
use std::time::Duration;

use super::scene::{QUEUE, Scene, key_of, kind, request};
use crate::id::{ConsumerId, Incarnation, TaskId};
use crate::store::{Arrival, Dispatch, Kind, Verdict};
use crate::task::{AGEING_MAX, Options, State};

fn priority(priority: u8) -> Options {
    Options {
        priority,
        ..Options::default()
    }
}

fn delay(seconds: u64) -> Options {
    Options {
        delay: Some(Duration::from_secs(seconds)),
        ..Options::default()
    }
}

pub(super) fn tasks_come_in_the_order_of_publishing(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let (staged_first, applied_first) = (scene.record(), scene.record());
    let id = staged_first.id;
    let txn = scene.staged(vec![super::scene::insert(staged_first)]);
    let first = scene.enqueue(applied_first);
    let second = scene.enqueue_any();
    scene.publish(txn);
    let fourth = scene.enqueue_any();
    assert_eq!(scene.claimed_ids(&worker), [first, second, id, fourth]);
}

pub(super) fn a_lower_priority_goes_first(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let [usual, last, first] = [10, 11, 0].map(|p| scene.enqueue(scene.record_with(priority(p))));
    assert_eq!(scene.claimed_ids(&worker), [first, usual, last]);
}

pub(super) fn five_minutes_are_worth_a_step_of_priority(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let aged = scene.enqueue(scene.record_with(priority(10)));
    scene.advance(299);
    let before = scene.enqueue(scene.record_with(priority(9)));
    scene.advance(2);
    let behind = scene.enqueue(scene.record_with(priority(9)));
    assert_eq!(scene.claimed_ids(&worker), [before, aged, behind]);
}

fn aged(priority: u8, seconds: u64) -> Options {
    Options {
        priority,
        ageing: Some(Duration::from_secs(seconds)),
        ..Options::default()
    }
}

pub(super) fn a_step_of_priority_is_worth_what_the_task_says(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let aged_first = scene.enqueue(scene.record_with(aged(10, 60)));
    scene.advance(59);
    let before = scene.enqueue(scene.record_with(aged(9, 60)));
    scene.advance(2);
    let behind = scene.enqueue(scene.record_with(aged(9, 60)));
    assert_eq!(scene.claimed_ids(&worker), [before, aged_first, behind]);
}

pub(super) fn where_priorities_are_worth_nothing_tasks_come_in_the_order_of_publishing(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    let priorities = [10, 255, 0, 7, 0, 255];
    let tasks = priorities.map(|p| scene.enqueue(scene.record_with(aged(p, 0))));
    assert_eq!(scene.claimed_ids(&worker), tasks);
}

pub(super) fn a_step_of_priority_has_a_largest_worth(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let largest = AGEING_MAX.as_secs();
    let last = scene.enqueue(scene.record_with(aged(255, largest)));
    let first = scene.enqueue(scene.record_with(aged(254, largest)));
    let absurd = scene.record_with(aged(1, largest + 1));
    let refused = scene.apply(vec![super::scene::insert(absurd)]);
    assert!(matches!(kind(refused), Kind::Invalid(_)));
    assert_eq!(scene.claimed_ids(&worker), [first, last]);
}

pub(super) fn a_task_keeps_the_place_that_it_came_with(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let slow = scene.enqueue(scene.record_with(aged(10, 300)));
    scene.advance(2_399);
    let before = scene.enqueue(scene.record_with(aged(10, 60)));
    scene.advance(2);
    let behind = scene.enqueue(scene.record_with(aged(10, 60)));
    assert_eq!(scene.claimed_ids(&worker), [before, slow, behind]);
}

pub(super) fn equal_tasks_come_in_the_order_of_their_batch(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let records: Vec<_> = (0..5).map(|_| scene.record_with(priority(3))).collect();
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    // Ids say nothing of the order.
    ids.reverse();
    let inserts = records.into_iter().rev().map(super::scene::insert);
    scene.apply(inserts.collect()).unwrap();
    let two = scene.claim(&worker, 2).into_iter();
    let first: Vec<_> = two.map(|claim| claim.record.id).collect();
    assert_eq!(first, ids[..2]);
    assert_eq!(scene.claimed_ids(&worker), ids[2..]);
}

pub(super) fn a_late_commit_stands_where_its_publishing_puts_it(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let late = scene.record_with(priority(10));
    let id = late.id;
    let txn = scene.staged(vec![super::scene::insert(late)]);
    scene.advance(299);
    let before = scene.enqueue(scene.record_with(priority(10)));
    scene.advance(1);
    scene.publish(txn);
    let ahead = scene.enqueue(scene.record_with(priority(9)));
    assert_eq!(scene.claimed_ids(&worker), [ahead, before, id]);
}

pub(super) fn a_late_commit_that_is_urgent_overtakes_what_waits(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let urgent = scene.record_with(priority(0));
    let id = urgent.id;
    let txn = scene.staged(vec![super::scene::insert(urgent)]);
    let waiting = scene.enqueue_many(3);
    assert_eq!(scene.claim_one(&worker).record.id, waiting[0]);
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [id, waiting[1], waiting[2]]);
}

pub(super) fn a_delay_and_a_priority_add_up(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let delayed = |seconds| Options {
        priority: 9,
        ..delay(seconds)
    };
    let [behind, before] = [301, 299].map(|s| scene.enqueue(scene.record_with(delayed(s))));
    let usual = scene.enqueue(scene.record_with(priority(10)));
    scene.advance(302);
    assert_eq!(scene.claimed_ids(&worker), [before, usual, behind]);
}

pub(super) fn a_task_that_comes_again_stands_where_its_time_puts_it(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let failed = scene.enqueue(scene.record_with(priority(9)));
    let claim = scene.claim_one(&worker);
    let at = scene.now().saturating_add(Duration::from_secs(310));
    scene.settle(&claim, Verdict::Retry { at }).unwrap();
    let usual = scene.enqueue(scene.record_with(priority(10)));
    scene.advance(311);
    assert_eq!(scene.claimed_ids(&worker), [usual, failed]);
}

pub(super) fn a_task_is_given_to_one(scene: &mut Scene<'_>) {
    let (one, other) = (scene.worker(), scene.worker());
    let task = scene.enqueue_any();
    assert_eq!(scene.claimed_ids(&one), [task]);
    assert!(scene.claim(&other, 1).is_empty());
    assert!(scene.claim(&one, 1).is_empty());
}

pub(super) fn a_claim_takes_no_more_than_it_wants(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue_many(5);
    assert!(scene.claim(&worker, 0).is_empty());
    assert_eq!(scene.claim(&worker, 2).len(), 2);
    assert_eq!(scene.claim(&worker, 100).len(), 3);
}

pub(super) fn one_claim_serves_several_queues(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let mut other = scene.record();
    other.queue = "other".into();
    let ids = BTreeSet::from([scene.enqueue(other), scene.enqueue_any()]);
    scene.enqueue_any();
    let request = request(&worker.id, &[("other", 5), (QUEUE, 1), ("empty", 5)]);
    let claims = scene.store().claim(&request, scene.now()).unwrap();
    let claimed: BTreeSet<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(claimed, ids);
}

pub(super) fn a_task_comes_not_before_its_time(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let not_before = scene.now().saturating_add(Duration::from_secs(60));
    let task = scene.enqueue(scene.record_with(Options {
        not_before: Some(not_before),
        ..Options::default()
    }));
    assert_eq!(scene.state(task), Some(State::Scheduled));
    scene.advance(59);
    assert!(scene.claim(&worker, 1).is_empty());
    scene.advance(1);
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_delay_counts_from_publishing(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let record = scene.record_with(delay(60));
    let task = record.id;
    let txn = scene.staged(vec![super::scene::insert(record)]);
    scene.advance(30);
    scene.publish(txn);
    scene.advance(59);
    assert!(scene.claim(&worker, 1).is_empty());
    scene.advance(1);
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_due_task_stands_where_its_time_puts_it(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let due = scene.enqueue(scene.record_with(delay(10)));
    let first = scene.enqueue_any();
    scene.advance(20);
    let last = scene.enqueue_any();
    assert_eq!(scene.claimed_ids(&worker), [first, due, last]);
}

pub(super) fn an_expired_task_is_flagged(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let expires_at = scene.now().saturating_add(Duration::from_secs(60));
    for _ in 0..2 {
        scene.enqueue(scene.record_with(Options {
            expires_at: Some(expires_at),
            ..Options::default()
        }));
    }
    assert_eq!(scene.claim_one(&worker).arrival, Arrival::Fresh);
    scene.advance(61);
    assert_eq!(scene.claim_one(&worker).arrival, Arrival::Expired);
}

pub(super) fn a_claimed_task_says_so(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    assert_eq!(claim.record.state, State::Claimed);
    let listed = scene.store().get(task).unwrap().unwrap();
    assert_eq!(listed.record, claim.record);
    assert_eq!(listed.holder, Some(worker.id.clone()));
    assert_eq!(listed.claimed_at, Some(scene.now()));
}

pub(super) fn every_claim_has_a_token_of_its_own(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue_many(10);
    let claims = scene.claim(&worker, 10);
    let tokens: BTreeSet<_> = claims.iter().map(|claim| claim.token).collect();
    assert_eq!(tokens.len(), 10);
    let is_ours = |token: &crate::id::Token| token.incarnation == worker.id.incarnation;
    assert!(tokens.iter().all(is_ours));
}

pub(super) fn who_is_not_attended_may_not_claim(scene: &mut Scene<'_>) {
    let task = scene.enqueue_any();
    let stranger = ConsumerId {
        incarnation: Incarnation::random(),
        name: "stranger".to_owned(),
    };
    let request = request(&stranger, &[(QUEUE, 1)]);
    let refused = scene.store().claim(&request, scene.now());
    assert!(matches!(kind(refused), Kind::Invalid(_)));
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn the_claims_of_the_dead_are_reclaimed(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    let task = scene.enqueue_any();
    scene.claim_one(&dead);
    drop(dead);
    let claim = scene.claim_one(&living);
    assert_eq!((claim.record.id, claim.arrival), (task, Arrival::Reclaimed));
    let counts = claim.record.counts;
    assert_eq!((counts.reclaims, counts.attempts, counts.conflicts), (1, 0, 0));
}

pub(super) fn the_claims_of_the_living_are_not_reclaimed(scene: &mut Scene<'_>) {
    let (busy, idle) = (scene.worker(), scene.worker());
    scene.enqueue_any();
    let claim = scene.claim_one(&busy);
    scene.advance(3_600);
    let extended = scene.store().extend(&[key_of(&claim)], Duration::from_secs(60), scene.now());
    assert!(extended.unwrap().is_empty());
    assert!(scene.claim(&idle, 1).is_empty());
    scene.done(&claim);
}

pub(super) fn a_reclaimed_task_keeps_its_place(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    let first = scene.enqueue_any();
    scene.claim_one(&dead);
    scene.advance(1);
    let second = scene.enqueue_any();
    drop(dead);
    assert_eq!(scene.claimed_ids(&living), [first, second]);
}

pub(super) fn a_task_of_the_dead_stays_theirs_until_it_is_claimed(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    let tasks = scene.enqueue_many(2);
    scene.claim(&dead, 2);
    drop(dead);
    assert_eq!(scene.claim_one(&living).record.id, tasks[0]);
    assert_eq!(scene.state(tasks[1]), Some(State::Claimed));
    assert_eq!(scene.found(tasks[1]).unwrap().counts.reclaims, 0);
}

pub(super) fn the_dead_are_named(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    scene.enqueue_many(2);
    scene.claim_one(&dead);
    scene.claim_one(&living);
    let incarnation = dead.id.incarnation;
    let departed = |scene: &Scene<'_>| Dispatch::departed(scene.store(), scene.now()).unwrap();
    assert!(departed(scene).is_empty());
    drop(dead);
    assert_eq!(departed(scene), BTreeSet::from([incarnation]));
}

pub(super) fn extending_names_the_claims_that_were_lost(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    scene.enqueue_many(2);
    let lost = scene.claim_one(&dead);
    let held = scene.claim_one(&living);
    drop(dead);
    scene.claim_one(&living);
    let keys = [key_of(&lost), key_of(&held)];
    let extended = scene.store().extend(&keys, Duration::from_secs(60), scene.now());
    assert_eq!(extended.unwrap(), [lost.record.id]);
}

pub(super) fn no_task_goes_to_two_of_many_threads(scene: &mut Scene<'_>) {
    let mut enqueued = scene.enqueue_many(100);
    let scene = &*scene;
    let drain = || {
        let worker = scene.worker();
        let claims = std::iter::from_fn(|| {
            let ids = scene.claim(&worker, 3).into_iter().map(|claim| claim.record.id);
            Some(ids.collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
        });
        let ids: Vec<TaskId> = claims.flatten().collect();
        (ids, worker)
    };
    // Workers outlive the claiming, lest one reclaims what another has finished claiming.
    let drained: Vec<_> = std::thread::scope(|threads| {
        let threads: Vec<_> = (0..4).map(|_| threads.spawn(drain)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut claimed: Vec<_> = drained.into_iter().flat_map(|(ids, _)| ids).collect();
    claimed.sort();
    enqueued.sort();
    assert_eq!(claimed, enqueued);
}
