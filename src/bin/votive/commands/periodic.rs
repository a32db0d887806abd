//! `votive periodic`: the timetable of a store, and what any schedule means.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use votive::Schedule;
use votive::queue::{self, PeriodicInfo};
use votive::time::{Clock, SystemClock, Timestamp};

use crate::args::{Global, NextTimes, Periodic};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::table::{Table, relative};
use crate::target::Target;
use crate::view::Text;

/// How many of the next times a listing shows to programs.
const NEXT_COUNT: usize = 3;

/// Who is later than this with an entry does not keep it.
const LATE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
struct Report {
    now: Text<Timestamp>,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    schedule: String,
    description: Option<String>,
    kind: String,
    queue: String,
    catch_up: String,
    next: Vec<Text<Timestamp>>,
    overdue: bool,
    fired_for: Option<Text<Timestamp>>,
    dealt_until: Text<Timestamp>,
    written_by: String,
}

#[derive(Debug, Serialize)]
struct Times {
    schedule: String,
    description: String,
    next: Vec<Time>,
}

#[derive(Debug, Serialize)]
struct Time {
    at: Text<Timestamp>,
    local: String,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: String,
}

/// Lists the timetable, forgets an entry, or says what a schedule means.
pub(super) fn run(global: &Global, typed: Option<&Periodic>) -> Result<Exit, Failure> {
    match typed {
        None | Some(Periodic::List) => list(&Target::open(global)?, global.json),
        Some(Periodic::Next(typed)) => next(typed, global.json),
        Some(Periodic::Remove { name }) => remove(&Target::open(global)?, name, global.json),
    }
}

fn list(target: &Target, json: bool) -> Result<Exit, Failure> {
    let entries = queue::periodic(&*target.store)?;
    let now = target.store.now()?;
    let entries = entries.into_iter().map(|info| Entry::new(info, now));
    let report = Report {
        now: Text(now),
        entries: entries.collect(),
    };
    output::print(&report, json)?;
    Ok(Exit::Ok)
}

fn next(typed: &NextTimes, json: bool) -> Result<Exit, Failure> {
    let schedule = schedule(typed)?;
    let after = typed.after.unwrap_or_else(|| SystemClock.now());
    let times = schedule.after(after).take(typed.count);
    let report = Times {
        schedule: schedule.to_string(),
        description: schedule.describe(),
        next: times
            .map(|at| Time {
                at: Text(at),
                local: schedule.local(at),
            })
            .collect(),
    };
    output::print(&report, json)?;
    Ok(Exit::Ok)
}

fn schedule(typed: &NextTimes) -> Result<Schedule, Failure> {
    let read: Result<Schedule, _> = typed.schedule.parse();
    let placed = read.and_then(|schedule| match &typed.tz {
        Some(zone) => schedule.in_zone(zone),
        None => Ok(schedule),
    });
    placed.map_err(|error| Failure::of(error).exiting(Exit::Usage))
}

fn remove(target: &Target, name: &str, json: bool) -> Result<Exit, Failure> {
    if !queue::remove_periodic(&target.store, &target.manager, name)? {
        let message = format!("there is no periodic entry `{name}`");
        return Err(Failure::new(Exit::NotFound, message));
    }
    let removed = name.to_owned();
    output::print(&Removed { removed }, json)?;
    Ok(Exit::Ok)
}

impl Entry {
    fn new(info: PeriodicInfo, now: Timestamp) -> Self {
        let schedule = info.parsed();
        let times = schedule.as_ref().map(|it| it.after(info.dealt_until));
        let next: Vec<_> = times.into_iter().flatten().take(NEXT_COUNT).collect();
        let is_late = |next: &Timestamp| next.saturating_add(LATE) < now;
        Self {
            overdue: next.first().is_some_and(is_late),
            description: schedule.as_ref().map(Schedule::describe),
            next: next.into_iter().map(Text).collect(),
            name: info.name,
            schedule: info.schedule,
            kind: info.kind,
            queue: info.queue,
            catch_up: info.catch_up,
            fired_for: info.fired_for.map(Text),
            dealt_until: Text(info.dealt_until),
            written_by: info.written_by,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return writeln!(f, "no periodic entries");
        }
        let headings = [
            "name", "schedule", "next", "last", "kind", "queue", "catch up",
        ];
        let mut table = Table::new(headings);
        for entry in &self.entries {
            let time = |at: Option<&Text<Timestamp>>| {
                at.map_or_else(|| "never".to_owned(), |at| relative(at.0, self.now.0))
            };
            let next = time(entry.next.first());
            let next = match (entry.overdue, &entry.description) {
                (_, None) => "unknown schedule".to_owned(),
                (true, _) => format!("overdue: {next}"),
                (false, _) => next,
            };
            table.row([
                entry.name.clone(),
                entry.schedule.clone(),
                next,
                time(entry.fired_for.as_ref()),
                entry.kind.clone(),
                entry.queue.clone(),
                entry.catch_up.clone(),
            ]);
        }
        table.fmt(f)?;
        for entry in &self.entries {
            if let Some(description) = &entry.description {
                writeln!(f, "{}: {description}", crate::table::plain(&entry.name))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.description)?;
        self.next
            .iter()
            .try_for_each(|Time { at, local }| writeln!(f, "{at}  {local}"))
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is forgotten; its tasks stay", self.removed)
    }
}
