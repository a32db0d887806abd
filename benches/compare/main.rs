//! How close votive comes to the limit: each piece of work beside the raw loop that does by hand what must be done,
//! in the same run, in turn, on every store.
//!
//! `cargo bench --bench compare [-- --tiny] [--only sqlite,w1] [--rounds 5] [--dir FOLDER] [--out FILE.json]` prints
//! a table and writes what it measured. Ratios and flushes are what counts: the speed of a disk, and of a shared
//! machine, changes from minute to minute.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod application;
mod bed;
mod claimer;
mod file;
mod flushes;
mod group;
mod job;
mod limited;
mod memory;
mod own;
mod postgres;
mod postgres_raw;
mod processor;
mod redis;
mod redis_raw;
mod setting;
mod signals;
mod sqlite;
mod sqlite_raw;
mod template;
mod weight;

use clap::Parser;
use votive_report::Report;

use job::Job;
use setting::{Arguments, Result, Setting};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(what) = &arguments.weigh {
        return weight::weigh_here(what);
    }
    let setting = Setting::new(&arguments)?;
    println!("{setting}");
    let mut cases = Vec::new();
    for job in jobs().into_iter().filter(|job| arguments.wants(&job.case)) {
        let case = job.run(&setting)?;
        println!("{}", case.line());
        cases.push(case);
        setting.clear()?;
        redis::clear()?;
        postgres::clear()?;
    }
    let report = Report {
        day: setting::day(),
        machine: processor::machine()?,
        flushes: setting.source.name(),
        caveat: arguments.caveat,
        cases,
    };
    let path = arguments
        .out
        .unwrap_or_else(|| setting.folder().join("votive.json"));
    report.write(&path)?;
    println!("written to {}", path.display());
    Ok(())
}

/// Everything that can be measured here.
fn jobs() -> Vec<Job> {
    let mut jobs = sqlite::jobs();
    jobs.extend(memory::jobs());
    jobs.extend(file::jobs());
    jobs.extend(redis::jobs());
    jobs.extend(postgres::jobs());
    jobs.extend(application::jobs());
    jobs
}
