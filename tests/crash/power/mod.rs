//! Power failures. A process that is killed loses no page cache, so that only this can show a missing
//! flush: what a child wrote is replayed up to some instant, and of what it had not flushed by then
//! all, some, torn or nothing is kept.
#![cfg(test)]

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::child::{self, End, Role};
use crate::dice::Dice;
use crate::inspection::LOST;
use crate::layout::{Effects, Layout, Producer};
use crate::world::acknowledgements;
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
    let place = tempfile::tempdir().unwrap();
    let folder = &place.path().canonicalize().unwrap();
    assert_eq!(child::inspect(folder, layout), [""; 0]);
    let mut disk = Disk::of(folder);
    let point = format!("{}.after_commit", dice.pick(&layout.steps()));
    let mut events = work(folder, layout, flaw, Some(&point))?;
    events.extend(work(folder, layout, flaw, None)?);
    let instants: BTreeSet<_> = (0..OUTAGES).map(|_| dice.below(events.len())).collect();
    for (instant, event) in events.iter().enumerate() {
        if instants.contains(&instant) {
            disk.fail(folder, dice);
            fs::write(acknowledgements(folder), told(folder, &events[..instant])).unwrap();
            let complaints = child::inspect(folder, layout);
            if !complaints.is_empty() {
                return Some(complaints);
            }
        }
        disk.perform(event);
    }
    Some(Vec::new())
}

/// Has a child work, until it comes to `point` if one is given, and returns its steps if all are known.
fn work(folder: &Path, layout: Layout, flaw: Flaw, point: Option<&str>) -> Option<Vec<Event>> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let role = if flaw == Flaw::Careless {
        Role::WorkCarelessly
    } else {
        Role::Work
    };
    let mut worker = child::command(&trace::strace(log.path()), role, folder, layout);
    if let Some(point) = point {
        child::arm(&mut worker, point, 1);
    }
    let end = child::run(&mut worker);
    let is_right = end == End::Finished || (point.is_some() && end == End::Crashed);
    assert!(is_right, "{end:?}");
    let mut events = trace::read(&fs::read_to_string(log.path()).unwrap(), folder)?;
    if flaw == Flaw::Unflushed {
        let log = folder.join("tasks.db-wal");
        events.retain(|event| match event {
            Event::SyncBegins { file, .. } | Event::SyncEnds { file, .. } => *file != log,
            _ => true,
        });
    }
    Some(events)
}

/// What a child had been told to be committed, by its own word.
fn told(folder: &Path, events: &[Event]) -> Vec<u8> {
    let file = acknowledgements(folder);
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
        let is_required = std::env::var("VOTIVE_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "strace is needed, and allowed to trace");
        // Past the test harness, which hides what a test that passes prints.
        writeln!(
            std::io::stderr(),
            "skipped: strace is needed, and allowed to trace"
        )
        .unwrap();
    }
    can_run
}

#[track_caller]
fn survives(producer: Producer, effects: Effects) {
    if can_run() {
        let complaints = complaints(Layout::new(producer, effects), Flaw::None);
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
    survives(Producer::Ours, Effects::Beside);
}

#[test]
fn enlisted_ours_with_effects_in_another_file_survives_power_failures() {
    survives(Producer::Ours, Effects::Apart);
}

#[test]
fn enlisted_yours_survives_power_failures() {
    survives(Producer::Yours, Effects::Beside);
}

#[test]
fn enlisted_yours_with_effects_in_another_file_survives_power_failures() {
    survives(Producer::Yours, Effects::Apart);
}

#[test]
fn prepared_survives_power_failures() {
    survives(Producer::Prepared, Effects::Beside);
}

#[test]
fn prepared_with_effects_in_a_third_file_survives_power_failures() {
    survives(Producer::Prepared, Effects::Apart);
}

#[test]
fn an_application_that_does_not_wait_for_the_disk_is_caught() {
    let layout = Layout::new(Producer::Ours, Effects::Beside);
    is_caught(layout, Flaw::Careless, LOST);
}

#[test]
fn a_store_that_does_not_flush_what_it_staged_is_caught() {
    let layout = Layout::new(Producer::Prepared, Effects::Beside);
    is_caught(layout, Flaw::Unflushed, "notes and their tasks differ");
}
