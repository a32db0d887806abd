//! Which tasks concern an object, and whether it may be changed now.
#![cfg(test)]

use std::time::Duration;

use votive::Queue;
use votive::id::TaskId;
use votive::queue::{Guarded, change, guard, unfinished_about};
use votive::store::{Amendment, Change};
use votive::task::{Options, StateSet};
use votive::txn::TransactionManager;

use crate::fixture::{greet, volatile};

const SAMPLE: &str = "sample/7";

fn about(object: &str) -> Options {
    Options {
        about: vec![object.to_owned()],
        ..Options::default()
    }
}

fn enqueue(queue: &Queue, manager: &TransactionManager, options: Options) -> TaskId {
    let mut txn = manager.begin().unwrap();
    let task = queue.enqueue_with(&mut txn, &greet("Ann"), options);
    txn.commit().unwrap();
    task.unwrap()
}

fn cancel(queue: &Queue, manager: &TransactionManager, task: TaskId) {
    let mut txn = manager.begin().unwrap();
    let amendment = Change::Amend {
        task,
        expect: StateSet::PENDING,
        amendment: Amendment::Cancel,
    };
    change(queue.store(), &mut txn, amendment).unwrap();
    txn.commit().unwrap();
}

fn blockers(queue: &Queue) -> Vec<TaskId> {
    match guard(queue.store(), SAMPLE, None) {
        Ok(()) => Vec::new(),
        Err(Guarded::Busy { tasks, .. }) => tasks,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_object_is_guarded_until_its_last_task_has_ended() {
    let (queue, manager) = volatile();
    assert!(blockers(&queue).is_empty());
    let ready = enqueue(&queue, &manager, about(SAMPLE));
    let delay = Some(Duration::from_secs(3_600));
    let scheduled = Options {
        delay,
        ..about(SAMPLE)
    };
    let scheduled = enqueue(&queue, &manager, scheduled);
    enqueue(&queue, &manager, about("sample/70"));
    assert_eq!(blockers(&queue), [ready, scheduled]);
    cancel(&queue, &manager, ready);
    assert_eq!(blockers(&queue), [scheduled]);
    cancel(&queue, &manager, scheduled);
    assert!(blockers(&queue).is_empty());
}

#[test]
fn a_task_that_has_not_committed_guards_nothing() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    queue
        .enqueue_with(&mut txn, &greet("Ann"), about(SAMPLE))
        .unwrap();
    assert!(blockers(&queue).is_empty());
    txn.abort().unwrap();
    assert!(blockers(&queue).is_empty());
}

#[test]
fn a_task_does_not_guard_its_object_against_itself_nor_does_a_ghost() {
    let (queue, manager) = volatile();
    let task = enqueue(&queue, &manager, about(SAMPLE));
    let ghost = Options {
        ghost: true,
        ..about(SAMPLE)
    };
    enqueue(&queue, &manager, ghost);
    assert_eq!(blockers(&queue), [task]);
    guard(queue.store(), SAMPLE, Some(task)).unwrap();
}

#[test]
fn more_tasks_about_an_object_than_fit_on_a_page_are_all_found() {
    let (queue, manager) = volatile();
    let mut txn = manager.begin().unwrap();
    let tasks: Vec<_> = (0..600)
        .map(|_| queue.enqueue_with(&mut txn, &greet("Ann"), about(SAMPLE)))
        .collect::<Result<_, _>>()
        .unwrap();
    txn.commit().unwrap();
    let found = unfinished_about(&**queue.store(), SAMPLE).unwrap();
    let found: Vec<_> = found.iter().map(|listed| listed.record.id).collect();
    assert_eq!(found, tasks);
    let error = guard(queue.store(), SAMPLE, None).unwrap_err().to_string();
    assert!(
        error.starts_with("`sample/7` may not be changed: 600 of its tasks"),
        "{error}"
    );
}
