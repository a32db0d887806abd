//! What must hold at any time after recovery, whatever died before: a task for each note and no
//! other, an effect for each task that is done and no other.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;

use votive::store::Filter;
use votive::task::State;

use crate::answer::Answer;
use crate::errands;
use crate::layout::Load;
use crate::site::Site;
use crate::work::is_committed;
use crate::world::{Result, World};

/// What was found in a site.
struct Findings {
    notes: Vec<String>,
    effects: Vec<String>,
    tasks: Vec<(Answer, State)>,
}

/// What producers were told, as they noted it.
struct Told {
    acknowledged: Vec<String>,
    refused: Vec<String>,
}

impl Told {
    fn read(site: &Site) -> Self {
        let lines = |path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        Self {
            acknowledged: lines(site.acknowledgements()),
            refused: lines(site.refusals()),
        }
    }

    /// What was acknowledged is there, and what was refused is not.
    fn judge(&self, notes: &[String], complaints: &mut Vec<String>) {
        let there: BTreeSet<_> = notes.iter().collect();
        let lost = |name: &&String| !there.contains(name);
        let lost: Vec<_> = self.acknowledged.iter().filter(lost).collect();
        complain(complaints, lost.is_empty(), LOST, &lost);
        let undead = self.refused.iter().filter(|name| there.contains(name));
        let undead: Vec<_> = undead.collect();
        complain(
            complaints,
            undead.is_empty(),
            "refused notes are there",
            &undead,
        );
    }
}

/// Opens a site, recovers, inspects, lets a consumer run what is left, and inspects
/// again; returns what is wrong, a line each.
pub(crate) fn complaints(site: &Site) -> Vec<String> {
    let mut complaints = Vec::new();
    if let Err(error) = inspect(site, &mut complaints) {
        let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |error| {
            error.source()
        });
        let texts: Vec<_> = causes.map(ToString::to_string).collect();
        complaints.push(format!("inspection failed: {}", texts.join(": ")));
    }
    complaints
}

fn inspect(site: &Site, complaints: &mut Vec<String>) -> Result<()> {
    let told = Told::read(site);
    let world = World::open(site)?;
    let in_doubt = world.recover()?;
    complain(complaints, in_doubt == 0, "batches are in doubt", in_doubt);
    complaints.extend(world.check()?);
    let before = judge(&world, &told, complaints)?;
    world.drain()?;
    complaints.extend(world.check()?);
    let after = judge(&world, &told, complaints)?;
    complain(complaints, before == after, "notes changed", &after);
    Ok(())
}

/// Judges all that is there, and returns the notes.
fn judge(world: &World, told: &Told, complaints: &mut Vec<String>) -> Result<Vec<String>> {
    let notes = match world.layout.load {
        Load::Answers => {
            let findings = Findings::read(world)?;
            findings.judge(complaints);
            findings.notes
        }
        Load::Errands => {
            let findings = errands::Findings::read(world)?;
            findings.judge(complaints)?;
            findings.notes
        }
    };
    told.judge(&notes, complaints);
    Ok(notes)
}

impl Findings {
    fn read(world: &World) -> Result<Self> {
        let page = world.store.scan(&Filter::default(), None, 100_000)?;
        let tasks = page.tasks.into_iter().map(|listed| {
            let task = listed.record.payload.decode::<Answer>()?;
            Ok((task, listed.record.state))
        });
        Ok(Self {
            notes: world.notes.names()?,
            effects: world.effects.names()?,
            tasks: tasks.collect::<Result<_>>()?,
        })
    }

    /// The names of the tasks that `which` picks, in order, doubled ones twice.
    fn named(&self, which: impl Fn(&Answer, State) -> bool) -> Vec<String> {
        let picked = self
            .tasks
            .iter()
            .filter(|(task, state)| which(task, *state));
        let mut names: Vec<_> = picked.map(|(task, _)| task.name()).collect();
        names.sort();
        names
    }

    fn judge(&self, complaints: &mut Vec<String>) {
        let enqueued = self.named(|task, _| !task.is_echo);
        differ(complaints, "notes and their tasks", &self.notes, &enqueued);
        let done = self.named(|_, state| state == State::Done);
        differ(complaints, "effects and tasks done", &self.effects, &done);
        let answered = self.named(|task, state| !task.is_echo && state == State::Done);
        let echoes = self.named(|task, _| task.is_echo);
        let expected: Vec<_> = answered.iter().map(|name| format!("{name}+")).collect();
        differ(
            complaints,
            "tasks done and their echoes",
            &expected,
            &echoes,
        );
        let aborted = self.named(|task, _| !is_committed(task.number));
        complain(
            complaints,
            aborted.is_empty(),
            "aborted tasks are there",
            &aborted,
        );
    }
}

/// The complaint about notes that are gone although their commit had returned.
pub(crate) const LOST: &str = "acknowledged notes are lost";

pub(crate) fn complain(
    complaints: &mut Vec<String>,
    is_fine: bool,
    what: &str,
    which: impl std::fmt::Debug,
) {
    if !is_fine {
        complaints.push(format!("{what}: {which:?}"));
    }
}

pub(crate) fn differ(complaints: &mut Vec<String>, what: &str, left: &[String], right: &[String]) {
    if left != right {
        complaints.push(format!("{what} differ: {left:?} and {right:?}"));
    }
}
