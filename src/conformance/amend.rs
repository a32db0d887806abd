//! Amendments: what operators and applications change on a task that nobody has claimed.

use std::time::Duration;

use super::scene::{Scene, amend, kind, settle};
use crate::id::TaskId;
use crate::store::{Amendment, Change, Kind, Verdict};
use crate::task::{Counts, DeadReason, Options, State, StateSet};

fn scheduled(scene: &mut Scene<'_>) -> TaskId {
    scene.enqueue(scene.record_with(Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::default()
    }))
}

pub(super) fn a_cancelled_task_is_not_claimed(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    for task in [scene.enqueue_any(), scheduled(scene)] {
        scene.amend(task, Amendment::Cancel).unwrap();
        let record = scene.found(task).unwrap();
        assert_eq!(record.state, State::Cancelled);
        assert!(record.ended_at.is_some());
    }
    scene.advance(60);
    assert!(scene.claim(&worker, 2).is_empty());
}

pub(super) fn a_claimed_task_is_not_cancelled(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    let found = State::Claimed.name();
    let refused = scene.amend(task, Amendment::Cancel);
    assert_eq!(kind(refused), Kind::StateChanged { task, found });
    scene.done(&claim);
}

pub(super) fn a_revived_task_starts_afresh(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let mut claim = scene.claim_one(&worker);
    claim.record.counts.attempts = 7;
    let reason = DeadReason::Failed;
    scene.apply(vec![settle(&claim, Verdict::Bury { reason })]).unwrap();
    scene.amend(task, Amendment::Revive).unwrap();
    let record = scene.found(task).unwrap();
    assert_eq!((record.state, record.counts), (State::Ready, Counts::default()));
    assert_eq!((record.dead, record.ended_at), (None, None));
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_task_is_rescheduled(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let at = Some(scene.now().saturating_add(Duration::from_secs(60)));
    scene.amend(task, Amendment::Reschedule(at)).unwrap();
    assert_eq!(scene.state(task), Some(State::Scheduled));
    assert!(scene.claim(&worker, 1).is_empty());
    scene.advance(60);
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_scheduled_task_is_brought_forward(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scheduled(scene);
    scene.amend(task, Amendment::Reschedule(None)).unwrap();
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_moved_task_is_claimed_from_its_new_queue(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    scene.amend(task, Amendment::Move("other".to_owned())).unwrap();
    assert!(scene.claim(&worker, 1).is_empty());
    let claims = scene.claim_from(&worker, "other", 1);
    assert_eq!(claims[0].record.id, task);
    assert_eq!(claims[0].record.queue, "other");
}

pub(super) fn a_claimed_task_tells_its_progress(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    scene.amend(task, Amendment::Progress("half".to_owned())).unwrap();
    let record = scene.found(task).unwrap();
    assert_eq!((record.state, record.progress.as_deref()), (State::Claimed, Some("half")));
    scene.done(&claim);
}

pub(super) fn a_pinned_claim_tells_its_progress(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let task = scene.enqueue_any();
    let claim = scene.claim_one(&worker);
    let txn = scene.staged(vec![settle(&claim, Verdict::Release { at: None })]);
    scene.amend(task, Amendment::Progress("half".to_owned())).unwrap();
    scene.publish(txn);
    let record = scene.found(task).unwrap();
    assert_eq!((record.state, record.progress.as_deref()), (State::Ready, Some("half")));
}

pub(super) fn a_removed_task_is_gone(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    for task in [scene.enqueue_any(), scheduled(scene)] {
        scene.amend(task, Amendment::Remove).unwrap();
        assert_eq!(scene.state(task), None);
    }
    scene.advance(60);
    assert!(scene.claim(&worker, 2).is_empty());
}

pub(super) fn an_unexpected_state_is_refused(scene: &mut Scene<'_>) {
    let task = scheduled(scene);
    let change = Change::Amend {
        task,
        expect: StateSet::of(&[State::Ready]),
        amendment: Amendment::Cancel,
    };
    let found = State::Scheduled.name();
    let refused = scene.apply(vec![change]);
    assert_eq!(kind(refused), Kind::StateChanged { task, found });
    assert_eq!(scene.state(task), Some(State::Scheduled));
}

pub(super) fn a_missing_task_is_refused(scene: &mut Scene<'_>) {
    let task = TaskId::new(scene.now());
    let found = "missing";
    let refused = scene.amend(task, Amendment::Cancel);
    assert_eq!(kind(refused), Kind::StateChanged { task, found });
}

pub(super) fn a_task_with_a_staged_amendment_is_not_claimed(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let (ready, later) = (scene.enqueue_any(), scheduled(scene));
    let txn = scene.staged(vec![
        amend(ready, Amendment::Cancel),
        amend(later, Amendment::Cancel),
    ]);
    scene.advance(60);
    assert!(scene.claim(&worker, 2).is_empty());
    assert!(scene.amend(ready, Amendment::Remove).is_err());
    scene.publish(txn);
    let cancelled = [ready, later].map(|task| scene.state(task));
    assert_eq!(cancelled, [Some(State::Cancelled); 2]);
}

pub(super) fn a_discarded_amendment_changes_nothing(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let tasks = [scene.enqueue_any(), scheduled(scene)];
    let txn = scene.staged(tasks.map(|task| amend(task, Amendment::Cancel)).to_vec());
    scene.discard(txn);
    assert_eq!(scene.claimed_ids(&worker), [tasks[0]]);
    scene.advance(60);
    assert_eq!(scene.claimed_ids(&worker), [tasks[1]]);
}
