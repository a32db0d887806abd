//! What limits cost a claim at a large backlog: keys, groups and priorities beside none of them.

use std::sync::Arc;

use votive::store::Store;
use votive::store::memory::MemoryStore;
use votive::task::{Options, Unique};

use crate::Pair;
use crate::own::Claimer;
use crate::report::Run;
use crate::setting::{Result, Setting, store};

pub(crate) const PAIRS: &[Pair] = &[
    Pair {
        name: "memory claim + settle, limited",
        raw_name: "tasks without key, group or priority",
        goal: Some(0.8),
        raw: |setting| claims(Arc::new(MemoryStore::default()), setting, plain),
        own: |setting| claims(Arc::new(MemoryStore::default()), setting, limited),
    },
    Pair {
        name: "sqlite claim + settle, limited",
        raw_name: "tasks without key, group or priority",
        goal: Some(0.8),
        raw: |setting| claims(store(&setting.fresh()?)?, setting, plain),
        own: |setting| claims(store(&setting.fresh()?)?, setting, limited),
    },
];

fn plain(_: u64) -> Options {
    Options::default()
}

/// A key and a group of each task's own, so that all of them are ready, and priorities by turns.
fn limited(number: u64) -> Options {
    Options {
        priority: u8::try_from(number % 16).unwrap_or_default(),
        unique: Some(Unique::new(format!("key/{number}")).or_refuse()),
        group: Some(format!("group/{number}")),
        ..Options::default()
    }
}

fn claims(store: Arc<dyn Store>, setting: &Setting, options: fn(u64) -> Options) -> Result<Run> {
    let backlog = setting.backlog_max / 10;
    let claimer = Claimer::with(store, backlog, options)?;
    let count = setting.transactions.min(backlog);
    setting.measure(count, || claimer.run(count))
}
