//! Waiting: a false alarm is allowed, a missed one is not.

use std::thread;
use std::time::Duration;

use super::scene::{QUEUE, Scene, mark, unique};
use crate::id::TaskId;
use crate::store::Interest;
use crate::task::{OnDuplicate, Options};

/// Longer than any wait that is ended by what it waits for.
const LONG: Duration = Duration::from_secs(60);

fn wait(scene: &Scene<'_>, interest: &Interest) -> Option<Interest> {
    let interests = [Interest::Mark("other".to_owned()), interest.clone()];
    scene.store().wait(&interests, LONG).unwrap()
}

fn ready() -> Interest {
    Interest::Ready(QUEUE.to_owned())
}

/// Waits in a thread while `act` is done again and again, until the wait has ended.
fn wait_while(
    scene: &mut Scene<'_>,
    interest: &Interest,
    mut act: impl FnMut(&mut Scene<'_>),
) -> Option<Interest> {
    let store = scene.shared();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| store.wait(std::slice::from_ref(interest), LONG).unwrap());
        while !waiting.is_finished() {
            act(scene);
            thread::yield_now();
        }
        waiting.join().unwrap()
    })
}

pub(super) fn a_wait_ends_at_once_if_there_is_something(scene: &mut Scene<'_>) {
    scene.enqueue_any();
    assert_eq!(wait(scene, &ready()), Some(ready()));
}

pub(super) fn a_wait_ends_when_a_task_is_published(scene: &mut Scene<'_>) {
    let mut staged = Some(scene.staged(vec![super::scene::insert(scene.record())]));
    let ended = wait_while(scene, &ready(), |scene| {
        if let Some(txn) = staged.take() {
            scene.publish(txn);
        }
    });
    assert_eq!(ended, Some(ready()));
}

pub(super) fn a_wait_ends_when_a_task_is_due(scene: &mut Scene<'_>) {
    scene.enqueue(scene.record_with(Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::default()
    }));
    let mut due = Some(60);
    let ended = wait_while(scene, &ready(), |scene| {
        due.take().into_iter().for_each(|seconds| scene.advance(seconds));
    });
    assert_eq!(ended, Some(ready()));
}

fn settled_while_waiting(scene: &mut Scene<'_>, task: TaskId) {
    let worker = scene.worker();
    let mut claim = Some(scene.claim_one(&worker));
    let settled = Interest::Settled(task);
    let ended = wait_while(scene, &settled, |scene| {
        if let Some(claim) = claim.take() {
            scene.done(&claim);
        }
    });
    assert_eq!(ended, Some(settled));
}

pub(super) fn a_wait_ends_when_the_task_has_ended(scene: &mut Scene<'_>) {
    let task = scene.enqueue_any();
    settled_while_waiting(scene, task);
}

pub(super) fn a_wait_follows_an_alias(scene: &mut Scene<'_>) {
    let options = unique("key", OnDuplicate::Merge);
    scene.enqueue(scene.record_with(options.clone()));
    let alias = scene.enqueue(scene.record_with(options));
    settled_while_waiting(scene, alias);
}

pub(super) fn a_wait_ends_when_a_mark_changes(scene: &mut Scene<'_>) {
    let changed = Interest::Mark("key".to_owned());
    let mut value: Option<String> = None;
    let ended = wait_while(scene, &changed, |scene| {
        let next = value.as_ref().map_or(1, String::len) + 1;
        let next = "x".repeat(next % 100);
        let change = mark("key", value.as_deref(), Some(&next));
        scene.apply(vec![change]).unwrap();
        value = Some(next);
    });
    assert_eq!(ended, Some(changed));
}

pub(super) fn a_wait_ends_when_it_is_interrupted(scene: &mut Scene<'_>) {
    let ended = wait_while(scene, &ready(), |scene| scene.store().interrupt());
    assert!(ended.is_none_or(|interest| interest == ready()));
}

pub(super) fn a_wait_ends_at_its_timeout(scene: &mut Scene<'_>) {
    let ended = scene.store().wait(&[ready()], Duration::from_millis(1));
    assert!(ended.is_ok());
}
