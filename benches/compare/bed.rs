//! The work that is alike on every store.

use std::sync::Arc;
use std::time::Duration;

use votive::store::Store;
use votive::task::Options;
use votive_report::{Goal, Sample, Work, percentile};

use crate::claimer::Claimer;
use crate::job::{Described, Job, Side, describe};
use crate::memory;
use crate::own::{self, Timed};
use crate::setting::{Result, Setting, per, preload};

/// One side of a case.
pub(crate) type Measured = fn(&Setting) -> Result<Sample>;

/// How far a claim with a large backlog may be from one with a small one.
pub(crate) const FLAT: Goal = Goal::Ratio(0.9);

/// A kind of store, and how a fresh one is made.
#[derive(Clone, Copy)]
pub(crate) struct Bed {
    /// Its name.
    pub store: &'static str,
    /// Makes a place for a store that has nothing in it, and returns its URL.
    pub place: fn(&Setting) -> Result<String>,
    /// How often its server had something to read until now; `None` where there is none.
    pub trips: fn() -> Result<Option<u64>>,
    /// Whether it waits for a disk.
    pub waits: bool,
}

impl Bed {
    /// Describes a case; `note` says what the raw loop does.
    pub(crate) fn describe(self, work: Work, name: &str, note: &str) -> Described {
        describe(self.store, work, name, note)
    }

    /// Opens a fresh store.
    pub(crate) fn open(self, setting: &Setting) -> Result<Arc<dyn Store>> {
        Ok(votive::open(&(self.place)(setting)?)?)
    }

    /// Times what does `count` tasks, and counts what it waited for.
    pub(crate) fn measure(
        self,
        setting: &Setting,
        count: u64,
        timed: impl FnOnce() -> Result<()>,
    ) -> Result<Sample> {
        let before = (self.trips)()?;
        let sample = setting.measure(count, timed)?;
        let trips = before.zip((self.trips)()?);
        let trips = trips.map(|(before, after)| per(after - before, count));
        Ok(Sample { trips, ..sample })
    }

    /// How many tasks are done one by one, of which so many are enough where each waits for the disk.
    fn singly(self, count: u64, setting: &Setting) -> u64 {
        if self.waits { count } else { setting.unwaited }
    }

    fn timed(
        self,
        setting: &Setting,
        count: u64,
        make: impl FnOnce(Arc<dyn Store>) -> Result<Timed>,
    ) -> Result<Sample> {
        let timed = make(self.open(setting)?)?;
        self.measure(setting, count, timed)
    }

    /// W1 by one producer.
    pub(crate) fn lone(self, note: &str, raw: Measured) -> Job {
        let own = move |setting: &Setting| {
            let count = self.singly(setting.transactions, setting);
            self.timed(setting, count, |store| own::batches(store, count, 1))
        };
        self.describe(Work::W1, "one producer", note)
            .fresh(raw, own)
    }

    /// W1 by 16 producers.
    pub(crate) fn producers(self, note: &str, raw: Measured) -> Job {
        let own = move |setting: &Setting| {
            let count = setting.shared;
            self.timed(setting, count, |store| own::producers(store, 16, count))
        };
        self.describe(Work::W1, "16 producers", note)
            .fresh(raw, own)
    }

    /// W2.
    pub(crate) fn hundreds(self, note: &str, raw: Measured) -> Job {
        let own = move |setting: &Setting| {
            let count = setting.tasks;
            self.timed(setting, count, |store| own::batches(store, count, 100))
        };
        self.describe(Work::W2, "100 per transaction", note)
            .fresh(raw, own)
    }

    /// W3 by so many workers of one consumer.
    pub(crate) fn drain(self, workers: usize, note: &str, raw: Measured) -> Job {
        let own = move |setting: &Setting| {
            let count = setting.tasks;
            self.timed(setting, count, |store| own::drain(store, workers, count))
        };
        let name = match workers {
            1 => "1 worker".to_owned(),
            _ => format!("{workers} workers"),
        };
        self.describe(Work::W3, &name, note).fresh(raw, own)
    }

    /// W4 from one handle of the store to another, beside its bare signal.
    pub(crate) fn latency(self, note: &str, signal: fn(&Setting) -> Result<Vec<Duration>>) -> Job {
        let own = move |setting: &Setting| {
            let url = (self.place)(setting)?;
            let store = votive::open(&url)?;
            let other = match url.as_str() {
                memory::URL => Arc::clone(&store),
                url => votive::open(url)?,
            };
            times(own::latencies(store, other, setting.timed)?)
        };
        let case = self.describe(Work::W4, "20 per second", note);
        let job = case.fresh(move |setting| times(signal(setting)?), own);
        job.reach([Goal::Below(1.0), Goal::P99(3.0)])
    }

    /// W5 at the least backlog beside the raw loop, and at greater ones beside the least.
    pub(crate) fn backlogs(self, note: &str, raw: Measured) -> [Job; 3] {
        let least = self.describe(Work::W5, "at 1k", note);
        let least = least.fresh(raw, move |setting| {
            self.claims(setting, setting.backlogs.0)?(setting)
        });
        let with = |name, backlog: fn(&Setting) -> u64| {
            let case = self.describe(Work::W5, name, "the same at 1k");
            let make = move |setting: &Setting| {
                let least = self.claims(setting, setting.backlogs.0)?;
                Ok((least, self.claims(setting, backlog(setting))?))
            };
            case.kept(make).reach([FLAT])
        };
        [
            least,
            with("at 100k", |setting| setting.backlogs.1),
            with("at 1M", |setting| setting.backlogs.2),
        ]
    }

    /// Claims and settles one by one, and fills up again.
    fn claims(self, setting: &Setting, backlog: u64) -> Result<Side> {
        let count = self.singly(setting.claims(), setting);
        let backlog = backlog.max(count);
        let claimer = Claimer::new(self.open(setting)?, backlog, |_| Options::default())?;
        Ok(Box::new(move |setting| {
            let sample = self.measure(setting, count, || claimer.run(count, 1))?;
            preload(&claimer.store, &claimer.manager, count)?;
            Ok(sample)
        }))
    }

    /// W6.
    pub(crate) fn idle(self) -> Job {
        let own = move |setting: &Setting| {
            let url = (self.place)(setting)?;
            let value = own::idle(|| Ok(votive::open(&url)?), setting.idle)?;
            Ok(Sample {
                value,
                ..Sample::default()
            })
        };
        let case = self.describe(Work::W6, "nothing to do", "");
        case.alone(own).reach([Goal::Below(0.2)])
    }
}

/// The middle of some times and the one that 99 of a hundred stay below.
fn times(times: Vec<Duration>) -> Result<Sample> {
    let times = times.into_iter().map(|time| time.as_secs_f64() * 1e3);
    let times: Vec<f64> = times.collect();
    Ok(Sample {
        value: percentile(times.clone(), 0.5).ok_or("nothing was timed")?,
        p99: percentile(times, 0.99),
        ..Sample::default()
    })
}
