//! Room in queues: what may be pending is judged with the batch, and only there.

use std::thread;
use std::time::Duration;

use super::scene::{QUEUE, Scene, insert, kind, settle, unique};
use crate::id::TxnId;
use crate::store::{Batch, Change, Kind, StoreExt, Verdict};
use crate::task::{OnDuplicate, Options, Record};

fn room(pending_max: u64) -> Change {
    Change::Room {
        queue: QUEUE.to_owned(),
        pending_max,
    }
}

fn full(pending_max: u64) -> Kind {
    let queue = QUEUE.to_owned();
    Kind::QueueFull { queue, pending_max }
}

fn is_let_in(scene: &mut Scene<'_>, record: Record, pending_max: u64) -> bool {
    match scene.apply(vec![insert(record), room(pending_max)]) {
        Ok(_) => true,
        Err(error) if error.kind == full(pending_max) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn a_queue_takes_no_more_than_may_be_pending(scene: &mut Scene<'_>) {
    let let_in: Vec<_> = (0..4).map(|_| is_let_in(scene, scene.record(), 2)).collect();
    assert_eq!(let_in, [true, true, false, false]);
    assert!(is_let_in(scene, scene.record(), 3));
}

pub(super) fn a_full_queue_refuses_the_whole_batch(scene: &mut Scene<'_>) {
    let mut elsewhere = scene.record();
    elsewhere.queue = "other".into();
    let id = elsewhere.id;
    let batch = vec![insert(elsewhere), insert(scene.record()), room(0)];
    let refused = scene.apply(batch).unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
    assert_eq!(refused.kind, full(0));
    assert_eq!(scene.state(id), None);
}

pub(super) fn what_is_waiting_or_scheduled_takes_room_and_what_runs_or_ended_takes_none(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    scene.enqueue_any();
    let running = scene.claim_one(&worker);
    for _ in 0..2 {
        scene.enqueue(scene.record_with(Options {
            group: Some("group".to_owned()),
            ..Options::default()
        }));
    }
    scene.enqueue(scene.record_with(Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    assert!(!is_let_in(scene, scene.record(), 3));
    assert!(is_let_in(scene, scene.record(), 4));
    scene.done(&running);
    assert!(!is_let_in(scene, scene.record(), 4));
}

pub(super) fn a_task_that_merges_takes_no_room(scene: &mut Scene<'_>) {
    let merging = unique("key", OnDuplicate::Merge);
    assert!(is_let_in(scene, scene.record_with(merging.clone()), 1));
    assert!(is_let_in(scene, scene.record_with(merging.clone()), 1));
    scene.staged(vec![insert(scene.record_with(merging)), room(1)]);
}

pub(super) fn what_comes_back_in_a_batch_takes_room(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    let back = || settle(&claim, Verdict::Release { at: None });
    let full_with_it = vec![back(), insert(scene.record()), room(1)];
    assert_eq!(kind(scene.stage(full_with_it.clone())), full(1));
    assert_eq!(kind(scene.apply(full_with_it)), full(1));
    scene.staged(vec![insert(scene.record()), room(1), back()]);
}

pub(super) fn a_stage_is_refused_if_the_queue_is_full_and_a_publish_is_not(scene: &mut Scene<'_>) {
    let refused = scene.stage(vec![insert(scene.record()), insert(scene.record()), room(1)]);
    assert_eq!(kind(refused), full(1));
    let txn = scene.staged(vec![insert(scene.record()), room(1)]);
    assert!(is_let_in(scene, scene.record(), 1));
    let refused = scene.stage(vec![insert(scene.record()), room(1)]);
    assert_eq!(kind(refused), full(1));
    scene.publish(txn);
    let worker = scene.worker();
    assert_eq!(scene.claimed_ids(&worker).len(), 2);
}

pub(super) fn of_many_threads_no_more_get_in_than_there_is_room_for(scene: &mut Scene<'_>) {
    const ROOM: usize = 5;
    let batches: Vec<(TxnId, Batch)> = (0..24)
        .map(|_| {
            let changes = vec![insert(scene.record()), room(ROOM as u64)];
            (scene.txn(), Batch::new(changes))
        })
        .collect();
    let store = scene.shared();
    let let_in = thread::scope(|threads| {
        let chunks = batches.chunks(batches.len() / 4);
        let workers: Vec<_> = chunks
            .map(|chunk| {
                let applied = |(txn, batch): &&(TxnId, Batch)| store.apply_alone(*txn, batch).is_ok();
                threads.spawn(move || chunk.iter().filter(applied).count())
            })
            .collect();
        let counts = workers.into_iter().map(|worker| worker.join().unwrap());
        counts.sum::<usize>()
    });
    assert_eq!(let_in, ROOM);
}
