//! What outlives a crash, and what must not come back.

use super::scene::{Scene, insert, mark, settle, unique};
use crate::id::ResourceId;
use crate::register::Decision;
use crate::store::{Applied, Arrival, Published, Verdict};
use crate::task::{OnDuplicate, State};

pub(super) fn what_was_applied_survives(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = scene.enqueue(record.clone());
    let Some(()) = scene.crash() else { return };
    let found = scene.found(task).unwrap();
    assert_eq!((found.state, found.payload), (State::Ready, record.payload));
}

pub(super) fn what_was_staged_is_still_in_doubt(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged(vec![insert(record)]);
    let before = scene.store().in_doubt(None, 10).unwrap();
    let Some(()) = scene.crash() else { return };
    assert_eq!(scene.store().in_doubt(None, 10).unwrap(), before);
    assert_eq!(before[0].txn, txn);
    assert_eq!(scene.state(task), None);
}

pub(super) fn what_was_staged_is_published_after_a_crash(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged(vec![insert(record), mark("key", None, Some("value"))]);
    let Some(()) = scene.crash() else { return };
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(task), Some(State::Ready));
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"value".to_vec()));
}

pub(super) fn what_its_own_store_decided_stays_staged_until_it_is_published(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged_here(vec![insert(record)]);
    let database = ResourceId::of_preparing_database([1; 12]);
    let holders = [database, scene.store().id()];
    let decided = scene.store().decide(txn, Decision::Committed, &holders);
    assert_eq!(decided.unwrap().decision, Some(Decision::Committed));
    assert_eq!(scene.state(task), None);
    assert!(scene.store().forgettable(&[txn]).unwrap().is_empty());
    let Some(()) = scene.crash() else { return };
    assert_eq!(scene.state(task), None);
    let staged = &scene.store().in_doubt(None, 2).unwrap()[0];
    assert_eq!((staged.txn, staged.register), (txn, scene.store().id()));
    assert_eq!(scene.store().outcomes(None, 1).unwrap()[0].stores, holders);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn a_pinned_claim_stays_pinned(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    let txn = scene.staged(vec![settle(&claim, Verdict::Done)]);
    drop(worker);
    let Some(()) = scene.crash() else { return };
    let worker = scene.worker();
    assert!(scene.claim(&worker, 1).is_empty());
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(task), None);
}

pub(super) fn what_was_forgettable_does_not_come_back(scene: &mut Scene<'_>) {
    let published = scene.staged(vec![insert(scene.record())]);
    let discarded = scene.staged(vec![insert(scene.record())]);
    scene.publish(published);
    scene.discard(discarded);
    let both = [published, discarded];
    assert_eq!(scene.store().forgettable(&both).unwrap(), both);
    let Some(()) = scene.crash() else { return };
    assert!(scene.store().in_doubt(None, 10).unwrap().is_empty());
    let worker = scene.worker();
    assert_eq!(scene.claim(&worker, 10).len(), 1);
}

pub(super) fn the_claims_of_the_crashed_are_reclaimed(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let lost = scene.claim_one(&worker);
    drop(worker);
    let Some(()) = scene.crash() else { return };
    let worker = scene.worker();
    let claim = scene.claim_one(&worker);
    assert_eq!((claim.record.id, claim.arrival), (task, Arrival::Reclaimed));
    assert!(scene.settle(&lost, Verdict::Done).is_err());
    scene.done(&claim);
}

pub(super) fn a_reserved_key_stays_reserved(scene: &mut Scene<'_>) {
    let options = unique("key", OnDuplicate::Merge);
    let txn = scene.staged(vec![insert(scene.record_with(options.clone()))]);
    let Some(()) = scene.crash() else { return };
    let refused = scene.apply(vec![insert(scene.record_with(options.clone()))]);
    assert!(refused.unwrap_err().is_retryable());
    scene.discard(txn);
    scene.enqueue(scene.record_with(options));
}

pub(super) fn decisions_survive(scene: &mut Scene<'_>) {
    let (commit, abort) = (scene.txn(), scene.txn());
    let pairs = [(commit, Decision::Committed), (abort, Decision::Aborted)];
    for (txn, want) in pairs {
        scene.store().decide(txn, want, &[]).unwrap();
    }
    let Some(()) = scene.crash() else { return };
    for (txn, wanted) in pairs {
        let answer = scene.store().decide(txn, Decision::Aborted, &[]).unwrap();
        assert_eq!(answer.decision, Some(wanted));
    }
}

pub(super) fn marks_survive(scene: &mut Scene<'_>) {
    scene.apply(vec![mark("key", None, Some("value"))]).unwrap();
    let Some(()) = scene.crash() else { return };
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"value".to_vec()));
}

pub(super) fn time_does_not_go_backwards_over_a_crash(scene: &mut Scene<'_>) {
    scene.advance(3_600);
    let published_at = scene.now();
    let first = scene.enqueue_any();
    scene.set_clock(super::scene::START);
    let Some(()) = scene.crash() else { return };
    assert!(scene.now() >= published_at);
    let second = scene.enqueue_any();
    let worker = scene.worker();
    assert_eq!(scene.claimed_ids(&worker), [first, second]);
}
