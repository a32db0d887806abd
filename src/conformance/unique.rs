//! Unique keys: reserved while staged, held while pending.

use super::scene::{QUEUE, Scene, amend, insert, kind, settle, unique};
use crate::id::TaskId;
use crate::store::{Amendment, Applied, Change, Kind, Published, Verdict};
use crate::task::{OnDuplicate, Record, State};

fn merging(scene: &Scene<'_>) -> Record {
    scene.record_with(unique("key", OnDuplicate::Merge))
}

fn refusing(scene: &Scene<'_>) -> Record {
    scene.record_with(unique("key", OnDuplicate::Refuse))
}

pub(super) fn a_duplicate_merges_into_the_waiting_task(scene: &mut Scene<'_>) {
    let first = scene.enqueue(merging(scene));
    let second = merging(scene);
    let id = second.id;
    let applied = scene.apply(vec![insert(second)]).unwrap();
    assert_eq!(applied.merged, [(id, first)]);
    let worker = scene.worker();
    assert_eq!(scene.claimed_ids(&worker), [first]);
}

pub(super) fn a_merged_id_is_an_alias(scene: &mut Scene<'_>) {
    let first = scene.enqueue(merging(scene));
    let alias = scene.enqueue(merging(scene));
    assert_eq!(scene.found(alias).map(|record| record.id), Some(first));
    let worker = scene.worker();
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    assert_eq!(scene.state(alias), None);
}

pub(super) fn a_duplicate_is_refused_on_demand(scene: &mut Scene<'_>) {
    let holder = scene.enqueue(refusing(scene));
    let refused = scene.apply(vec![insert(refusing(scene))]);
    let key = "key".to_owned();
    assert_eq!(kind(refused), Kind::NotUnique { key, holder });
}

pub(super) fn a_duplicate_within_a_batch_merges(scene: &mut Scene<'_>) {
    let (first, second) = (merging(scene), merging(scene));
    let merged = vec![(second.id, first.id)];
    let txn = scene.staged(vec![insert(first), insert(second)]);
    assert_eq!(scene.publish(txn), Published::Now(Applied { merged }));
    let worker = scene.worker();
    assert_eq!(scene.claimed_ids(&worker).len(), 1);
}

pub(super) fn a_key_of_a_staged_task_is_a_retryable_conflict(scene: &mut Scene<'_>) {
    scene.staged(vec![insert(merging(scene))]);
    let applied = scene.apply(vec![insert(merging(scene))]).unwrap_err();
    assert!(applied.is_retryable(), "{applied}");
    let staged = scene.stage(vec![insert(refusing(scene))]).unwrap_err();
    assert!(staged.is_retryable(), "{staged}");
}

pub(super) fn discarding_frees_a_reserved_key(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![insert(merging(scene))]);
    scene.discard(txn);
    let task = scene.enqueue(refusing(scene));
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn a_claimed_task_does_not_hold_its_key(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(refusing(scene));
    scene.claim_one(&worker);
    let second = scene.enqueue(refusing(scene));
    assert_eq!(scene.state(second), Some(State::Ready));
}

pub(super) fn an_ended_task_does_not_hold_its_key(scene: &mut Scene<'_>) {
    let first = scene.enqueue(refusing(scene));
    scene.amend(first, Amendment::Cancel).unwrap();
    let second = scene.enqueue(refusing(scene));
    assert_eq!(scene.state(second), Some(State::Ready));
}

pub(super) fn a_merge_is_judged_again_at_publish(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.enqueue(merging(scene));
    let second = merging(scene);
    let id = second.id;
    let txn = scene.staged(vec![insert(second)]);
    assert_eq!(scene.claimed_ids(&worker), [first]);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(id), Some(State::Ready));
}

pub(super) fn a_returning_task_takes_its_key_only_if_it_is_free(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(merging(scene));
    let claim = scene.claim_one(&worker);
    let second = scene.enqueue(merging(scene));
    scene.apply(vec![settle(&claim, Verdict::Release { at: None })]).unwrap();
    assert_eq!(scene.state(claim.record.id), Some(State::Ready));
    let third = merging(scene);
    let id = third.id;
    let applied = scene.apply(vec![insert(third)]).unwrap();
    assert_eq!(applied.merged, [(id, second)]);
}

pub(super) fn a_task_that_came_back_without_its_key_goes_on_without(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(merging(scene));
    let first = scene.claim_one(&worker);
    scene.enqueue(merging(scene));
    let second = scene.claim_from(&worker, QUEUE, 1).remove(0);
    let between = scene.enqueue(merging(scene));
    scene.settle(&first, Verdict::Release { at: None }).unwrap();
    scene.amend(between, Amendment::Cancel).unwrap();
    scene.done(&second);
    let task = first.record.id;
    scene.amend(task, Amendment::Reschedule(None)).unwrap();
    let done = TaskId::new(scene.now());
    scene.apply(vec![Change::Arrive { task, done }]).unwrap();
    let applied = scene.apply(vec![insert(merging(scene))]).unwrap();
    assert_eq!(applied, Applied::default());
}

pub(super) fn no_task_merges_into_one_that_is_being_cancelled(scene: &mut Scene<'_>) {
    let first = scene.enqueue(merging(scene));
    let cancelling = scene.staged(vec![amend(first, Amendment::Cancel)]);
    let refused = scene.apply(vec![insert(merging(scene))]).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    scene.publish(cancelling);
    let second = scene.enqueue(merging(scene));
    assert_eq!(scene.state(second), Some(State::Ready));
}

pub(super) fn several_staged_tasks_may_merge_into_a_visible_one(scene: &mut Scene<'_>) {
    let holder = scene.enqueue(merging(scene));
    let staged = [(); 2].map(|()| {
        let record = merging(scene);
        (record.id, scene.staged(vec![insert(record)]))
    });
    for (id, txn) in staged {
        let merged = vec![(id, holder)];
        assert_eq!(scene.publish(txn), Published::Now(Applied { merged }));
    }
}

pub(super) fn staged_tasks_do_not_block_each_other_when_their_holder_is_claimed(
    scene: &mut Scene<'_>,
) {
    let holder = scene.enqueue(merging(scene));
    let staged = [(); 2].map(|()| {
        let record = merging(scene);
        (record.id, scene.staged(vec![insert(record)]))
    });
    assert_eq!(scene.claimed_ids(&scene.worker()), [holder]);
    let [(first, one), (second, other)] = staged;
    assert_eq!(scene.publish(one), Published::Now(Applied::default()));
    let merged = vec![(second, first)];
    assert_eq!(scene.publish(other), Published::Now(Applied { merged }));
}

/// A claimed task with a key, and a batch that gives it back and inserts another with the same key, in the
/// one order or in the other. Returns the tasks as well.
fn returning(scene: &mut Scene<'_>, comes_first: bool) -> (Vec<Change>, TaskId, TaskId) {
    let returning = scene.enqueue(merging(scene));
    let worker = scene.worker();
    let claim = scene.claim_one(&worker);
    let new = merging(scene);
    let id = new.id;
    let mut changes = vec![settle(&claim, Verdict::Release { at: None }), insert(new)];
    if !comes_first {
        changes.reverse();
    }
    (changes, returning, id)
}

pub(super) fn of_a_batch_the_first_that_wants_a_key_gets_it(scene: &mut Scene<'_>) {
    let (changes, returning_first, id) = returning(scene, true);
    let applied = scene.apply(changes).unwrap();
    assert_eq!(applied.merged, [(id, returning_first)]);
    scene.amend(returning_first, Amendment::Cancel).unwrap();
    let (changes, _, id) = returning(scene, false);
    assert_eq!(scene.apply(changes).unwrap(), Applied::default());
    let third = merging(scene);
    let merged = vec![(third.id, id)];
    assert_eq!(scene.apply(vec![insert(third)]).unwrap().merged, merged);
}

pub(super) fn of_a_staged_batch_the_first_that_wants_a_key_gets_it(scene: &mut Scene<'_>) {
    let (changes, returning_first, id) = returning(scene, true);
    let txn = scene.staged(changes);
    let merged = vec![(id, returning_first)];
    assert_eq!(scene.publish(txn), Published::Now(Applied { merged }));
    scene.amend(returning_first, Amendment::Cancel).unwrap();
    let (changes, _, id) = returning(scene, false);
    let txn = scene.staged(changes);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    let third = merging(scene);
    let merged = vec![(third.id, id)];
    assert_eq!(scene.apply(vec![insert(third)]).unwrap().merged, merged);
}

pub(super) fn a_batch_may_take_a_key_that_it_frees(scene: &mut Scene<'_>) {
    let holder = scene.enqueue(refusing(scene));
    let replacing = |scene: &Scene<'_>, holder| {
        let record = refusing(scene);
        (record.id, vec![amend(holder, Amendment::Cancel), insert(record)])
    };
    let (second, changes) = replacing(scene, holder);
    scene.apply(changes).unwrap();
    let (third, changes) = replacing(scene, second);
    let txn = scene.staged(changes);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(third), Some(State::Ready));
    let refused = scene.stage(vec![insert(refusing(scene)), amend(third, Amendment::Cancel)]);
    assert!(matches!(kind(refused), Kind::NotUnique { holder, .. } if holder == third));
}
