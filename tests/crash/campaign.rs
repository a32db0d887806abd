//! Children that die at every durable step, one after the other on the same data, and the inspection
//! of what they leave behind.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use crossbeam_channel::{Receiver, after};
use parking_lot::Mutex;
use votive::failpoint;

use crate::child::{self, End, Role};
use crate::dice::Dice;
use crate::layout::{Layout, Load};
use crate::matrix::MATRIX;
use crate::servers;
use crate::site::Site;

/// How many children of a layout are to die, unless `VOTIVE_CRASHES` says otherwise, where all is in SQLite
/// files: a thousand together. Elsewhere as many as it takes to have enough at each point.
const CRASHES: usize = 145;

/// How many children are to die at each point of a layout, unless `VOTIVE_KILLS` says otherwise.
const KILLS: usize = 3;

/// How many children work on the same data before it is inspected, at most. To begin anew in a server
/// takes longer than many children work.
const CHAIN_MAX: usize = 6;
const CHAIN_MAX_IN_SERVER: usize = 16;

/// After how many children another one is sent to a step that one did not come to; fewer than there are points.
const PATIENCE: usize = 5;

/// A child dies at this visit of its point at the latest.
const VISIT_MAX: usize = 4;

/// How many children of a layout work at the same time. Most of them wait for the disk or for a lease.
const THREADS: usize = 4;

/// What came of all the children of a layout.
#[derive(Default)]
struct Report {
    /// How many died at which point.
    hits: BTreeMap<&'static str, usize>,
    /// How many are on their way to which point.
    underway: BTreeMap<&'static str, usize>,
    /// Visits of a point that a child did not get to.
    beyond: BTreeMap<&'static str, usize>,
    complaints: Vec<String>,
    /// How many chains were begun.
    chains: usize,
}

/// The campaign of each layout of the matrix, run when a test first asks for it.
static REPORTS: [OnceLock<Report>; MATRIX.len()] = [const { OnceLock::new() }; MATRIX.len()];

/// Reads a number from the environment.
pub(crate) fn number<T: FromStr>(name: &str) -> Option<T> {
    let given = std::env::var(name).ok()?;
    let number = given.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{name} is a number, not `{given}`")))
}

/// How many children of a layout are to die.
fn crashes(layout: Layout) -> usize {
    if !layout.is_in_sqlite() || layout.load == Load::Errands {
        return 0;
    }
    number("VOTIVE_CRASHES").unwrap_or(CRASHES)
}

fn report(layout: Layout) -> &'static Report {
    let place = MATRIX
        .iter()
        .position(|known| *known == layout)
        .expect("a layout of the matrix");
    REPORTS[place].get_or_init(|| run(layout))
}

/// Runs children until enough have died and it is late enough; the rarest points come first. A step
/// that is never taken must not keep it going for ever.
fn run(layout: Layout) -> Report {
    let campaign = Campaign::new(layout);
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                while campaign.goes_on() {
                    campaign.add_chain();
                }
            });
        }
    });
    campaign.report.into_inner()
}

struct Campaign {
    layout: Layout,
    points: Vec<&'static str>,
    crashes: usize,
    kills: usize,
    late: Receiver<std::time::Instant>,
    report: Mutex<Report>,
}

impl Campaign {
    fn new(layout: Layout) -> Self {
        let minutes: u64 = number("VOTIVE_SOAK_MINUTES").unwrap_or_default();
        let share = Duration::from_secs(60 * minutes / MATRIX.len() as u64);
        Self {
            layout,
            points: layout.points(),
            crashes: crashes(layout),
            kills: number("VOTIVE_KILLS").unwrap_or(KILLS),
            late: after(share),
            report: Mutex::default(),
        }
    }

    fn goes_on(&self) -> bool {
        let chains_max = 100 + 3 * self.crashes.max(self.kills * self.points.len());
        let is_done = self.is_done();
        let mut report = self.report.lock();
        report.chains += 1;
        let is_stuck = self.is_late() && report.chains > chains_max;
        !is_done && !is_stuck && report.complaints.is_empty()
    }

    /// Whether enough have died, and it is late enough.
    fn is_done(&self) -> bool {
        let report = self.report.lock();
        let died: usize = report.hits.values().sum();
        let has_enough = |point: &&str| report.hits(point) >= self.kills;
        let is_enough = died >= self.crashes && self.points.iter().all(has_enough);
        is_enough && self.is_late()
    }

    fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Has several children work on the same data, one after the other, and inspects what they leave.
    fn add_chain(&self) {
        let mut dice = Dice::new();
        let site = Site::new(self.layout);
        let mut history = Vec::new();
        // A step that a child did not come to, none comes to for a while: of two stores the one whose id comes
        // first decides, and a journal has to grow before it is cleaned.
        let mut missed = BTreeMap::new();
        let chain_max = if self.layout.is_in_server() {
            CHAIN_MAX_IN_SERVER
        } else {
            CHAIN_MAX
        };
        let length = 1 + dice.below(chain_max);
        for number in (0..length).take_while(|_| !self.is_done()) {
            let is_likely =
                |point: &&str| missed.get(step(point)).is_none_or(|until| *until <= number);
            let points: Vec<_> = self.points.iter().copied().filter(is_likely).collect();
            let (point, visit) = self.report.lock().aim(&points, &mut dice);
            if let Some(earlier) = lead_in(point, &self.points) {
                self.add_child(&site, earlier, 1);
                history.push(format!("{earlier}:1"));
            }
            let has_died = self.add_child(&site, point, visit);
            history.push(format!("{point}:{visit}"));
            if !has_died && visit == 1 {
                missed.insert(step(point), number + PATIENCE);
            }
            self.report.lock().arrived(point);
        }
        let found = child::inspect(&site).into_iter();
        let described = found.map(|what| format!("{what} after {history:?}"));
        self.report.lock().complaints.extend(described);
    }

    /// Has a child work that dies at a visit of a point; returns whether it came to that.
    fn add_child(&self, site: &Site, point: &'static str, visit: usize) -> bool {
        let mut worker = child::command(&[], Role::Work, site);
        child::arm(&mut worker, point, visit);
        let end = child::run(&mut worker);
        let mut report = self.report.lock();
        let has_died = end == End::Crashed;
        match end {
            End::Crashed => *report.hits.entry(point).or_default() += 1,
            End::Finished => drop(report.beyond.insert(point, visit)),
            End::Failed(how) => report.complaints.push(how),
        }
        has_died
    }
}

impl Report {
    /// Picks where the next child is to die: one of the points that the fewest have died at, at an early
    /// visit, and earlier than one that a child did not get to.
    fn aim(&mut self, points: &[&'static str], dice: &mut Dice) -> (&'static str, usize) {
        let count = |point: &str| {
            let underway = self.underway.get(point).copied().unwrap_or_default();
            self.hits(point) + underway
        };
        let fewest = points.iter().copied().map(count).min();
        let rare = points.iter().filter(|point| Some(count(point)) == fewest);
        let point = dice.pick(&rare.copied().collect::<Vec<_>>());
        *self.underway.entry(point).or_default() += 1;
        let beyond = self.beyond.get(point).copied().unwrap_or(VISIT_MAX + 1);
        let visits = (beyond - 1).max(1);
        (point, 1 + dice.below(visits).min(dice.below(visits)))
    }

    fn arrived(&mut self, point: &'static str) {
        self.underway.entry(point).and_modify(|count| *count -= 1);
    }

    fn hits(&self, point: &str) -> usize {
        self.hits.get(point).copied().unwrap_or_default()
    }

    /// The points that too few have died at.
    fn rare(&self, layout: Layout) -> Vec<(&'static str, usize)> {
        let kills = number("VOTIVE_KILLS").unwrap_or(KILLS);
        let counted = layout
            .points()
            .into_iter()
            .map(|point| (point, self.hits(point)));
        counted.filter(|(_, count)| *count < kills).collect()
    }
}

/// The step that a point is before or after: `sqlite.stage` of `sqlite.stage.before_commit`.
fn step(point: &str) -> &str {
    point.rsplit_once('.').map_or(point, |(step, _)| step)
}

/// Where one must have died before anybody comes to a point: some stores discard only what others left.
fn lead_in(point: &str, points: &[&'static str]) -> Option<&'static str> {
    let (step, _) = point.split_once(".discard.")?;
    let earlier = format!("{step}.stage.after_commit");
    points.iter().copied().find(|known| *known == earlier)
}

/// Claims that nothing is wrong after all the crashes of a layout, and that there were enough.
#[track_caller]
pub(crate) fn survives(layout: Layout) {
    if !servers::are_there(layout) {
        return;
    }
    let report = report(layout);
    assert!(
        report.complaints.is_empty(),
        "\n{}",
        report.complaints.join("\n")
    );
    let rare = report.rare(layout);
    assert!(rare.is_empty(), "too few died at {rare:?}");
}

#[test]
fn every_point_belongs_to_a_layout() {
    let tried: BTreeSet<_> = MATRIX.iter().flat_map(|layout| layout.points()).collect();
    let known: BTreeSet<_> = failpoint::ALL.iter().copied().flatten().copied().collect();
    assert_eq!(tried, known);
}

#[test]
fn as_many_processes_died_in_sqlite_files_as_were_asked_for() {
    let died = |layout: &Layout| report(*layout).hits.values().sum::<usize>();
    let layouts = || MATRIX.iter().filter(|layout| layout.is_in_sqlite());
    let (died, asked): (usize, usize) = (
        layouts().map(died).sum(),
        layouts().map(|layout| crashes(*layout)).sum(),
    );
    assert!(died >= asked, "{died}");
}
