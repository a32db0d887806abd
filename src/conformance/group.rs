//! What holds a task back: a busy group, and tasks that must be done first.

use std::time::Duration;

use super::scene::{QUEUE, Scene, amend, insert, kind, settle};
use crate::id::TaskId;
use crate::store::{Amendment, Arrival, Change, Kind, Published, Verdict};
use crate::task::{GROUP_LIMIT_MAX, Options, Record, State, StateSet};

fn grouped(scene: &Scene<'_>) -> Record {
    scene.record_with(Options {
        group: Some("group".to_owned()),
        ..Options::default()
    })
}

fn dependent(scene: &Scene<'_>, waits_for: Vec<TaskId>) -> Record {
    scene.record_with(Options {
        waits_for,
        ..Options::default()
    })
}

pub(super) fn tasks_of_a_group_come_one_at_a_time(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.enqueue(grouped(scene));
    let second = scene.enqueue(grouped(scene));
    assert_eq!(scene.claimed_ids(&worker), [first]);
    assert_eq!(scene.state(second), Some(State::Waiting));
    assert!(scene.claim(&worker, 1).is_empty());
}

pub(super) fn a_busy_group_blocks_nobody_else(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.enqueue(grouped(scene));
    scene.enqueue(grouped(scene));
    let free = scene.enqueue_any();
    assert_eq!(scene.claimed_ids(&worker), [first, free]);
}

pub(super) fn a_group_is_the_same_in_all_queues(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let mut other = grouped(scene);
    other.queue = "other".into();
    scene.enqueue(grouped(scene));
    scene.enqueue(other);
    let claim = scene.claim_one(&worker);
    assert!(scene.claim_from(&worker, "other", 1).is_empty());
    scene.done(&claim);
    assert_eq!(scene.claim_from(&worker, "other", 1).len(), 1);
}

pub(super) fn the_next_of_a_group_comes_when_one_is_done(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let tasks = [(); 3].map(|()| scene.enqueue(grouped(scene)));
    for task in tasks {
        let claim = scene.claim_one(&worker);
        assert_eq!(claim.record.id, task);
        assert!(scene.claim(&worker, 1).is_empty());
        scene.done(&claim);
    }
}

pub(super) fn the_next_of_a_group_comes_when_one_waits_for_its_retry(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.enqueue(grouped(scene));
    let second = scene.enqueue(grouped(scene));
    let claim = scene.claim_one(&worker);
    let at = scene.now().saturating_add(Duration::from_secs(60));
    scene.settle(&claim, Verdict::Retry { at }).unwrap();
    let next = scene.claim_one(&worker);
    assert_eq!(next.record.id, second);
    scene.advance(60);
    assert!(scene.claim(&worker, 1).is_empty());
    assert_eq!(scene.state(first), Some(State::Waiting));
    scene.done(&next);
    assert_eq!(scene.claimed_ids(&worker), [first]);
}

pub(super) fn the_next_of_a_group_comes_when_one_is_cancelled(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.enqueue(grouped(scene));
    let second = scene.enqueue(grouped(scene));
    scene.amend(first, Amendment::Cancel).unwrap();
    assert_eq!(scene.claimed_ids(&worker), [second]);
}

/// A task of the group of which so many may run, and of this priority.
fn placed(scene: &Scene<'_>, limit: u32, priority: u8) -> Record {
    scene.record_with(Options {
        group: Some("group".to_owned()),
        group_limit: Some(limit),
        priority,
        ..Options::default()
    })
}

pub(super) fn as_many_tasks_of_a_group_come_as_it_has_places(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let tasks = [(); 4].map(|()| scene.enqueue(placed(scene, 2, 10)));
    let claims = scene.claim(&worker, 10);
    assert_eq!(claims.len(), 2);
    for (claim, next) in claims.iter().zip(&tasks[2..]) {
        assert_eq!(scene.state(*next), Some(State::Waiting));
        scene.done(claim);
        assert_eq!(scene.claimed_ids(&worker), [*next]);
    }
}

pub(super) fn a_more_urgent_task_of_a_group_goes_before_one_that_does_not_run_yet(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    let usual = scene.enqueue(placed(scene, 1, 10));
    let urgent = scene.enqueue(placed(scene, 1, 0));
    assert_eq!(scene.state(usual), Some(State::Waiting));
    let claim = scene.claim_one(&worker);
    assert_eq!(claim.record.id, urgent);
    assert!(scene.claim(&worker, 1).is_empty());
    let later = scene.enqueue(placed(scene, 1, 10));
    scene.done(&claim);
    let claim = scene.claim_one(&worker);
    assert_eq!(claim.record.id, usual);
    scene.done(&claim);
    assert_eq!(scene.claimed_ids(&worker), [later]);
}

pub(super) fn the_last_of_a_group_gives_way_and_no_other(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let [first, last] = [9, 10].map(|p| scene.enqueue(placed(scene, 2, p)));
    let urgent = scene.enqueue(placed(scene, 2, 0));
    let behind = scene.enqueue(placed(scene, 2, 20));
    let waiting = [last, behind].map(|task| scene.state(task));
    assert_eq!(waiting, [Some(State::Waiting); 2]);
    assert_eq!(scene.claimed_ids(&worker), [urgent, first]);
}

pub(super) fn a_task_that_runs_keeps_its_place_from_a_more_urgent_one(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(placed(scene, 1, 10));
    let claim = scene.claim_one(&worker);
    let urgent = scene.enqueue(placed(scene, 1, 0));
    assert!(scene.claim(&worker, 1).is_empty());
    scene.done(&claim);
    assert_eq!(scene.claimed_ids(&worker), [urgent]);
}

pub(super) fn an_urgent_task_takes_a_place_of_its_group_when_it_is_due(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let urgent = Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::clone(&placed(scene, 1, 0).options)
    };
    let urgent = scene.enqueue(scene.record_with(urgent));
    let usual = scene.enqueue(placed(scene, 1, 10));
    assert_eq!(scene.state(usual), Some(State::Ready));
    scene.advance(60);
    assert_eq!(scene.claimed_ids(&worker), [urgent]);
    assert_eq!(scene.state(usual), Some(State::Waiting));
}

pub(super) fn an_urgent_task_takes_a_place_of_its_group_when_it_is_published(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    let urgent = placed(scene, 1, 0);
    let id = urgent.id;
    let txn = scene.staged(vec![insert(urgent)]);
    let usual = scene.enqueue(placed(scene, 1, 10));
    assert_eq!(scene.state(usual), Some(State::Ready));
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [id]);
}

pub(super) fn a_pinned_task_keeps_its_place_until_its_transaction_ends(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let usual = scene.enqueue(placed(scene, 1, 10));
    let txn = scene.staged(vec![amend(usual, Amendment::Reschedule(None))]);
    let urgent = scene.enqueue(placed(scene, 1, 0));
    assert!(scene.claim(&worker, 1).is_empty());
    scene.discard(txn);
    assert_eq!(scene.claimed_ids(&worker), [urgent]);
    assert_eq!(scene.state(usual), Some(State::Waiting));
}

pub(super) fn where_tasks_of_a_group_differ_each_goes_by_its_own_limit(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(placed(scene, 3, 10));
    scene.enqueue(placed(scene, 3, 10));
    let claims = scene.claim(&worker, 10);
    let alone = scene.enqueue(placed(scene, 1, 10));
    let behind = scene.enqueue(placed(scene, 3, 10));
    assert!(scene.claim(&worker, 1).is_empty(), "nobody overtakes who waits");
    scene.done(&claims[0]);
    assert!(scene.claim(&worker, 1).is_empty());
    scene.done(&claims[1]);
    assert_eq!(scene.claimed_ids(&worker), [alone, behind]);
}

pub(super) fn a_place_of_the_dead_goes_over_with_their_task(scene: &mut Scene<'_>) {
    let (dead, living) = (scene.worker(), scene.worker());
    let [first, second, third] = [(); 3].map(|()| scene.enqueue(placed(scene, 2, 10)));
    assert_eq!(scene.claim_one(&dead).record.id, first);
    let claim = scene.claim_one(&living);
    assert_eq!(claim.record.id, second);
    drop(dead);
    let taken = scene.claim_one(&living);
    assert_eq!((taken.record.id, taken.arrival), (first, Arrival::Reclaimed));
    assert_eq!(scene.state(third), Some(State::Waiting));
    scene.done(&taken);
    assert_eq!(scene.claimed_ids(&living), [third]);
}

pub(super) fn what_was_judged_of_a_group_is_made_whatever_came_to_it_meanwhile(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    scene.enqueue(placed(scene, 1, 10));
    let next = scene.enqueue(placed(scene, 1, 10));
    let claim = scene.claim_one(&worker);
    let reschedule = Change::Amend {
        task: next,
        expect: StateSet::of(&[State::Ready]),
        amendment: Amendment::Reschedule(None),
    };
    let txn = scene.staged(vec![settle(&claim, Verdict::Done), reschedule]);
    let urgent = scene.enqueue(placed(scene, 1, 0));
    assert!(matches!(scene.publish(txn), Published::Now(_)));
    assert_eq!(scene.claimed_ids(&worker), [urgent]);
    assert_eq!(scene.state(next), Some(State::Waiting));
}

pub(super) fn a_group_has_a_place_and_not_too_many(scene: &mut Scene<'_>) {
    for limit in [0, GROUP_LIMIT_MAX + 1] {
        let refused = scene.apply(vec![insert(placed(scene, limit, 10))]);
        assert!(matches!(kind(refused), Kind::Invalid(_)));
    }
    scene.enqueue(placed(scene, GROUP_LIMIT_MAX, 10));
}

pub(super) fn a_task_waits_for_all_its_prerequisites(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = [scene.enqueue_any(), scene.enqueue_any()];
    let task = scene.enqueue(dependent(scene, first.to_vec()));
    let claims = scene.claim(&worker, 10);
    assert_eq!(claims.len(), 2);
    for claim in claims {
        assert_eq!(scene.state(task), Some(State::Waiting));
        let done = claim.record.id;
        let changes = vec![settle(&claim, Verdict::Done), Change::Arrive { task, done }];
        scene.apply(changes).unwrap();
    }
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn what_is_staged_together_waits_and_arrives_together(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let first = scene.record();
    let (task, done) = (TaskId::new(scene.now()), first.id);
    let first = first.with_options(Options {
        announces: vec![task],
        ..Options::default()
    });
    let second = Record {
        id: task,
        ..dependent(scene, vec![done])
    };
    let txn = scene.staged(vec![insert(first), insert(second)]);
    assert_eq!((scene.state(done), scene.state(task)), (None, None));
    scene.publish(txn);
    let claim = scene.claim_one(&worker);
    assert_eq!(claim.record.options.announces, [task]);
    let arrive = Change::Arrive { task, done };
    let txn = scene.staged(vec![settle(&claim, Verdict::Done), arrive]);
    assert_eq!(scene.state(task), Some(State::Waiting));
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn an_arrival_that_nobody_waits_for_changes_nothing(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let (unknown, done) = (TaskId::new(scene.now()), TaskId::new(scene.now()));
    let waiting = scene.enqueue(dependent(scene, vec![unknown]));
    let ready = scene.enqueue_any();
    for task in [unknown, waiting, ready] {
        let arrival = Change::Arrive { task, done };
        scene.apply(vec![arrival.clone(), arrival]).unwrap();
    }
    assert_eq!(scene.state(waiting), Some(State::Waiting));
    assert_eq!(scene.claimed_ids(&worker), [ready]);
}

pub(super) fn an_arrival_that_nobody_waits_for_lets_nobody_overtake_who_is_pinned(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    scene.enqueue(placed(scene, 1, 10));
    scene.claim_one(&worker);
    let pinned = scene.enqueue(placed(scene, 1, 10));
    let next = scene.enqueue(placed(scene, 2, 10));
    let txn = scene.staged(vec![amend(pinned, Amendment::Reschedule(None))]);
    let done = TaskId::new(scene.now());
    let arrival = Change::Arrive { task: next, done };
    scene.apply(vec![arrival]).unwrap();
    assert_eq!(scene.state(next), Some(State::Waiting));
    scene.discard(txn);
    assert_eq!(scene.state(next), Some(State::Waiting));
}

pub(super) fn an_arrival_takes_effect_when_it_is_published(scene: &mut Scene<'_>) {
    let done = TaskId::new(scene.now());
    let record = dependent(scene, vec![done]);
    let task = record.id;
    scene.apply(vec![insert(record)]).unwrap();
    let txn = scene.staged(vec![Change::Arrive { task, done }]);
    assert_eq!(scene.state(task), Some(State::Waiting));
    scene.publish(txn);
    assert_eq!(scene.state(task), Some(State::Ready));
    let worker = scene.worker();
    assert_eq!(scene.claim_from(&worker, QUEUE, 1).len(), 1);
}

pub(super) fn a_group_that_is_freed_while_a_task_of_it_is_pinned_is_not_lost(
    scene: &mut Scene<'_>,
) {
    let worker = scene.worker();
    scene.enqueue(grouped(scene));
    let pinned = scene.enqueue(grouped(scene));
    let claim = scene.claim_one(&worker);
    let txn = scene.staged(vec![amend(pinned, Amendment::Reschedule(None))]);
    scene.done(&claim);
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [pinned]);
}

pub(super) fn an_arrival_at_a_pinned_task_is_not_lost(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let done = TaskId::new(scene.now());
    let task = scene.enqueue(dependent(scene, vec![done]));
    let txn = scene.staged(vec![amend(task, Amendment::Reschedule(None))]);
    scene.apply(vec![Change::Arrive { task, done }]).unwrap();
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [task]);
}

pub(super) fn a_staged_amendment_finds_its_task_as_it_was_judged(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    scene.enqueue(grouped(scene));
    let task = scene.enqueue(grouped(scene));
    let claim = scene.claim_one(&worker);
    let txn = scene.staged(vec![Change::Amend {
        task,
        expect: StateSet::of(&[State::Waiting]),
        amendment: Amendment::Cancel,
    }]);
    scene.done(&claim);
    assert!(matches!(scene.publish(txn), Published::Now(_)));
    assert_eq!(scene.state(task), Some(State::Cancelled));
}

pub(super) fn a_discarded_batch_lets_nobody_overtake_whom_it_had_pinned(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let [first, cancelled, last, second] = [(1, 0), (1, 5), (3, 20), (1, 10)]
        .map(|(limit, priority)| scene.enqueue(placed(scene, limit, priority)));
    assert_eq!(scene.claimed_ids(&worker), [first]);
    scene.amend(cancelled, Amendment::Cancel).unwrap();
    let amended = [last, second].map(|task| amend(task, Amendment::Reschedule(None)));
    let txn = scene.staged(amended.into());
    scene.discard(txn);
    let states = [last, second].map(|task| scene.state(task));
    assert_eq!(states, [Some(State::Waiting); 2]);
}

pub(super) fn a_staged_batch_passes_over_nobody_whom_it_amends_itself(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let [first, second, third, last] =
        [1, 2, 1, 3].map(|limit| scene.enqueue(placed(scene, limit, 10)));
    let later = Some(scene.now().saturating_add(Duration::from_secs(20)));
    let txn = scene.staged(vec![
        amend(first, Amendment::Reschedule(later)),
        amend(third, Amendment::Reschedule(None)),
    ]);
    scene.publish(txn);
    assert_eq!(scene.claimed_ids(&worker), [second]);
    let states = [third, last].map(|task| scene.state(task));
    assert_eq!(states, [Some(State::Waiting); 2]);
}
