//! Children that die at every durable step, one after the other on the same files, and the inspection
//! of what they leave behind.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use votive::failpoint;

use crate::child::{self, End, Role};
use crate::dice::Dice;
use crate::layout::{Effects, Layout, Producer};

/// How many children are to die if the environment variable `VOTIVE_CRASHES` does not say.
const CRASHES: usize = 1_000;

/// How often each point is to be died at. At least two layouts come to each, and share this.
const HITS_MIN: usize = 20;

/// How many children work on the same files before these are inspected, at most.
const CHAIN_MAX: usize = 6;

/// A child dies at this visit of its point at the latest.
const VISIT_MAX: usize = 4;

/// What came of all the children of a layout.
#[derive(Default)]
struct Report {
    /// How many died at which point.
    hits: BTreeMap<String, usize>,
    complaints: Vec<String>,
}

/// The campaigns of all layouts, run once for all tests.
static REPORTS: LazyLock<BTreeMap<Layout, Report>> = LazyLock::new(|| {
    std::thread::scope(|threads| {
        let campaigns = Layout::ALL.map(|layout| (layout, threads.spawn(move || run(layout))));
        let report = |(layout, campaign): (_, std::thread::ScopedJoinHandle<'_, _>)| {
            (layout, campaign.join().unwrap())
        };
        campaigns.into_iter().map(report).collect()
    })
});

fn crashes() -> usize {
    let given = std::env::var("VOTIVE_CRASHES").ok();
    given.map_or(CRASHES, |count| {
        count.parse().expect("VOTIVE_CRASHES is a number")
    })
}

/// Runs children until this layout's share of them has died; the rarest points come first. A step that
/// is never taken must not keep it going for ever.
fn run(layout: Layout) -> Report {
    let mut dice = Dice::new();
    let points: Vec<String> = layout
        .steps()
        .iter()
        .flat_map(|step| ["before", "after"].map(|when| format!("{step}.{when}_commit")))
        .collect();
    let share = crashes().div_ceil(Layout::ALL.len());
    let mut report = Report::default();
    for _ in 0..3 * share {
        let died: usize = report.hits.values().sum();
        let is_enough = died >= share && points.iter().all(|at| report.hits(at) >= HITS_MIN / 2);
        if is_enough || !report.complaints.is_empty() {
            break;
        }
        report.add_chain(layout, &points, &mut dice);
    }
    report
}

impl Report {
    /// Has several children work on the same files, one after the other, and inspects what they leave.
    fn add_chain(&mut self, layout: Layout, points: &[String], dice: &mut Dice) {
        let folder = tempfile::tempdir().unwrap();
        let mut history = Vec::new();
        for _ in 0..=dice.below(CHAIN_MAX) {
            let point = self.rarest(points, dice);
            let visit = 1 + dice.below(VISIT_MAX).min(dice.below(VISIT_MAX));
            history.push(format!("{point}:{visit}"));
            let mut worker = child::command(&[], Role::Work, folder.path(), layout);
            child::arm(&mut worker, &point, visit);
            match child::run(&mut worker) {
                End::Crashed => *self.hits.entry(point).or_default() += 1,
                End::Finished => {}
                End::Failed(how) => self.complaints.push(how),
            }
        }
        let found = child::inspect(folder.path(), layout);
        let described = found
            .into_iter()
            .map(|what| format!("{what} after {history:?}"));
        self.complaints.extend(described);
    }

    /// Draws three points, and takes the one that fewer have died at.
    fn rarest(&self, points: &[String], dice: &mut Dice) -> String {
        let drawn = [(); 3].map(|()| dice.below(points.len()));
        let rarest = drawn.into_iter().min_by_key(|at| self.hits(&points[*at]));
        points[rarest.unwrap()].clone()
    }

    fn hits(&self, point: &str) -> usize {
        self.hits.get(point).copied().unwrap_or_default()
    }
}

#[track_caller]
fn survives(producer: Producer, effects: Effects) {
    let complaints = &REPORTS[&Layout::new(producer, effects)].complaints;
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn enlisted_ours_survives_every_crash() {
    survives(Producer::Ours, Effects::Beside);
}

#[test]
fn enlisted_ours_with_effects_in_another_file_survives_every_crash() {
    survives(Producer::Ours, Effects::Apart);
}

#[test]
fn enlisted_yours_survives_every_crash() {
    survives(Producer::Yours, Effects::Beside);
}

#[test]
fn enlisted_yours_with_effects_in_another_file_survives_every_crash() {
    survives(Producer::Yours, Effects::Apart);
}

#[test]
fn prepared_survives_every_crash() {
    survives(Producer::Prepared, Effects::Beside);
}

#[test]
fn prepared_with_effects_in_a_third_file_survives_every_crash() {
    survives(Producer::Prepared, Effects::Apart);
}

#[test]
fn processes_died_at_every_durable_step() {
    let hits = |point: &str| REPORTS.values().map(|report| report.hits(point)).sum();
    let known = [failpoint::APPLICATION, failpoint::RUSQLITE, failpoint::SQLITE];
    let points = known.into_iter().flatten();
    let counted = points.map(|point| (point, hits(point)));
    let rare: Vec<(&&str, usize)> = counted.filter(|(_, count)| *count < HITS_MIN).collect();
    assert!(rare.is_empty(), "{rare:?}");
}

#[test]
fn as_many_processes_died_as_were_asked_for() {
    let died: usize = REPORTS
        .values()
        .flat_map(|report| report.hits.values())
        .sum();
    assert!(died >= crashes(), "{died}");
}
