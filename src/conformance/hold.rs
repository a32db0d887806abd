//! For how long a unique key is kept from others: while its task runs, and for a period.

use std::thread;
use std::time::Duration;

use super::scene::{Scene, amend, insert, kind, settle};
use crate::id::TaskId;
use crate::store::{Amendment, Applied, Batch, Kind, Published, StoreExt, Verdict};
use crate::task::{DeadReason, Hold, Options, Record, State, Unique};

const MINUTE: Duration = Duration::from_secs(60);

fn held(scene: &Scene<'_>, unique: Unique) -> Record {
    scene.record_with(Options {
        unique: Some(unique),
        ..Options::default()
    })
}

fn running(scene: &Scene<'_>) -> Record {
    held(scene, Unique::new("key").until_ended())
}

fn minutely(scene: &Scene<'_>) -> Record {
    held(scene, Unique::new("key").for_after_enqueued(MINUTE))
}

fn calming(scene: &Scene<'_>) -> Record {
    held(scene, Unique::new("key").for_after_ended(MINUTE))
}

fn refusing(scene: &Scene<'_>) -> Record {
    held(scene, Unique::new("key").or_refuse())
}

/// Whether the key is kept from a task that would be refused, for the sake of `holder`.
fn is_kept(scene: &mut Scene<'_>, holder: TaskId) -> bool {
    match scene.stage(vec![insert(refusing(scene))]) {
        Ok(txn) => {
            scene.discard(txn);
            false
        }
        refused => {
            let key = "key".to_owned();
            assert_eq!(kind(refused), Kind::NotUnique { key, holder });
            true
        }
    }
}

pub(super) fn a_running_task_keeps_its_key_if_it_says_so(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(running(scene));
    let claim = scene.claim_one(&worker);
    assert!(is_kept(scene, task));
    let second = running(scene);
    let merged = vec![(second.id, task)];
    assert_eq!(scene.apply(vec![insert(second)]).unwrap().merged, merged);
    scene.done(&claim);
    assert!(!is_kept(scene, task));
}

pub(super) fn a_task_that_is_tried_again_keeps_its_key_until_it_has_ended(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(running(scene));
    for _ in 0..2 {
        let claim = scene.claim_one(&worker);
        assert!(is_kept(scene, task));
        scene.settle(&claim, Verdict::Retry { at: scene.now() }).unwrap();
        assert!(is_kept(scene, task));
    }
    let claim = scene.claim_one(&worker);
    let reason = DeadReason::Failed;
    scene.settle(&claim, Verdict::Bury { reason }).unwrap();
    assert!(!is_kept(scene, task));
}

pub(super) fn a_batch_may_take_the_key_of_a_running_task_that_it_ends(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(running(scene));
    let claim = scene.claim_one(&worker);
    let next = running(scene);
    let id = next.id;
    let done = settle(&claim, Verdict::Done);
    let txn = scene.staged(vec![done, insert(next)]);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(id), Some(State::Ready));
}

pub(super) fn a_key_rests_for_a_period_after_its_task_was_enqueued(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(minutely(scene));
    scene.advance(30);
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    assert!(is_kept(scene, task));
    let second = minutely(scene);
    let id = second.id;
    assert_eq!(scene.apply(vec![insert(second)]).unwrap().merged, [(id, task)]);
    assert_eq!(scene.state(id), None);
    scene.advance(30);
    assert!(!is_kept(scene, task));
    let third = scene.enqueue(minutely(scene));
    assert_eq!(scene.state(third), Some(State::Ready));
}

pub(super) fn a_key_rests_for_a_period_after_its_task_has_ended(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    for verdict in [Verdict::Done, Verdict::Bury { reason: DeadReason::Failed }] {
        let task = scene.enqueue(calming(scene));
        let claim = scene.claim_one(&worker);
        scene.advance(90);
        scene.settle(&claim, verdict).unwrap();
        scene.advance(59);
        assert!(is_kept(scene, task));
        scene.advance(1);
        assert!(!is_kept(scene, task));
    }
}

pub(super) fn a_task_merges_into_one_that_has_ended_while_its_key_rests(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let mut record = calming(scene);
    let options = std::sync::Arc::make_mut(&mut record.options);
    options.retention = Some(MINUTE * 5);
    let task = scene.enqueue(record);
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    let alias = scene.enqueue(calming(scene));
    assert_eq!(scene.found(alias).map(|record| record.id), Some(task));
    assert_eq!(scene.state(alias), Some(State::Done));
}

pub(super) fn the_key_of_a_task_that_is_cancelled_or_removed_does_not_rest(scene: &mut Scene<'_>) {
    for amendment in [Amendment::Cancel, Amendment::Remove] {
        let task = scene.enqueue(minutely(scene));
        assert!(is_kept(scene, task));
        let txn = scene.staged(vec![amend(task, amendment)]);
        scene.discard(txn);
        assert!(is_kept(scene, task));
        scene.amend(task, Amendment::Cancel).unwrap();
        assert!(!is_kept(scene, task));
    }
}

pub(super) fn a_merge_into_a_key_that_rests_is_judged_again_at_publish(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(minutely(scene));
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    let (second, third) = (minutely(scene), minutely(scene));
    let (merged, fresh) = (second.id, third.id);
    let now = scene.staged(vec![insert(second)]);
    let later = scene.staged(vec![insert(third)]);
    let applied = Applied {
        merged: vec![(merged, task)],
    };
    assert_eq!(scene.publish(now), Published::Now(applied));
    scene.advance(60);
    assert_eq!(scene.publish(later), Published::Now(Applied::default()));
    assert_eq!(scene.state(fresh), Some(State::Ready));
}

pub(super) fn a_staged_task_gets_its_key_although_that_rests_by_then(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let hold = Hold {
        after_ended: Some(MINUTE),
        ..Hold::default()
    };
    let unique = Unique::new("key");
    scene.enqueue(held(scene, Unique { hold, ..unique }));
    let claim = scene.claim_one(&worker);
    let record = refusing(scene);
    let id = record.id;
    let txn = scene.staged(vec![insert(record)]);
    scene.done(&claim);
    assert_eq!(scene.publish(txn), Published::Now(Applied::default()));
    assert_eq!(scene.state(id), Some(State::Ready));
}

pub(super) fn a_staged_merge_goes_into_a_task_whose_end_is_staged(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(running(scene));
    let claim = scene.claim_one(&worker);
    let second = running(scene);
    let merged = vec![(second.id, task)];
    let merging = scene.staged(vec![insert(second)]);
    let ending = scene.staged(vec![settle(&claim, Verdict::Done)]);
    assert_eq!(scene.publish(merging), Published::Now(Applied { merged }));
    assert_eq!(scene.publish(ending), Published::Now(Applied::default()));
}

pub(super) fn a_refused_batch_leaves_keys_at_rest_as_they_were(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(minutely(scene));
    let full = || crate::store::Change::Room {
        queue: "default".to_owned(),
        pending_max: 0,
    };
    let other = held(scene, Unique::new("other").for_after_enqueued(MINUTE));
    let refused = scene.apply(vec![amend(task, Amendment::Cancel), insert(other), full()]);
    assert!(matches!(kind(refused), Kind::QueueFull { .. }));
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    assert!(is_kept(scene, task));
    let other = held(scene, Unique::new("other").or_refuse());
    scene.apply(vec![insert(other)]).unwrap();
}

pub(super) fn of_many_threads_one_gets_a_key_in_its_period(scene: &mut Scene<'_>) {
    let batches: Vec<_> = (0..16)
        .map(|_| {
            let unique = Unique::new("key").for_after_enqueued(MINUTE).or_refuse();
            (scene.txn(), Batch::new(vec![insert(held(scene, unique))]))
        })
        .collect();
    let store = scene.shared();
    let won: usize = thread::scope(|threads| {
        let workers = batches.chunks(4).map(|chunk| {
            let apply = |(txn, batch): &&(_, Batch)| store.apply_alone(*txn, batch).is_ok();
            threads.spawn(move || chunk.iter().filter(apply).count())
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}

pub(super) fn a_key_rests_over_a_crash(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue(minutely(scene));
    let claim = scene.claim_one(&worker);
    scene.done(&claim);
    drop(worker);
    if scene.crash().is_none() {
        return;
    }
    assert!(is_kept(scene, task));
    scene.advance(60);
    assert!(!is_kept(scene, task));
}
