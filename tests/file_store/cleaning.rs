//! Space is given back while others go on, and whoever dies meanwhile loses nothing.
#![cfg(test)]

use std::collections::BTreeSet;
use std::thread;

use votive::store::Change;

use crate::child::{self, Task, short_segments};
use crate::fixture::{Client, Place, place};

/// Every point of the cleaning at which a process may die.
const POINTS: &[&str] = votive::failpoint::FILE_COMPACT;

#[test]
fn a_store_that_is_worked_off_stays_small() {
    let place = place();
    let client = Client::open_with(&place.path, short_segments());
    for _ in 0..300 {
        client.enqueue().unwrap();
        client.work();
    }
    assert!(place.size() < 100_000, "{}", place.size());
    client.is_healthy();
}

/// The number of the newest segment.
fn newest(place: &Place) -> u32 {
    let segments = place.segments();
    let name = segments.last().unwrap().file_stem().unwrap();
    name.to_str().unwrap().parse().unwrap()
}

#[test]
fn marks_that_would_fill_a_segment_are_not_written_again_by_each_commit() {
    let place = place();
    let client = Client::open_with(&place.path, short_segments());
    let marks = (0..200).map(|number| Change::Mark {
        key: format!("mark-{number}"),
        expect: None,
        value: Some(vec![b'x'; 200]),
    });
    client.apply(marks.collect()).unwrap();
    let before = newest(&place);
    client.enqueue_many(50);
    let made = newest(&place) - before;
    assert!(made <= 5, "{made}");
    client.is_healthy();
}

#[test]
fn tasks_that_stay_outlive_the_segments_that_they_were_in() {
    let place = place();
    let client = Client::open_with(&place.path, short_segments());
    client.enqueue_many(30);
    let kept = client.claim_up_to(30);
    for _ in 0..100 {
        client.enqueue().unwrap();
        client.work();
    }
    let first = place.path.join("0000000001.journal");
    assert!(!first.exists());
    drop(client);
    let reopened = Client::open(&place.path);
    assert_eq!(
        reopened.tasks(),
        kept.iter().map(|claim| claim.record.id).collect::<Vec<_>>()
    );
    assert_eq!(reopened.claim_up_to(40).len(), 30);
    reopened.is_healthy();
}

#[test]
fn others_go_on_while_space_is_given_back() {
    let place = place();
    let client = Client::open_with(&place.path, short_segments());
    let other = Client::open_with(&place.path, short_segments());
    client.enqueue_many(50);
    thread::scope(|threads| {
        let cleaner = threads.spawn(|| (0..10).for_each(|_| client.store.compact().unwrap()));
        let worker = threads.spawn(|| (0..50).for_each(|_| other.work()));
        let producer = threads.spawn(|| client.enqueue_many(50));
        for thread in [cleaner, worker, producer] {
            thread.join().unwrap();
        }
    });
    assert_eq!(client.task_count(), 50);
    assert_eq!(client.tasks(), other.tasks());
    other.is_healthy();
}

#[test]
fn one_who_has_not_looked_for_long_finds_everything() {
    let place = place();
    let sleeper = Client::open_with(&place.path, short_segments());
    let client = Client::open_with(&place.path, short_segments());
    client.enqueue_many(50);
    (0..40).for_each(|_| client.work());
    client.store.compact().unwrap();
    client.store.compact().unwrap();
    assert_eq!(sleeper.tasks(), client.tasks());
    sleeper.enqueue().unwrap();
    assert_eq!(client.task_count(), 11);
    client.is_healthy();
}

/// Has a child enqueue and work off tasks until it dies at its n-th visit of a point.
fn die_at(place: &Place, point: &str, visit: usize) {
    let program = std::env::current_exe().unwrap();
    let mut child = child::command(&program, Task::Churn, &place.path);
    child.env("VOTIVE_FAILPOINT", format!("{point}:{visit}"));
    let mut child = child.args(child::ARGUMENTS).spawn().unwrap();
    assert!(!child.wait().unwrap().success(), "{point} is never come to");
}

#[test]
fn a_process_that_dies_at_any_step_of_the_cleaning_loses_nothing() {
    for point in POINTS {
        let place = place();
        let client = Client::open_with(&place.path, short_segments());
        client.enqueue_many(40);
        let held: BTreeSet<_> = client.claim_up_to(40).iter().map(|c| c.record.id).collect();
        for visit in 1..=3 {
            die_at(&place, point, visit);
        }
        client.store.compact().unwrap();
        let found: BTreeSet<_> = client.tasks().into_iter().collect();
        assert!(held.is_subset(&found), "{point}");
        assert!(found.len() <= held.len() + 3, "{point}");
        client.is_healthy();
        drop(client);
        let reopened = Client::open(&place.path);
        assert_eq!(
            reopened.tasks().into_iter().collect::<BTreeSet<_>>(),
            found,
            "{point}"
        );
    }
}
