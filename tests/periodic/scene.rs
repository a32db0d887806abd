//! A store whose time is moved by hand, and consumers that keep its timetable.
#![cfg(test)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::consumer::{Builder, Running};
use votive::queue::{PERIODIC_PREFIX, PeriodicInfo, apply, periodic};
use votive::store::{Batch, Change, Filter, Store};
use votive::time::{ManualClock, Timestamp};
use votive::txn::TransactionManager;
use votive::{Consumer, Periodic, Registry, Schedule, Task};

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The first instant of 2026.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A queue that nobody serves, so that what comes into it stays.
pub(crate) const QUEUE: &str = "kept";

/// A task of the tests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sweep {}

impl Task for Sweep {
    const KIND: &'static str = "sweep";
}

/// A store whose time is moved by hand.
pub(crate) struct Scene {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    _keeps: Option<Box<dyn Any>>,
}

/// An entry whose tasks stay.
pub(crate) fn entry(name: &str, schedule: &str) -> Periodic {
    Periodic::new(name, schedule.parse::<Schedule>().unwrap(), &Sweep {}).queue(QUEUE)
}

impl Scene {
    pub(crate) fn of(
        open: impl FnOnce(ManualClock) -> Arc<dyn Store>,
        keeps: Option<Box<dyn Any>>,
    ) -> Self {
        let clock = ManualClock::new(START);
        Self {
            store: open(clock.clone()),
            clock,
            _keeps: keeps,
        }
    }

    /// A consumer that looks at the clock often.
    pub(crate) fn builder(&self) -> Builder {
        Consumer::builder(Arc::clone(&self.store), Registry::new())
            .poll_interval(Duration::from_millis(5))
    }

    /// Starts a consumer that keeps these entries, and waits until all of them are known.
    pub(crate) fn keeps<const N: usize>(&self, entries: [Periodic; N]) -> Running {
        let known: Vec<_> = entries.iter().map(known).collect();
        let builder = entries.into_iter().fold(self.builder(), Builder::periodic);
        let running = builder.start().unwrap();
        until(|| known.iter().all(|known| self.knows(known)));
        running
    }

    fn knows(&self, (name, schedule): &(String, String)) -> bool {
        let found = self.find(name);
        found.is_some_and(|found| found.schedule == *schedule)
    }

    pub(crate) fn find(&self, name: &str) -> Option<PeriodicInfo> {
        let mut all = periodic(&*self.store).unwrap().into_iter();
        all.find(|info| info.name == name)
    }

    /// Up to when an entry has been dealt with, in seconds since the start.
    pub(crate) fn dealt(&self, name: &str) -> u64 {
        self.find(name).map_or(0, |info| seconds(info.dealt_until))
    }

    /// Moves the clock forwards, and waits until an entry has been dealt with up to its time.
    pub(crate) fn pass(&self, by: u64, name: &str, until_second: u64) {
        self.clock.advance(Duration::from_secs(by));
        until(|| self.dealt(name) == until_second);
    }

    /// The times that tasks of an entry are for, in seconds since the start.
    pub(crate) fn times(&self, name: &str) -> Vec<u64> {
        let mut times: Vec<_> = times(&*self.store, name).into_iter().map(seconds).collect();
        times.sort_unstable();
        times
    }

    /// Has an entry be dealt with up to this instant already.
    pub(crate) fn set_dealt(&self, name: &str, schedule: &str, until: Timestamp) {
        set_dealt(&self.store, name, schedule, until);
    }
}

fn known(entry: &Periodic) -> (String, String) {
    (entry.name().to_owned(), entry.schedule().to_string())
}

/// Writes the mark of an entry as a consumer would.
pub(crate) fn set_dealt(store: &Arc<dyn Store>, name: &str, schedule: &str, until: Timestamp) {
    let value = serde_json::json!({
        "schedule": schedule, "kind": "sweep", "queue": QUEUE, "catch_up": "all",
        "dealt_until": until, "fired_for": null, "written_by": "the test",
    });
    let key = format!("{PERIODIC_PREFIX}{name}");
    let mark = Change::Mark {
        expect: store.mark(&key).unwrap(),
        value: Some(value.to_string().into_bytes()),
        key,
    };
    apply(store, &TransactionManager::new(), &Batch::new(vec![mark])).unwrap();
}

/// The times that the tasks of an entry are for, in the order of their enqueueing.
pub(crate) fn times(store: &dyn Store, name: &str) -> Vec<Timestamp> {
    let filter = Filter {
        about: Some(format!("{PERIODIC_PREFIX}{name}")),
        ..Filter::default()
    };
    let (mut times, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(&filter, cursor.as_ref(), 1_000).unwrap();
        let records = page.tasks.iter().map(|listed| &listed.record);
        times.extend(records.map(|record| record.options.not_before.unwrap()));
        cursor = page.next;
        if cursor.is_none() {
            return times;
        }
    }
}

pub(crate) fn seconds(at: Timestamp) -> u64 {
    at.since(START).as_secs()
}

/// Looks again and again until `done`, and fails if that takes long.
#[track_caller]
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let pause = Duration::from_millis(5);
    for _ in 0..LONG.as_millis() / pause.as_millis() {
        if done() {
            return;
        }
        std::thread::park_timeout(pause);
    }
    panic!("it takes too long");
}
