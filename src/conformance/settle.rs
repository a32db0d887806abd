//! Settlements: how claims end, and the fencing that keeps a late one out.

use std::time::Duration;

use super::scene::{QUEUE, Scene, amend, failure, insert, kind, mark, settle, settlement};
use crate::store::{Amendment, Applied, Change, Claim, Kind, Published, Settlement, Verdict};
use crate::task::{Account, Counts, DeadReason, Options, Position, Record, State};

fn retry(scene: &Scene<'_>, seconds: u64) -> Verdict {
    Verdict::Retry {
        at: scene.now().saturating_add(Duration::from_secs(seconds)),
    }
}

/// What a run can leave behind, all of it.
fn account(scene: &Scene<'_>) -> Account {
    Account {
        result: Some(scene.record().payload),
        position: Some(Position {
            done: 3,
            total: 7,
            size: 2,
            timeouts: 1,
        }),
        ..failure(&["outer", "inner"], scene.now())
    }
}

/// Settles a claim with an account, and returns what the store has of the task then.
fn tell(scene: &mut Scene<'_>, claim: &Claim, verdict: Verdict, account: Account) -> Record {
    let settlement = settlement(claim, verdict, Some(account));
    scene.apply(vec![Change::Settle(settlement)]).unwrap();
    scene.found(claim.record.id).unwrap()
}

fn claimed(scene: &mut Scene<'_>) -> (super::scene::Worker, Claim) {
    let worker = scene.worker();
    scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    (worker, claim)
}

pub(super) fn a_done_task_leaves(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    scene.done(&claim);
    assert_eq!(scene.state(claim.record.id), None);
    assert!(scene.store().stats().unwrap().queues.is_empty());
}

pub(super) fn a_retained_task_leaves_after_its_time(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(scene.record_with(Options {
        retention: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    scene.advance(59);
    scene.enqueue_any();
    let record = scene.found(task).unwrap();
    assert_eq!(record.state, State::Done);
    assert!(record.ended_at.is_some());
    scene.advance(2);
    scene.enqueue_any();
    assert_eq!(scene.state(task), None);
}

pub(super) fn a_failed_task_comes_again_at_its_time(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let verdict = retry(scene, 60);
    scene.settle(&claim, verdict).unwrap();
    assert_eq!(scene.state(claim.record.id), Some(State::Scheduled));
    assert!(scene.claim(&worker, 1).is_empty());
    scene.advance(60);
    let again = scene.claim_one(&worker);
    assert_eq!(again.record.id, claim.record.id);
    assert_ne!(again.token, claim.token);
}

pub(super) fn a_settlement_keeps_counts_and_account(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    let counts = Counts {
        attempts: 2,
        conflicts: 3,
        reclaims: 4,
    };
    let account = account(scene);
    let settlement = Settlement {
        counts,
        ..settlement(&claim, retry(scene, 60), Some(account.clone()))
    };
    scene.apply(vec![Change::Settle(settlement)]).unwrap();
    let record = scene.found(claim.record.id).unwrap();
    assert_eq!(record.counts, counts);
    assert_eq!(record.account.as_deref(), Some(&account));
}

pub(super) fn a_settlement_that_says_nothing_leaves_the_account(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let account = account(scene);
    let retry = Verdict::Retry { at: scene.now() };
    tell(scene, &claim, retry, account.clone());
    let again = scene.claim_one(&worker);
    assert_eq!(again.record.account.as_deref(), Some(&account));
    scene.settle(&again, Verdict::Release { at: None }).unwrap();
    let record = scene.found(claim.record.id).unwrap();
    assert_eq!(record.account.as_deref(), Some(&account));
}

pub(super) fn a_claim_given_back_keeps_its_account(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let account = account(scene);
    tell(scene, &claim, Verdict::Release { at: None }, account.clone());
    let again = scene.claim_one(&worker);
    assert_eq!(again.record.account.as_deref(), Some(&account));
}

pub(super) fn a_result_is_kept_as_long_as_its_task(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(scene.record_with(Options {
        retention: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    let claim = scene.claim_one(&worker);
    let account = account(scene);
    let record = tell(scene, &claim, Verdict::Done, account.clone());
    assert_eq!((record.state, record.result()), (State::Done, account.result.as_ref()));
    assert_eq!(record.account.as_deref(), Some(&account));
    scene.advance(61);
    scene.enqueue_any();
    assert_eq!(scene.found(task), None);
}

pub(super) fn a_staged_result_is_seen_when_it_is_published(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(scene.record_with(Options {
        retention: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    let claim = scene.claim_one(&worker);
    let account = account(scene);
    let done = settlement(&claim, Verdict::Done, Some(account.clone()));
    let txn = scene.staged(vec![Change::Settle(done)]);
    assert_eq!(scene.found(task).unwrap().account, None);
    scene.publish(txn);
    assert_eq!(scene.found(task).unwrap().account.as_deref(), Some(&account));
}

pub(super) fn a_buried_task_stays_and_says_why(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let bury = Verdict::Bury {
        reason: DeadReason::Failed,
    };
    let account = account(scene);
    tell(scene, &claim, bury, account);
    scene.advance(1_000_000);
    let record = scene.found(claim.record.id).unwrap();
    assert_eq!((record.state, record.dead), (State::Dead, Some(DeadReason::Failed)));
    assert!(record.failure().is_some() && record.ended_at.is_some());
    assert!(scene.claim(&worker, 1).is_empty());
}

pub(super) fn a_released_task_keeps_its_place(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    scene.advance(1);
    let second = scene.enqueue_any();
    scene.settle(&claim, Verdict::Release { at: None }).unwrap();
    assert_eq!(scene.claimed_ids(&worker), [claim.record.id, second]);
}

pub(super) fn a_task_released_for_later_waits(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let at = Some(scene.now().saturating_add(Duration::from_secs(60)));
    scene.settle(&claim, Verdict::Release { at }).unwrap();
    assert!(scene.claim(&worker, 1).is_empty());
    scene.advance(60);
    assert_eq!(scene.claimed_ids(&worker), [claim.record.id]);
}

pub(super) fn a_late_settlement_never_touches_the_successor(scene: &mut Scene<'_>) {
    let (dead, late) = claimed(scene);
    let living = scene.worker();
    drop(dead);
    let claim = scene.claim_one(&living);
    let task = claim.record.id;
    assert_eq!(kind(scene.settle(&late, Verdict::Done)), Kind::ClaimLost(task));
    let staged = scene.stage(vec![settle(&late, Verdict::Done)]);
    assert_eq!(kind(staged), Kind::ClaimLost(task));
    assert_eq!(scene.state(task), Some(State::Claimed));
    scene.done(&claim);
}

pub(super) fn the_first_lost_claim_of_a_batch_is_named(scene: &mut Scene<'_>) {
    let (dead, late) = claimed(scene);
    let living = scene.worker();
    let other = scene.enqueue_any();
    drop(dead);
    let mut claims = scene.claim(&living, 2);
    claims.sort_by_key(|claim| claim.record.id == other);
    scene.done(&claims[1]);
    let ends = [&late, &claims[1], &claims[0]].map(|claim| settle(claim, Verdict::Done));
    let refused = scene.apply(ends.to_vec());
    assert_eq!(kind(refused), Kind::ClaimLost(late.record.id));
    scene.done(&claims[0]);
}

pub(super) fn a_claim_is_settled_once(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    scene.settle(&claim, Verdict::Release { at: None }).unwrap();
    let again = scene.settle(&claim, Verdict::Done);
    assert_eq!(kind(again), Kind::ClaimLost(claim.record.id));
    assert_eq!(scene.state(claim.record.id), Some(State::Ready));
}

pub(super) fn a_task_that_was_not_claimed_cannot_be_settled(scene: &mut Scene<'_>) {
    let (_worker, mut claim) = claimed(scene);
    let pending = scene.enqueue_any();
    claim.record.id = pending;
    let refused = scene.settle(&claim, Verdict::Done);
    assert_eq!(kind(refused), Kind::ClaimLost(pending));
}

pub(super) fn a_settlement_and_its_children_are_one_step(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    let child = scene.record();
    let id = child.id;
    let changes = vec![
        settle(&claim, Verdict::Done),
        insert(child),
        mark("key", None, Some("value")),
    ];
    let txn = scene.staged(changes);
    assert_eq!((scene.state(claim.record.id), scene.state(id)), (Some(State::Claimed), None));
    scene.publish(txn);
    assert_eq!((scene.state(claim.record.id), scene.state(id)), (None, Some(State::Ready)));
}

pub(super) fn a_lost_claim_refuses_the_whole_batch(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    scene.done(&claim);
    let child = scene.record();
    let id = child.id;
    let refused = scene.apply(vec![insert(child), settle(&claim, Verdict::Done)]);
    assert_eq!(kind(refused), Kind::ClaimLost(claim.record.id));
    assert_eq!(scene.state(id), None);
}

pub(super) fn a_staged_settlement_settles_when_it_is_published(scene: &mut Scene<'_>) {
    let (worker, claim) = claimed(scene);
    let verdict = retry(scene, 60);
    let txn = scene.staged(vec![settle(&claim, verdict)]);
    assert_eq!(scene.state(claim.record.id), Some(State::Claimed));
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(claim.record.id), Some(State::Scheduled));
    scene.advance(60);
    assert_eq!(scene.claimed_ids(&worker), [claim.record.id]);
}

pub(super) fn a_claim_has_one_staged_settlement(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    scene.staged(vec![settle(&claim, Verdict::Done)]);
    let pinned = Kind::Pinned(claim.record.id);
    let staged = scene.stage(vec![settle(&claim, Verdict::Done)]);
    assert_eq!(kind(staged), pinned);
    assert_eq!(kind(scene.settle(&claim, Verdict::Done)), pinned);
}

pub(super) fn a_pinned_claim_is_not_reclaimed(scene: &mut Scene<'_>) {
    let (dead, claim) = claimed(scene);
    let living = scene.worker();
    let txn = scene.staged(vec![settle(&claim, Verdict::Done)]);
    drop(dead);
    assert!(scene.claim(&living, 1).is_empty());
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(claim.record.id), None);
}

pub(super) fn a_pinned_claim_is_not_amended(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    let task = claim.record.id;
    let txn = scene.staged(vec![settle(&claim, Verdict::Done)]);
    let amendments = [
        Amendment::Cancel,
        Amendment::Move("other".to_owned()),
        Amendment::Remove,
        Amendment::Revive,
        Amendment::Reschedule(None),
    ];
    for amendment in amendments {
        assert!(scene.apply(vec![amend(task, amendment)]).is_err());
    }
    let record = scene.found(task).unwrap();
    assert_eq!((record.state, record.queue.as_str()), (State::Claimed, QUEUE));
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
}

pub(super) fn a_discarded_settlement_leaves_the_claim(scene: &mut Scene<'_>) {
    let (_worker, claim) = claimed(scene);
    let txn = scene.staged(vec![settle(&claim, Verdict::Done)]);
    scene.discard(txn);
    assert_eq!(scene.state(claim.record.id), Some(State::Claimed));
    scene.done(&claim);
    assert_eq!(scene.state(claim.record.id), None);
}

pub(super) fn a_discarded_settlement_of_the_dead_is_reclaimed(scene: &mut Scene<'_>) {
    let (dead, claim) = claimed(scene);
    let living = scene.worker();
    let txn = scene.staged(vec![settle(&claim, Verdict::Done)]);
    drop(dead);
    scene.discard(txn);
    assert_eq!(scene.claimed_ids(&living), [claim.record.id]);
}
