//! The file store beside a plain file that is appended to and flushed.

use std::fs::File;
use std::io::Write;

use votive::txn::TransactionManager;
use votive_report::Goal::Ratio;
use votive_report::{Sample, Work};

use crate::bed::Bed;
use crate::job::Job;
use crate::limited;
use crate::setting::{Result, Setting, preload};
use crate::{group, signals, weight};

/// How many bytes votive writes for a task that has a transaction to itself, and so many are written by hand.
const ALONE: usize = 255;

/// The same of one among a hundred.
const AMONG_HUNDRED: usize = 177;

/// How many bytes the end of one among a hundred is by hand.
const END: usize = 100;

const BED: Bed = Bed {
    store: "file",
    place: |setting| {
        Ok(format!(
            "file://{}",
            setting.fresh()?.join("queue").display()
        ))
    },
    trips: || Ok(None),
    waits: true,
};

/// What is measured.
pub(crate) fn jobs() -> Vec<Job> {
    let mut jobs = vec![
        BED.lone("append as many bytes + fdatasync", |setting| {
            appended(setting, setting.transactions, (1, ALONE))
        })
        .reach([Ratio(0.9)]),
        BED.producers(
            "one writer that appends as many bytes for all that wait + fdatasync",
            |setting| {
                let (mut file, count) = (create(setting)?, setting.shared);
                setting.measure(count, || {
                    group::commit(16, count, |members| append(&mut file, members * ALONE))
                })
            },
        )
        .reach([Ratio(0.8)]),
        BED.hundreds("append as many bytes for 100 + fdatasync", |setting| {
            appended(setting, setting.tasks, (100, AMONG_HUNDRED))
        })
        .reach([Ratio(0.7)]),
        BED.drain(1, HUNDREDS, |setting| {
            appended(setting, setting.tasks, (100, END))
        }),
        BED.drain(4, HUNDREDS, |setting| {
            appended(setting, setting.tasks, (100, END))
        }),
        BED.latency("an append, and the file watched", |setting| {
            signals::file(&setting.fresh()?.join("log"), setting.timed)
        }),
    ];
    jobs.extend(BED.limited(limited::MILLION));
    jobs.extend(BED.backlogs("append 100 bytes + fdatasync", |setting| {
        appended(setting, setting.claims(), (1, END))
    }));
    jobs.push(BED.idle());
    jobs.push(
        BED.describe(
            Work::W8,
            "in memory",
            "a map of tasks with an ordered index",
        )
        .fresh(|setting| weight::weigh(weight::MAP, setting.weighed), weigh),
    );
    jobs
}

const HUNDREDS: &str = "append 100 times 100 bytes + fdatasync";

fn create(setting: &Setting) -> Result<File> {
    let path = setting.fresh()?.join("raw");
    Ok(File::options().create(true).append(true).open(path)?)
}

fn append(file: &mut File, bytes: usize) -> Result<()> {
    file.write_all(&vec![b'x'; bytes])?;
    Ok(file.sync_data()?)
}

/// Appends so many bytes for each of `count` tasks to a file, and flushes after every `size`.
fn appended(setting: &Setting, count: u64, (size, bytes): (u64, usize)) -> Result<Sample> {
    let mut file = create(setting)?;
    setting.measure(count, || {
        (0..count / size).try_for_each(|_| append(&mut file, bytes * usize::try_from(size)?))
    })
}

/// What a backlog takes in the memory of a process that opens it.
fn weigh(setting: &Setting) -> Result<Sample> {
    let url = (BED.place)(setting)?;
    let filled = votive::open(&url)?;
    preload(&filled, &TransactionManager::new(), setting.weighed)?;
    drop(filled);
    weight::weigh(&url, setting.weighed)
}
