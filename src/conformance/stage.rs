//! Two-phase commit of a batch.

use std::time::Duration;

use super::scene::{Scene, amend, insert, kind, mark, settle};
use crate::id::ResourceId;
use crate::register::Decision;
use crate::store::{Amendment, Applied, Batch, Change, Kind, Published, Verdict};
use crate::task::{Options, State};

pub(super) fn a_staged_batch_is_invisible(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    scene.staged(vec![insert(record), mark("key", None, Some("value"))]);
    let worker = scene.worker();
    assert_eq!(scene.state(task), None);
    assert!(scene.claim(&worker, 1).is_empty());
    assert_eq!(scene.store().mark("key").unwrap(), None);
    assert!(scene.store().stats().unwrap().queues.is_empty());
}

pub(super) fn a_published_batch_is_visible(scene: &mut Scene<'_>) {
    let (one, two) = (scene.record(), scene.record());
    let ids = [one.id, two.id];
    let txn = scene.staged(vec![insert(one), insert(two)]);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(ids.map(|id| scene.state(id)), [Some(State::Ready); 2]);
    assert!(scene.store().in_doubt(None, 10).unwrap().is_empty());
}

pub(super) fn publishing_again_changes_nothing(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![insert(scene.record())]);
    scene.publish(txn);
    let worker = scene.worker();
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    assert_eq!(scene.publish(txn), Published::Already);
    assert!(scene.claim(&worker, 1).is_empty());
}

pub(super) fn publishing_what_was_never_staged_is_unknown(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    assert_eq!(scene.publish(txn), Published::Unknown);
}

pub(super) fn publishing_after_a_discard_is_unknown(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![insert(scene.record())]);
    scene.discard(txn);
    assert_eq!(scene.publish(txn), Published::Unknown);
}

pub(super) fn discarding_forgets_the_batch(scene: &mut Scene<'_>) {
    let record = scene.record();
    let task = record.id;
    let txn = scene.staged(vec![insert(record)]);
    scene.discard(txn);
    assert_eq!(scene.state(task), None);
    assert!(scene.store().in_doubt(None, 10).unwrap().is_empty());
}

pub(super) fn discarding_again_or_what_is_unknown_succeeds(scene: &mut Scene<'_>) {
    let unknown = scene.txn();
    let staged = scene.staged(vec![insert(scene.record())]);
    for txn in [staged, staged, unknown] {
        assert!(scene.store().discard(txn).is_ok());
    }
}

pub(super) fn staging_the_same_batch_again_is_accepted(scene: &mut Scene<'_>) {
    let (txn, register) = (scene.txn(), ResourceId::random());
    let batch = Batch::new(vec![insert(scene.record())]);
    for _ in 0..2 {
        let staged = scene.store().stage(txn, register, &batch, scene.now());
        assert!(staged.is_ok());
    }
    assert_eq!(scene.store().in_doubt(None, 10).unwrap().len(), 1);
}

pub(super) fn what_a_batch_was_judged_by_stays_beyond_its_retention(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(scene.record_with(Options {
        retention: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    let txn = scene.staged(vec![amend(task, Amendment::Revive)]);
    scene.advance(61);
    scene.enqueue_any();
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn staging_another_batch_for_a_transaction_is_refused(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![insert(scene.record())]);
    let other = Batch::new(vec![insert(scene.record())]);
    let register = ResourceId::random();
    let refused = scene.store().stage(txn, register, &other, scene.now());
    assert_eq!(kind(refused), Kind::StagedOtherwise(txn));
}

pub(super) fn staging_a_transaction_that_was_decided_here_is_refused(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    let decided = scene.store().decide(txn, Decision::Aborted, &[]).unwrap();
    assert_eq!(decided.decision, Some(Decision::Aborted));
    let batch = Batch::new(vec![insert(scene.record())]);
    let register = scene.store().resource();
    let late = scene.store().stage(txn, register, &batch, scene.now());
    assert_eq!(kind(late), Kind::Decided(txn));
}

pub(super) fn staging_a_published_transaction_is_refused(scene: &mut Scene<'_>) {
    let (txn, register) = (scene.txn(), ResourceId::random());
    let batch = Batch::new(vec![mark("key", None, Some("value"))]);
    let stage = |scene: &Scene<'_>| scene.store().stage(txn, register, &batch, scene.now());
    stage(scene).unwrap();
    scene.publish(txn);
    assert_eq!(kind(stage(scene)), Kind::Decided(txn));
}

pub(super) fn staged_transactions_are_listed_in_pages(scene: &mut Scene<'_>) {
    let staged: Vec<_> = (0..5)
        .map(|_| scene.staged(vec![insert(scene.record())]))
        .collect();
    let mut listed = Vec::new();
    loop {
        let page = scene.store().in_doubt(listed.last().copied(), 2).unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|in_doubt| in_doubt.txn));
    }
    assert_eq!(listed, staged);
}

pub(super) fn a_staged_transaction_tells_its_register_age_and_size(scene: &mut Scene<'_>) {
    let (txn, register) = (scene.txn(), ResourceId::random());
    let batch = Batch::new(vec![insert(scene.record()), insert(scene.record())]);
    let staged_at = scene.now();
    scene.store().stage(txn, register, &batch, staged_at).unwrap();
    scene.advance(60);
    let listed = &scene.store().in_doubt(None, 10).unwrap()[0];
    assert_eq!((listed.txn, listed.register), (txn, register));
    assert_eq!((listed.staged_at, listed.change_count), (staged_at, 2));
    assert!(listed.size > 2 * b"payload".len());
}

pub(super) fn what_is_staged_is_not_forgettable(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![insert(scene.record())]);
    assert!(scene.store().forgettable(&[txn]).unwrap().is_empty());
}

pub(super) fn what_is_published_or_discarded_is_forgettable(scene: &mut Scene<'_>) {
    let published = scene.staged(vec![insert(scene.record())]);
    let discarded = scene.staged(vec![insert(scene.record())]);
    let unknown = scene.txn();
    scene.publish(published);
    scene.discard(discarded);
    let all = [published, discarded, unknown];
    assert_eq!(scene.store().forgettable(&all).unwrap(), all);
}

pub(super) fn an_empty_batch_is_staged_and_published(scene: &mut Scene<'_>) {
    let txn = scene.staged(Vec::new());
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
}

/// More than fits into one statement, one message or one stack of arguments.
const MANY: usize = 10_000;

fn many(scene: &Scene<'_>) -> Vec<Change> {
    let records = std::iter::repeat_with(|| scene.record());
    records.take(MANY).map(insert).collect()
}

pub(super) fn a_batch_of_ten_thousand_tasks_is_staged_whole(scene: &mut Scene<'_>) {
    let txn = scene.staged(many(scene));
    let in_doubt = scene.store().in_doubt(None, 10).unwrap();
    assert_eq!(in_doubt[0].change_count, MANY);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    let ready = vec![(State::Ready, MANY as u64)];
    assert_eq!(scene.store().stats().unwrap().queues[0].counts, ready);
}

pub(super) fn ten_thousand_claims_are_settled_in_one_batch(scene: &mut Scene<'_>) {
    scene.apply(many(scene)).unwrap();
    let worker = scene.worker();
    // A store may give fewer at once than it is asked for.
    let claimed = std::iter::repeat_with(|| scene.claim(&worker, MANY));
    let claims: Vec<_> = claimed
        .take_while(|claims| !claims.is_empty())
        .flatten()
        .collect();
    let done = claims.iter().map(|claim| settle(claim, Verdict::Done));
    scene.apply(done.collect()).unwrap();
    assert_eq!(claims.len(), MANY);
    assert!(scene.store().stats().unwrap().queues.is_empty());
}
