//! What order and limits cost a claim at a large backlog: priorities, keys and groups beside none of them.

use votive::task::{OnDuplicate, Options, Unique};
use votive_report::{Goal, Work};

use crate::bed::{Bed, FLAT};
use crate::claimer::Claimer;
use crate::job::{Job, Side};
use crate::setting::{Result, Setting, preload_with};

/// What the options of the tasks of a backlog are, by their numbers.
type Said = fn(u64) -> Options;

/// Limits may cost a fifth.
const COST: Goal = Goal::Ratio(0.8);

/// How large a backlog is, in words and by number.
pub(crate) type Backlog = (&'static str, fn(&Setting) -> u64);

/// A million, but what shows that the bench runs.
pub(crate) const MILLION: Backlog = ("1M", |setting| setting.backlogs.2);

/// A hundred thousand.
pub(crate) const HUNDRED_THOUSAND: Backlog = ("100k", |setting| setting.backlogs.1);

impl Bed {
    /// Claims of tasks with limits beside those of tasks without, and beside the same at the least backlog.
    pub(crate) fn limited(self, (words, backlog): Backlog) -> Vec<Job> {
        let beside = |name: &str, said: Said| {
            let name = format!("at {words}, {name}");
            let case = self.describe(Work::W5, &name, "tasks with no priority, key or group");
            let make = move |setting: &Setting| {
                let plain = self.claims_of(setting, backlog(setting), plain)?;
                Ok((plain, self.claims_of(setting, backlog(setting), said)?))
            };
            case.kept(make).reach([COST])
        };
        let flat = self.describe(
            Work::W5,
            &format!("at {words}, all three, flat"),
            "the same at 1k",
        );
        let flat = flat.kept(move |setting| {
            let least = self.claims_of(setting, setting.backlogs.0, all_three)?;
            let most = self.claims_of(setting, backlog(setting), all_three)?;
            Ok((least, most))
        });
        vec![
            beside("16 priorities", prioritised),
            beside("a key each", keyed),
            beside("two of each four at once", grouped),
            beside("all three", all_three),
            flat.reach([FLAT]),
        ]
    }

    /// Claims and settles, by hundreds where a settlement waits for the disk, and fills up again.
    fn claims_of(self, setting: &Setting, backlog: u64, said: Said) -> Result<Side> {
        let (most, size) = if self.waits {
            (10_000, 100)
        } else {
            (setting.unwaited / 10, 1)
        };
        let count = most.min(backlog / 2);
        let claimer = Claimer::new(self.open(setting)?, backlog, said)?;
        let mut next = backlog;
        Ok(Box::new(move |setting| {
            let sample = self.measure(setting, count, || claimer.run(count, size.min(count)))?;
            let (store, manager) = (&claimer.store, &claimer.manager);
            preload_with(store, manager, count, |number| said(next + number))?;
            next += count;
            Ok(sample)
        }))
    }
}

fn plain(_: u64) -> Options {
    Options::default()
}

fn prioritised(number: u64) -> Options {
    Options {
        priority: u8::try_from(number % 16).unwrap_or_default(),
        ..Options::default()
    }
}

fn keyed(number: u64) -> Options {
    Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new(format!("key/{number}"))
        }),
        ..Options::default()
    }
}

/// Half of these wait for the others.
fn grouped(number: u64) -> Options {
    Options {
        group: Some(format!("group/{}", number / 4)),
        group_limit: Some(2),
        ..Options::default()
    }
}

fn all_three(number: u64) -> Options {
    let Options {
        group, group_limit, ..
    } = grouped(number);
    Options {
        group,
        group_limit,
        priority: prioritised(number).priority,
        ..keyed(number)
    }
}
