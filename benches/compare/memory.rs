//! The memory of this process, beside a map with an ordered index.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use votive::queue::{self, Queue};
use votive::store::Batch;
use votive::store::memory::MemoryStore;
use votive::task::Options;
use votive_report::Goal::Ratio;
use votive_report::{Sample, Work};

use crate::bed::Bed;
use crate::claimer::Claimer;
use crate::job::Job;
use crate::limited;
use crate::setting::{Noop, Result, Setting, insert};
use crate::{signals, weight};

/// Each store that is opened by it is another one.
pub(crate) const URL: &str = "memory://";

const BED: Bed = Bed {
    store: "memory",
    place: |_| Ok(URL.to_owned()),
    trips: || Ok(None),
    waits: false,
};

const BY_HAND: &str = "a map of tasks with an ordered index";

/// What is measured.
pub(crate) fn jobs() -> Vec<Job> {
    let whole = |work, name| BED.describe(work, name, BY_HAND);
    let mut jobs = vec![
        BED.lone(BY_HAND, raw_fill),
        whole(Work::W1, "enqueued, claimed and settled singly")
            .fresh(raw_whole, |setting| through(setting, 1))
            .reach([Ratio(0.5)]),
        whole(Work::W2, "enqueued, claimed and settled by 100")
            .fresh(raw_whole, |setting| through(setting, 100))
            .reach([Ratio(0.5)]),
        whole(Work::W2, "the same in the store alone")
            .fresh(raw_whole, store_alone)
            .reach([Ratio(0.5)]),
        BED.drain(1, BY_HAND, raw_drain),
        BED.drain(4, BY_HAND, raw_drain),
        BED.latency("a message through a channel", |setting| {
            signals::channel(setting.timed)
        }),
    ];
    jobs.extend(BED.limited(limited::MILLION));
    jobs.extend(BED.backlogs(BY_HAND, |setting| {
        let (mut map, count) = (Map::filled(setting.unwaited), setting.unwaited);
        setting.measure(count, || map.drain(count))
    }));
    jobs.push(BED.idle());
    jobs.push(BED.describe(Work::W8, "in memory", BY_HAND).fresh(
        |setting| weight::weigh(weight::MAP, setting.weighed),
        |setting| weight::weigh(URL, setting.weighed),
    ));
    jobs
}

/// Tasks by hand.
#[derive(Default)]
pub(crate) struct Map {
    tasks: HashMap<u64, Vec<u8>>,
    ready: BTreeMap<(u64, u64), u64>,
}

impl Map {
    /// A map that has `count` tasks.
    pub(crate) fn filled(count: u64) -> Self {
        let mut map = Self::default();
        for id in 0..count {
            map.tasks.insert(id, vec![b'x'; 100]);
            map.ready.insert((id, id), id);
        }
        map
    }

    /// Claims and removes `count` tasks, one by one.
    fn drain(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let (_, id) = self.ready.pop_first().ok_or("the tasks ran out")?;
            std::hint::black_box(self.tasks.remove(&id));
        }
        Ok(())
    }
}

fn raw_fill(setting: &Setting) -> Result<Sample> {
    setting.measure(setting.unwaited, || {
        std::hint::black_box(Map::filled(setting.unwaited));
        Ok(())
    })
}

fn raw_whole(setting: &Setting) -> Result<Sample> {
    let count = setting.unwaited;
    setting.measure(count, || Map::filled(count).drain(count))
}

fn raw_drain(setting: &Setting) -> Result<Sample> {
    let mut map = Map::filled(setting.tasks);
    setting.measure(setting.tasks, || map.drain(setting.tasks))
}

fn claimer() -> Result<Claimer> {
    Claimer::new(Arc::new(MemoryStore::default()), 0, |_| Options::default())
}

/// Enqueues, claims and settles, `size` tasks at a time.
fn through(setting: &Setting, size: u64) -> Result<Sample> {
    let (claimer, count) = (claimer()?, setting.unwaited);
    let queue = Queue::new(Arc::clone(&claimer.store), "default")?;
    setting.measure(count, || {
        for _ in 0..count / size {
            let mut txn = claimer.manager.begin()?;
            for _ in 0..size {
                queue.enqueue(&mut txn, &Noop::new())?;
            }
            txn.commit()?;
        }
        claimer.run(count, size)
    })
}

/// The store by itself: records that are made already, inserted, claimed and settled by hundreds.
fn store_alone(setting: &Setting) -> Result<Sample> {
    let (claimer, count) = (claimer()?, setting.unwaited);
    let batch = |_| (0..100).map(|_| insert(&*claimer.store)).collect();
    let batches = (0..count / 100)
        .map(batch)
        .collect::<Result<Vec<Batch>>>()?;
    setting.measure(count, || {
        for batch in &batches {
            queue::apply(&claimer.store, &claimer.manager, batch)?;
        }
        claimer.run(count, 100)
    })
}
