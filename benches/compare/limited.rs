//! What limits cost a claim at a large backlog: keys, groups and priorities beside none of them.

use std::sync::Arc;

use votive::store::Store;
use votive::store::memory::MemoryStore;
use votive::task::{OnDuplicate, Options, Unique};
use votive_report::{Goal, Sample, Work};

use crate::claimer::Claimer;
use crate::job::{Job, describe};
use crate::setting::{Result, Setting};
use crate::sqlite;

/// What is measured.
pub(crate) fn jobs() -> Vec<Job> {
    let job = |name, open: fn(&Setting) -> Result<Arc<dyn Store>>| {
        describe(
            name,
            Work::W5,
            "at 100k, with keys, groups and priorities",
            "tasks with none of them",
        )
        .fresh(
            move |setting| claims(open(setting)?, setting, plain),
            move |setting| claims(open(setting)?, setting, limited),
        )
        .reach([Goal::Ratio(0.8)])
    };
    vec![
        job("memory", |_| Ok(Arc::new(MemoryStore::default()))),
        job("sqlite", |setting| Ok(sqlite::store(&setting.fresh()?)?)),
    ]
}

fn plain(_: u64) -> Options {
    Options::default()
}

/// A key and a group of each task's own, so that all of them are ready, and priorities by turns.
fn limited(number: u64) -> Options {
    Options {
        priority: u8::try_from(number % 16).unwrap_or_default(),
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new(format!("key/{number}"))
        }),
        group: Some(format!("group/{number}")),
        ..Options::default()
    }
}

fn claims(store: Arc<dyn Store>, setting: &Setting, options: fn(u64) -> Options) -> Result<Sample> {
    let claimer = Claimer::new(store, setting.backlogs.1, options)?;
    let count = setting.transactions.min(setting.backlogs.1);
    setting.measure(count, || claimer.run(count, 1))
}
