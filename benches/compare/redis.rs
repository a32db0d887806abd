//! A private Redis server that flushes every write before it answers.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::Connection;
use votive::txn::TransactionManager;
use votive_report::Goal::Ratio;
use votive_report::{Sample, Work};
use votive_testbed::{Redis, or_skip};

use crate::bed::Bed;
use crate::job::Job;
use crate::limited;
use crate::redis_raw::Raw;
use crate::setting::{Result, Setting, preload};
use crate::{signals, weight};

/// The server of all pieces of work; `None` if there is none to be had.
static SERVER: LazyLock<Option<Redis>> =
    LazyLock::new(|| or_skip(Redis::start(votive_testbed::redis::Options::default())));

/// Tells apart the keys of one piece of work from those of the next.
static NAMES: AtomicU64 = AtomicU64::new(0);

const BED: Bed = Bed {
    store: "redis",
    place: |_| Ok(format!("{}?name={}", server()?.url(), name())),
    trips: || info("total_reads_processed").map(Some),
    waits: true,
};

/// What is measured: nothing if there is no server.
pub(crate) fn jobs() -> Vec<Job> {
    if SERVER.is_none() {
        return Vec::new();
    }
    let mut jobs = vec![
        BED.lone("a script that sets a body, a hash and a place", |setting| {
            let (raw, count) = (Raw::new(), setting.transactions);
            BED.measure(setting, count, || raw.fill(count, 1))
        })
        .reach([Ratio(0.85)]),
        BED.producers("16 connections, each by the same script", |setting| {
            let (raw, count) = (Raw::new(), setting.shared);
            BED.measure(setting, count, || raw.fill_by(16, count))
        }),
        BED.hundreds("the same script for 100 at a time", |setting| {
            let (raw, count) = (Raw::new(), setting.tasks);
            BED.measure(setting, count, || raw.fill(count, 100))
        })
        .reach([Ratio(0.85)]),
        BED.drain(1, DRAINED, |setting| drain(setting, 1))
            .reach([Ratio(0.85)]),
        BED.drain(4, DRAINED, |setting| drain(setting, 4))
            .reach([Ratio(0.85)]),
        BED.latency("a message that is published and heard", |setting| {
            signals::redis(&server()?.url(), setting.timed)
        }),
    ];
    jobs.extend(BED.limited(limited::HUNDRED_THOUSAND));
    jobs.extend(
        BED.backlogs("a script to claim one, and one to remove it", |setting| {
            let (raw, count) = (Raw::filled(setting.backlogs.0)?, setting.claims());
            BED.measure(setting, count, || raw.drain(count, 1))
        }),
    );
    jobs.push(BED.idle());
    jobs.push(
        BED.describe(
            Work::W8,
            "in the server's memory",
            "a body, a hash and a place",
        )
        .fresh(raw_weigh, weigh),
    );
    jobs
}

const DRAINED: &str = "a script to claim 100 and one to remove them, on as many connections";

fn drain(setting: &Setting, workers: u64) -> Result<Sample> {
    let (raw, count) = (Raw::filled(setting.tasks)?, setting.tasks);
    BED.measure(setting, count, || raw.drain_by(workers, count))
}

fn raw_weigh(setting: &Setting) -> Result<Sample> {
    let before = info("used_memory")?;
    Raw::filled(setting.weighed)?;
    Ok(weight::each(info("used_memory")? - before, setting.weighed))
}

fn weigh(setting: &Setting) -> Result<Sample> {
    let store = BED.open(setting)?;
    let before = info("used_memory")?;
    preload(&store, &TransactionManager::new(), setting.weighed)?;
    Ok(weight::each(info("used_memory")? - before, setting.weighed))
}

fn server() -> Result<&'static Redis> {
    Ok(SERVER.as_ref().ok_or("there is no server")?)
}

/// A name that no other piece of work has.
pub(crate) fn name() -> String {
    format!("bench-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Connects to the server.
pub(crate) fn connect() -> Result<Connection> {
    Ok(redis::Client::open(server()?.url())?.get_connection()?)
}

/// Removes everything from the server, if there is one.
pub(crate) fn clear() -> Result<()> {
    if SERVER.is_some() {
        redis::cmd("FLUSHALL").exec(&mut connect()?)?;
    }
    Ok(())
}

/// A number that the server tells of itself.
fn info(name: &str) -> Result<u64> {
    let told: String = redis::cmd("INFO")
        .arg("everything")
        .query(&mut connect()?)?;
    let found = told
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(found.ok_or("the server does not tell it")?.trim().parse()?)
}
