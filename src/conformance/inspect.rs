//! Looking at a store: listings, numbers, time.

use std::time::Duration;

use super::scene::{QUEUE, START, Scene, insert};
use crate::id::TaskId;
use crate::store::{Amendment, Filter};
use crate::task::{Options, State, StateSet};

/// All tasks that match, read in pages of two.
fn listed(scene: &Scene<'_>, filter: &Filter) -> Vec<TaskId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = scene.store().scan(filter, cursor.as_ref(), 2).unwrap();
        assert!(page.tasks.len() <= 2);
        ids.extend(page.tasks.iter().map(|listed| listed.record.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return ids,
        }
    }
}

fn count(scene: &Scene<'_>, queue: &str, state: State) -> u64 {
    let queues = scene.store().stats().unwrap().queues;
    let found = queues.iter().find(|stats| stats.queue == queue);
    let counts = found.map(|stats| &stats.counts[..]).unwrap_or_default();
    let counted = counts.iter().find(|(counted, _)| *counted == state);
    counted.map_or(0, |(_, count)| *count)
}

pub(super) fn an_unknown_task_is_not_found(scene: &mut Scene<'_>) {
    assert_eq!(scene.state(TaskId::new(START)), None);
}

pub(super) fn listings_come_in_pages_and_in_order(scene: &mut Scene<'_>) {
    assert!(listed(scene, &Filter::default()).is_empty());
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            scene.advance(1);
            scene.enqueue_any()
        })
        .collect();
    scene.staged(vec![insert(scene.record())]);
    assert_eq!(listed(scene, &Filter::default()), tasks);
}

pub(super) fn listings_are_filtered(scene: &mut Scene<'_>) {
    let plain = scene.enqueue_any();
    scene.advance(1);
    let mut other = scene.record();
    other.queue = "other".into();
    other.kind = "sort".into();
    let other = scene.enqueue(other);
    scene.amend(plain, Amendment::Cancel).unwrap();
    let all = Filter::default;
    let queue = Some(QUEUE.to_owned());
    let kind = Some("sort".to_owned());
    let states = Some(StateSet::of(&[State::Cancelled, State::Dead]));
    let enqueued_before = Some(scene.now());
    assert_eq!(listed(scene, &Filter { queue, ..all() }), [plain]);
    assert_eq!(listed(scene, &Filter { kind, ..all() }), [other]);
    assert_eq!(listed(scene, &Filter { states, ..all() }), [plain]);
    assert_eq!(listed(scene, &Filter { enqueued_before, ..all() }), [plain]);
}

pub(super) fn listings_are_filtered_by_object(scene: &mut Scene<'_>) {
    let mut enqueue = |about: &[&str]| {
        let about = about.iter().map(|object| (*object).to_owned()).collect();
        scene.enqueue(scene.record_with(Options {
            about,
            ..Options::default()
        }))
    };
    let both = enqueue(&["invoice/1", "customer/1"]);
    let one = enqueue(&["invoice/1"]);
    enqueue(&["invoice/10"]);
    let about = |object: &str| Filter {
        about: Some(object.to_owned()),
        ..Filter::default()
    };
    assert_eq!(listed(scene, &about("invoice/1")), [both, one]);
    assert_eq!(listed(scene, &about("customer/1")), [both]);
    assert!(listed(scene, &about("customer/2")).is_empty());
}

pub(super) fn ghosts_are_listed_only_if_asked_for(scene: &mut Scene<'_>) {
    let mut enqueue = |ghost| {
        scene.enqueue(scene.record_with(Options {
            ghost,
            about: vec!["invoice/1".to_owned()],
            ..Options::default()
        }))
    };
    let tasks: Vec<_> = (0..7).map(|number| enqueue(number % 3 != 0)).collect();
    let about = Some("invoice/1".to_owned());
    for about in [None, about] {
        let filter = Filter {
            about,
            ..Filter::default()
        };
        assert_eq!(listed(scene, &filter), [tasks[0], tasks[3], tasks[6]]);
        let ghosts = true;
        assert_eq!(listed(scene, &Filter { ghosts, ..filter }), tasks);
    }
}

pub(super) fn stats_count_by_queue_and_state(scene: &mut Scene<'_>) {
    let worker = scene.worker();
    let tasks = [(); 3].map(|()| scene.enqueue_any());
    let mut other = scene.record();
    other.queue = "other".into();
    scene.enqueue(other);
    scene.claim_one(&worker);
    scene.amend(tasks[2], Amendment::Cancel).unwrap();
    let states = [State::Ready, State::Claimed, State::Cancelled, State::Dead];
    assert_eq!(states.map(|state| count(scene, QUEUE, state)), [1, 1, 1, 0]);
    assert_eq!(states.map(|state| count(scene, "other", state)), [1, 0, 0, 0]);
}

pub(super) fn stats_name_the_task_that_waits_longest(scene: &mut Scene<'_>) {
    let oldest = |scene: &Scene<'_>| scene.store().stats().unwrap().queues[0].oldest_ready_at;
    let first = scene.now();
    let task = scene.enqueue_any();
    scene.advance(5);
    let second = scene.now();
    scene.enqueue(scene.record_with(Options {
        priority: 0,
        ..Options::default()
    }));
    assert_eq!(oldest(scene), Some(first));
    scene.amend(task, Amendment::Cancel).unwrap();
    assert_eq!(oldest(scene), Some(second));
}

pub(super) fn stats_count_what_is_in_doubt(scene: &mut Scene<'_>) {
    let since = scene.now();
    let first = scene.staged(vec![insert(scene.record())]);
    scene.advance(5);
    let second = scene.staged(vec![insert(scene.record())]);
    let stats = scene.store().stats().unwrap();
    assert_eq!((stats.in_doubt, stats.in_doubt_since), (2, Some(since)));
    scene.publish(first);
    scene.discard(second);
    let stats = scene.store().stats().unwrap();
    assert_eq!((stats.in_doubt, stats.in_doubt_since), (0, None));
}

pub(super) fn time_never_goes_backwards(scene: &mut Scene<'_>) {
    scene.advance(60);
    let now = scene.now();
    scene.set_clock(START.saturating_sub(Duration::from_secs(3_600)));
    assert_eq!(scene.now(), now);
    scene.set_clock(now.saturating_add(Duration::from_secs(1)));
    assert!(scene.now() > now);
}
