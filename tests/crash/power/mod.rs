//! Power failures. A process that is killed loses no page cache, so that only this can show a missing
//! flush: what a child wrote is replayed up to some instant, and of what it had not flushed by then
//! all, some, torn or nothing is kept.
#![cfg(test)]

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::child::{self, End, Role};
use crate::dice::Dice;
use crate::inspection::LOST;
use crate::layout::{Backend, Layout, Load, Place};
use crate::site::Site;
use disk::Disk;
use trace::Event;

/// How often the power fails in each layout if the environment variable `VOTIVE_OUTAGES` does not say.
/// So many failures are of the same work.
const OUTAGES: usize = 40;

/// How what a child does is to differ from what it should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The application's commits do not wait for the disk.
    Careless,
    /// The disk takes no notice of flushes of the tasks' log, as if the store had forgotten them.
    Unflushed,
    /// The disk takes no notice of flushes of folders, so that new names may be lost.
    Unnamed,
}

/// Has the power fail as often as asked for, until something is wrong, and returns what.
fn complaints(layout: Layout, flaw: Flaw) -> Vec<String> {
    let given = std::env::var("VOTIVE_OUTAGES").ok();
    let outages = given.map_or(OUTAGES, |count| {
        count.parse().expect("VOTIVE_OUTAGES is a number")
    });
    let mut dice = Dice::new();
    (0..outages.div_ceil(OUTAGES))
        .map(|_| {
            loop {
                if let Some(complaints) = fail(layout, flaw, &mut dice) {
                    break complaints;
                }
            }
        })
        .find(|complaints| !complaints.is_empty())
        .unwrap_or_default()
}

/// Has a child work until it dies, and another one to the end, then has the power fail again and again
/// at any instant of that, until something is wrong, and returns what; `None` if the trace is of no use.
fn fail(layout: Layout, flaw: Flaw, dice: &mut Dice) -> Option<Vec<String>> {
    let site = Site::new(layout);
    assert_eq!(child::inspect(&site), [""; 0]);
    let mut disk = Disk::of(&site.folder);
    let points: Vec<_> = layout.points().into_iter().filter(is_deadly).collect();
    let mut events = work(&site, flaw, Some(dice.pick(&points)))?;
    events.extend(work(&site, flaw, None)?);
    let instants: BTreeSet<_> = (0..OUTAGES).map(|_| dice.below(events.len())).collect();
    for (instant, event) in events.iter().enumerate() {
        if instants.contains(&instant) {
            disk.fail(&site.folder, dice);
            fs::write(site.acknowledgements(), told(&site, &events[..instant])).unwrap();
            let complaints = child::inspect(&site);
            if !complaints.is_empty() {
                return Some(complaints);
            }
        }
        disk.perform(event);
    }
    Some(Vec::new())
}

/// Whether there is something to lose where a child dies: what was committed, or a name that only whoever comes next
/// can have on disk.
fn is_deadly(point: &&str) -> bool {
    point.ends_with(".after_commit") || *point == "file.compact.after_rename"
}

/// Has a child work, until it comes to `point` if one is given, and returns its steps if all are known.
fn work(site: &Site, flaw: Flaw, point: Option<&str>) -> Option<Vec<Event>> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let role = if flaw == Flaw::Careless {
        Role::WorkCarelessly
    } else {
        Role::Work
    };
    let mut worker = child::command(&trace::strace(log.path()), role, site);
    if let Some(point) = point {
        child::arm(&mut worker, point, 1);
    }
    let end = child::run(&mut worker);
    let is_right = end == End::Finished || (point.is_some() && end == End::Crashed);
    assert!(is_right, "{end:?}");
    let mut events = trace::read(&fs::read_to_string(log.path()).unwrap(), &site.folder)?;
    let logs = [site.file("tasks.db-wal"), site.file("tasks")];
    let is_log = |file: &PathBuf| logs.iter().any(|log| file.starts_with(log));
    events.retain(|event| match event {
        Event::SyncBegins { file, .. } | Event::SyncEnds { file, .. } => {
            flaw != Flaw::Unflushed || !is_log(file)
        }
        Event::SyncFolder { .. } => flaw != Flaw::Unnamed,
        _ => true,
    });
    Some(events)
}

/// What a child had been told to be committed, by its own word.
fn told(site: &Site, events: &[Event]) -> Vec<u8> {
    let file = site.acknowledgements();
    let said = events.iter().filter_map(|event| match event {
        Event::Write {
            file: to, bytes, ..
        } if *to == file => Some(bytes.as_slice()),
        _ => None,
    });
    said.flatten().copied().collect()
}

/// Whether the tests can be run here; they must be where servers are required.
fn can_run() -> bool {
    let can_run = trace::is_available();
    if !can_run {
        votive_testbed::skip("strace is needed, and allowed to trace");
    }
    can_run
}

const fn layout(notes: Place, effects: Place) -> Layout {
    Layout {
        tasks: Backend::Sqlite,
        notes,
        effects,
        load: Load::Answers,
    }
}

/// Tasks in a file store, the application in SQLite files.
const FILE: Layout = Layout {
    tasks: Backend::File,
    notes: Place::Sqlite,
    effects: Place::Sqlite,
    load: Load::Answers,
};

fn survives(notes: Place, effects: Place) {
    survives_as(layout(notes, effects));
}

#[track_caller]
fn survives_as(layout: Layout) {
    if can_run() {
        let complaints = complaints(layout, Flaw::None);
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}

/// A flaw may show in other ways first, as a damaged file for one, so it is given several chances.
#[track_caller]
fn is_caught(layout: Layout, flaw: Flaw, what: &str) {
    if can_run() {
        let mut found = (0..10).flat_map(|_| complaints(layout, flaw));
        assert!(found.any(|complaint| complaint.contains(what)));
    }
}

#[test]
fn enlisted_ours_survives_power_failures() {
    survives(Place::Ours, Place::Ours);
}

#[test]
fn enlisted_ours_with_effects_in_another_file_survives_power_failures() {
    survives(Place::Ours, Place::Sqlite);
}

#[test]
fn enlisted_yours_survives_power_failures() {
    survives(Place::Yours, Place::Ours);
}

#[test]
fn enlisted_yours_with_effects_in_another_file_survives_power_failures() {
    survives(Place::Yours, Place::Sqlite);
}

#[test]
fn prepared_survives_power_failures() {
    survives(Place::Sqlite, Place::Ours);
}

#[test]
fn prepared_with_effects_in_a_third_file_survives_power_failures() {
    survives(Place::Sqlite, Place::Sqlite);
}

#[test]
fn a_file_store_survives_power_failures() {
    survives_as(FILE);
}

#[test]
fn a_second_queue_in_a_file_store_survives_power_failures() {
    let file = Place::Queue(Backend::File);
    survives(file, file);
}

#[test]
fn a_file_store_that_does_not_flush_its_journal_is_caught() {
    is_caught(FILE, Flaw::Unflushed, "notes and their tasks differ");
}

#[test]
fn a_file_store_that_does_not_flush_the_names_of_its_segments_is_caught() {
    is_caught(FILE, Flaw::Unnamed, "notes and their tasks differ");
}

#[test]
fn an_application_that_does_not_wait_for_the_disk_is_caught() {
    let layout = layout(Place::Ours, Place::Ours);
    is_caught(layout, Flaw::Careless, LOST);
}

#[test]
fn a_store_that_does_not_flush_what_it_staged_is_caught() {
    let layout = layout(Place::Sqlite, Place::Ours);
    is_caught(layout, Flaw::Unflushed, "notes and their tasks differ");
}
