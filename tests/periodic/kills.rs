//! Processes that share a timetable and are killed at random instants: each time has one task all the same.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::Incarnation;
use votive::queue::periodic;
use votive::store::Store;
use votive::time::Timestamp;

use crate::child::{Keeper, NAME, SCHEDULE};
use crate::homes::{self, Home};
use crate::scene::{set_dealt, times, until};

const SECOND: Duration = Duration::from_secs(1);

/// How many times have been missed when the first process starts: more than are ever made up for, so that whoever is
/// killed is at work.
const MISSED: u32 = 1_000_000;

/// How often two processes are killed, one after the other.
const ROUNDS: u32 = 8;

/// The longest that a process is left alone after it was seen at work, in milliseconds.
const LIFE_MAX: u64 = 60;

fn dealt(store: &dyn Store) -> Timestamp {
    let all = periodic(store).unwrap();
    all.first()
        .map_or(Timestamp::EPOCH, |info| info.dealt_until)
}

/// Every second after `from`, up to the last that was dealt with, has exactly one task.
fn assert_each_once(store: &dyn Store, from: Timestamp) {
    let until = dealt(store);
    let second = |at: Timestamp| at.as_micros() / 1_000_000;
    let mut seconds: Vec<_> = times(store, NAME).into_iter().map(second).collect();
    seconds.sort_unstable();
    let expected: Vec<_> = (second(from) + 1..=second(until)).collect();
    assert_eq!(seconds.len(), expected.len(), "{from} to {until}");
    assert!(seconds == expected, "a time is there twice, or is missing");
}

/// Starts with so many missed times, and returns up to when there are none.
fn begin(store: &Arc<dyn Store>, missed: u32) -> Timestamp {
    let now = store.now().unwrap();
    let whole = Timestamp::from_micros(now.as_micros() / 1_000_000 * 1_000_000);
    let from = whole.saturating_sub(SECOND * missed);
    set_dealt(store, NAME, SCHEDULE, from);
    from
}

/// Waits until the timetable goes on, and a moment longer.
fn at_work(store: &dyn Store) {
    let so_far = dealt(store);
    until(|| dealt(store) > so_far);
    let life = Incarnation::random().to_u64() % LIFE_MAX;
    std::thread::park_timeout(Duration::from_millis(life));
}

fn killed_at_random_instants_they_fire_each_time_once(home: &Home) {
    let store = votive::open(&home.url).unwrap();
    let from = begin(&store, MISSED);
    for _ in 0..ROUNDS {
        let (one, other) = (Keeper::start(&home.url), Keeper::start(&home.url));
        for keeper in [one, other] {
            at_work(&*store);
            keeper.kill();
        }
    }
    assert!(
        dealt(&*store) < store.now().unwrap(),
        "nothing was left to do"
    );
    let last = Keeper::start(&home.url);
    at_work(&*store);
    last.stop();
    assert_each_once(&*store, from);
}

fn restarted_one_after_the_other_they_fire_each_time_once(home: &Home) {
    let store = votive::open(&home.url).unwrap();
    let from = begin(&store, 0);
    let mut keepers = vec![Keeper::start(&home.url), Keeper::start(&home.url)];
    for _ in 0..3 {
        let so_far = dealt(&*store);
        until(|| dealt(&*store) > so_far);
        keepers.remove(0).stop();
        keepers.push(Keeper::start(&home.url));
    }
    keepers.into_iter().for_each(Keeper::stop);
    assert_each_once(&*store, from);
}

/// Makes a test of each story for each home.
macro_rules! stories {
    ($($home:ident)*) => {$(
        mod $home {
            use super::homes;

            fn home() -> Option<homes::Home> {
                Option::from(homes::$home())
            }

            #[test]
            fn killed_at_random_instants_they_fire_each_time_once() {
                if let Some(home) = home() {
                    super::killed_at_random_instants_they_fire_each_time_once(&home);
                }
            }

            #[test]
            fn restarted_one_after_the_other_they_fire_each_time_once() {
                if let Some(home) = home() {
                    super::restarted_one_after_the_other_they_fire_each_time_once(&home);
                }
            }
        }
    )*};
}

stories! { sqlite file redis postgres }
