//! How close votive comes to the limit of the disk: each piece of work beside the raw loop that does
//! the same rows, indexes and pragmas, in the same run, in turn.
//!
//! `cargo bench --bench throughput [-- --tiny] [-- --only NAME] [-- --dir FOLDER]` prints a table and
//! writes `throughput/report.json` beside the data. Ratios and flushes are what counts: the speed of a
//! disk, and of a shared machine, changes from minute to minute.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod application;
mod file;
mod flushes;
mod limits;
mod own;
mod postgres;
mod raw;
mod redis;
mod report;
mod setting;
mod template;

use std::sync::Arc;

use votive::store::Store;
use votive::store::memory::MemoryStore;

use report::{Run, Work, percentile};
use setting::{Result, Setting, store};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if file::is_asked(&arguments)? {
        return Ok(());
    }
    let setting = Setting::new(&arguments)?;
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only
        .and_then(|at| arguments.get(at + 1))
        .map(String::as_str);
    println!(
        "flushes: {}; {} rounds",
        setting.source.name(),
        setting.rounds
    );
    let mut reports = Vec::new();
    let pairs = PAIRS
        .iter()
        .chain(limits::PAIRS)
        .chain(&application::PAIRS)
        .chain(file::PAIRS)
        .chain(redis::pairs())
        .chain(postgres::pairs());
    for pair in pairs.filter(|pair| only.is_none_or(|only| pair.name.contains(only))) {
        let mut rounds = Vec::new();
        for _ in 0..setting.rounds {
            rounds.push(((pair.raw)(&setting)?, (pair.own)(&setting)?));
        }
        let work = Work {
            name: pair.name,
            raw_name: pair.raw_name,
            goal: pair.goal,
            rounds,
        };
        work.print();
        reports.push(work.json());
    }
    if only.is_none_or(|only| "latency".contains(only)) {
        let sqlite = store(&setting.fresh()?)?;
        latency("sqlite", sqlite, &setting)?;
        if let Some(redis) = redis::store()? {
            print_latencies("redis raw wake-up", &redis::raw_latencies(setting.waits())?);
            latency("redis", redis, &setting)?;
        }
        if let Some(redis) = redis::store()? {
            let share = own::idle(redis, setting.idle)?;
            println!("redis idle consumer: {:.2} % of a core", share * 100.0);
        }
        if let Some(postgres) = postgres::store()? {
            latency("postgres", postgres, &setting)?;
        }
        if let Some(postgres) = postgres::store()? {
            let share = own::idle(postgres, setting.idle)?;
            println!("postgres idle consumer: {:.2} % of a core", share * 100.0);
        }
    }
    if only.is_none_or(|only| "file latency".contains(only)) {
        file::latency(&setting)?;
        file::idle(&setting)?;
    }
    if only.is_none_or(|only| "file backlog".contains(only)) {
        file::backlog(&setting)?;
    }
    let report = setting.folder().join("report.json");
    std::fs::write(&report, serde_json::to_vec_pretty(&reports)?)?;
    println!("written to {}", report.display());
    Ok(())
}

/// A piece of work, done by hand and by votive.
struct Pair {
    name: &'static str,
    raw_name: &'static str,
    goal: Option<f64>,
    raw: fn(&Setting) -> Result<Run>,
    own: fn(&Setting) -> Result<Run>,
}

const PAIRS: &[Pair] = &[
    Pair {
        name: "sqlite one per txn, enlisted",
        raw_name: "application row + task row in one transaction",
        goal: Some(0.9),
        raw: |setting| {
            let mut tables = raw::Tables::new(&setting.fresh()?)?;
            setting.measure(setting.transactions, || {
                raw::enlisted(&mut tables, setting.transactions)
            })
        },
        own: |setting| {
            let work = own::enlisted(&setting.fresh()?, setting.transactions)?;
            setting.measure(setting.transactions, work)
        },
    },
    Pair {
        name: "sqlite one per txn, prepared",
        raw_name: "stage, application row + outcome row, publish",
        goal: Some(0.8),
        raw: |setting| {
            let mut rows = raw::Prepared::new(&setting.fresh()?)?;
            setting.measure(setting.transactions, || rows.run(setting.transactions))
        },
        own: |setting| {
            let work = own::prepared(&setting.fresh()?, setting.transactions)?;
            setting.measure(setting.transactions, work)
        },
    },
    Pair {
        name: "sqlite one per txn, queue alone",
        raw_name: "task row in one transaction",
        goal: None,
        raw: |setting| {
            let mut tables = raw::Tables::new(&setting.fresh()?)?;
            let count = setting.transactions;
            setting.measure(count, || raw::batches(&mut tables, count, 1))
        },
        own: |setting| {
            let work = own::batches(store(&setting.fresh()?)?, setting.transactions, 1)?;
            setting.measure(setting.transactions, work)
        },
    },
    Pair {
        name: "sqlite one per txn, 16 producers",
        raw_name: "one writer that commits all that wait",
        goal: None,
        raw: |setting| {
            let tables = raw::Tables::new(&setting.fresh()?)?;
            setting.measure(setting.tasks / 2, || {
                raw::group_commit(tables, 16, setting.tasks / 2)
            })
        },
        own: |setting| {
            let work = own::producers(store(&setting.fresh()?)?, 16, setting.tasks / 2)?;
            setting.measure(setting.tasks / 2, work)
        },
    },
    Pair {
        name: "sqlite 100 per txn",
        raw_name: "100 task rows in one transaction",
        goal: Some(0.6),
        raw: |setting| {
            let mut tables = raw::Tables::new(&setting.fresh()?)?;
            setting.measure(setting.tasks, || {
                raw::batches(&mut tables, setting.tasks, 100)
            })
        },
        own: |setting| {
            let work = own::batches(store(&setting.fresh()?)?, setting.tasks, 100)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "sqlite drain, 1 worker",
        raw_name: "claim 100, remove each, one commit",
        goal: None,
        raw: raw_drain,
        own: |setting| {
            let work = own::drain(store(&setting.fresh()?)?, 1, setting.tasks)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "sqlite drain, 4 workers",
        raw_name: "claim 100, remove each, one commit",
        goal: Some(0.4),
        raw: raw_drain,
        own: |setting| {
            let work = own::drain(store(&setting.fresh()?)?, 4, setting.tasks)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "sqlite claim + settle at 1k : at 100k",
        raw_name: "the same at a tenth of the largest backlog",
        goal: None,
        raw: |setting| claims(store(&setting.fresh()?)?, setting.backlog_max / 10, setting),
        own: |setting| claims(store(&setting.fresh()?)?, 1_000, setting),
    },
    Pair {
        name: "sqlite claim + settle at 1k : at 1M",
        raw_name: "the same at the largest backlog",
        goal: None,
        raw: |setting| claims(store(&setting.fresh()?)?, setting.backlog_max, setting),
        own: |setting| claims(store(&setting.fresh()?)?, 1_000, setting),
    },
    Pair {
        name: "memory claim + settle at 1k : at 1M",
        raw_name: "the same at the largest backlog",
        goal: None,
        raw: |setting| {
            claims(
                Arc::new(MemoryStore::default()),
                setting.backlog_max,
                setting,
            )
        },
        own: |setting| claims(Arc::new(MemoryStore::default()), 1_000, setting),
    },
    Pair {
        name: "memory one per txn, claimed singly",
        raw_name: "a map of tasks with an ordered index",
        goal: Some(0.25),
        raw: raw_memory,
        own: |setting| setting.measure(setting.tasks * 5, || own::memory(1, setting.tasks * 5)),
    },
    Pair {
        name: "memory 100 per txn, claimed by 100",
        raw_name: "a map of tasks with an ordered index",
        goal: Some(0.25),
        raw: raw_memory,
        own: |setting| setting.measure(setting.tasks * 5, || own::memory(100, setting.tasks * 5)),
    },
    Pair {
        name: "memory store alone, 100 per batch",
        raw_name: "a map of tasks with an ordered index",
        goal: Some(0.25),
        raw: raw_memory,
        own: |setting| {
            let work = own::memory_store(100, setting.tasks * 5)?;
            setting.measure(setting.tasks * 5, work)
        },
    },
];

fn raw_memory(setting: &Setting) -> Result<Run> {
    setting.measure(setting.tasks * 5, || {
        std::hint::black_box(raw::memory(setting.tasks * 5));
        Ok(())
    })
}

fn raw_drain(setting: &Setting) -> Result<Run> {
    let mut tables = raw::Tables::new(&setting.fresh()?)?;
    tables.fill(setting.tasks)?;
    setting.measure(setting.tasks, || raw::drain(&tables, setting.tasks))
}

fn claims(store: Arc<dyn Store>, backlog: u64, setting: &Setting) -> Result<Run> {
    let claimer = own::Claimer::new(store, backlog)?;
    let count = (setting.transactions / 10).min(backlog);
    setting.measure(count, || claimer.run(count))
}

/// From the return of the commit to the start of the task.
fn latency(name: &str, store: Arc<dyn Store>, setting: &Setting) -> Result<()> {
    let latencies = own::latencies(store, setting.waits())?;
    print_latencies(&format!("{name} commit-to-start"), &latencies);
    Ok(())
}

fn print_latencies(name: &str, latencies: &[f64]) {
    let at = |share| percentile(latencies.to_vec(), share).unwrap_or(f64::NAN);
    println!("{name}: p50 {:.3} ms, p99 {:.3} ms", at(0.5), at(0.99));
}
