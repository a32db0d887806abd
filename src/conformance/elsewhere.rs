//! Tasks that come from another store, with what has become of them there.

use std::time::Duration;

use super::scene::{START, Scene, failure, unique};
use crate::store::Amendment;
use crate::task::{Counts, DeadReason, OnDuplicate, Options, Record, State};

const COUNTS: Counts = Counts {
    attempts: 3,
    conflicts: 1,
    reclaims: 2,
};

/// A task that was published a minute before every case begins, and has failed.
fn failed(scene: &Scene<'_>, options: Options) -> Record {
    let at = START.saturating_sub(Duration::from_secs(60));
    Record {
        published_at: Some(at),
        counts: COUNTS,
        account: Some(Box::new(failure(&["no luck"], at))),
        progress: Some("half".to_owned()),
        ..scene.record_with(options)
    }
}

fn dead(scene: &Scene<'_>, options: Options) -> Record {
    let record = failed(scene, options);
    Record {
        state: State::Dead,
        dead: Some(DeadReason::Failed),
        ended_at: record.published_at,
        ..record
    }
}

pub(super) fn a_task_from_elsewhere_keeps_its_place_and_its_history(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let local = scene.enqueue_any();
    let came = failed(scene, Options::default());
    let task = scene.enqueue(came.clone());
    let found = scene.found(task).unwrap();
    let ready = Record {
        state: State::Ready,
        ..came
    };
    assert_eq!(found, ready);
    assert_eq!(scene.claimed_ids(&worker), [task, local]);
}

pub(super) fn a_task_from_elsewhere_is_not_delayed_again(scene: &mut Scene<'_>) {
    let options = Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::default()
    };
    let task = scene.enqueue(failed(scene, options));
    assert_eq!(scene.state(task), Some(State::Ready));
}

pub(super) fn a_task_that_ended_elsewhere_stays_as_it_was(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let came = dead(scene, Options::default());
    let task = scene.enqueue(came.clone());
    assert_eq!(scene.found(task), Some(came));
    assert!(scene.claim(&worker, 1).is_empty());
    scene.amend(task, Amendment::Revive).unwrap();
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_task_that_ended_elsewhere_asks_for_no_key(scene: &mut Scene<'_>) {
    let options = || unique("key", OnDuplicate::Merge);
    let holder = scene.enqueue(scene.record_with(options()));
    let task = scene.enqueue(dead(scene, options()));
    assert_eq!(scene.state(task), Some(State::Dead));
    let merged = scene.enqueue(scene.record_with(options()));
    assert_eq!(scene.found(merged).unwrap().id, holder);
}

pub(super) fn a_retained_task_from_elsewhere_leaves_after_its_time(scene: &mut Scene<'_>) {
    let options = Options {
        retention: Some(Duration::from_secs(120)),
        ..Options::default()
    };
    let done = Record {
        state: State::Done,
        dead: None,
        ..dead(scene, options)
    };
    let task = scene.enqueue(done);
    assert_eq!(scene.state(task), Some(State::Done));
    scene.advance(61);
    scene.enqueue_any();
    assert_eq!(scene.state(task), None);
}
