//! The reference's own answers: 103 scenarios that were played to Zope's `transaction` 5.1, played to
//! ours. The traces are equal up to the first event of a deviation, and `deviations` lists every one.
#![cfg(test)]

mod cast;
mod deviations;
mod expected;
mod player;

use std::collections::BTreeSet;

use serde_json::Value;

use deviations::{DEVIATIONS, Deviation};

/// A scenario and the trace that the reference gave.
struct Story {
    scenario: Value,
    expected: Vec<String>,
}

impl Story {
    fn name(&self) -> String {
        player::text(&self.scenario["name"])
    }

    /// The first event in which we differ; `(end)` if ours goes on.
    fn deviates_at(&self) -> Option<String> {
        let actual = player::play(&self.scenario);
        let same = self.expected.iter().zip(&actual);
        let same = same.take_while(|(one, other)| one == other).count();
        if same == self.expected.len() && same == actual.len() {
            return None;
        }
        let end = "(end)".to_owned();
        Some(self.expected.get(same).cloned().unwrap_or(end))
    }
}

fn stories() -> Vec<Story> {
    let text = include_str!("../data/oracle.json");
    let recorded: Vec<Value> = serde_json::from_str(text).unwrap();
    let story = |mut recorded: Value| Story {
        expected: expected::events(recorded["trace"].as_array().unwrap()),
        scenario: recorded["scenario"].take(),
    };
    recorded.into_iter().map(story).collect()
}

#[test]
fn there_are_103_scenarios_and_each_has_a_name_of_its_own() {
    let names: BTreeSet<String> = stories().iter().map(Story::name).collect();
    assert_eq!((stories().len(), names.len()), (103, 103));
}

#[test]
fn we_differ_from_the_reference_where_the_table_says_so_and_nowhere_else() {
    let mut wrong = Vec::new();
    for story in stories() {
        let name = story.name();
        let listed = DEVIATIONS.iter().find(|row| row.scenario == name);
        let [found, listed] = [story.deviates_at(), listed.map(|row| row.event.to_owned())];
        if found != listed {
            wrong.push(format!("{name}: at {found:?}, and not at {listed:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_deviation_is_of_a_scenario_that_is_there_and_has_a_reason() {
    let names: BTreeSet<String> = stories().iter().map(Story::name).collect();
    let is_known = |row: &&Deviation| names.contains(row.scenario) && (1..=16).contains(&row.x);
    assert_eq!(DEVIATIONS.iter().filter(is_known).count(), DEVIATIONS.len());
    let listed: BTreeSet<&str> = DEVIATIONS.iter().map(|row| row.scenario).collect();
    assert_eq!(listed.len(), DEVIATIONS.len(), "a scenario is listed twice");
}
