//! A copy that is killed at every durable step, run again, and has lost and doubled nothing.
#![cfg(test)]

use std::collections::BTreeSet;
use std::process::{Command, Output};

use votive::failpoint;
use votive::id::TaskId;
use votive::store::Amendment;
use votive::task::Options;

use crate::homes::{self, Home};
use crate::pair::{Pair, ids};

/// More than fit into one transaction.
const TASKS: usize = 120;

/// How often each point is passed before the process dies at it.
const PASSES: [usize; 2] = [1, 2];

/// What every copy passes, whichever store decides.
const STEPS: [&str; 6] = [
    "stage.before",
    "stage.after",
    "apply.before",
    "apply.after",
    "publish.before",
    "publish.after",
];

/// Runs the program.
fn copy(from: &Home, to: &Home, failpoint: Option<String>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
    command.args(["copy", &from.url, &to.url]);
    command.envs(failpoint.map(|point| ("VOTIVE_FAILPOINT", point)));
    command.output().unwrap()
}

/// Fills a home with tasks, some of which have ended; returns their ids.
fn fill(home: &Home) -> BTreeSet<TaskId> {
    let store = votive::open(&home.url).unwrap();
    let pair = Pair::of(store.clone(), store);
    let tasks: Vec<TaskId> = (0..TASKS)
        .map(|_| pair.enqueue(Options::default()))
        .collect();
    for task in tasks.iter().step_by(7) {
        pair.amend(*task, Amendment::Cancel);
    }
    tasks.into_iter().collect()
}

fn content(home: &Home) -> BTreeSet<TaskId> {
    ids(&*votive::open(&home.url).unwrap())
}

/// Kills copies there and back at each of `points`, and has each finished by another.
fn is_killed(homes: [Home; 2], points: &[&str]) {
    let [mut from, mut to] = homes;
    let tasks = fill(&from);
    let mut died_at = BTreeSet::new();
    for point in points {
        for pass in PASSES {
            let failing = copy(&from, &to, Some(format!("{point}:{pass}")));
            if !failing.status.success() {
                died_at.insert(*point);
            }
            let again = copy(&from, &to, None);
            assert!(again.status.success(), "after {point}:{pass}: {again:?}");
            assert!(content(&to) == tasks, "after {point}:{pass}");
            assert!(content(&from).is_empty(), "after {point}:{pass}");
            std::mem::swap(&mut from, &mut to);
        }
    }
    for step in STEPS {
        let died = died_at.iter().any(|point| point.contains(step));
        assert!(died, "none died at `{step}`, but at {died_at:?}");
    }
}

#[test]
fn a_copy_between_two_sqlite_stores_may_die_anywhere() {
    is_killed([homes::sqlite(), homes::sqlite()], failpoint::SQLITE);
}

#[test]
fn a_copy_to_a_redis_store_and_back_may_die_anywhere() {
    let Some(redis) = homes::redis() else {
        return;
    };
    let points = [failpoint::SQLITE, failpoint::REDIS].concat();
    is_killed([homes::sqlite(), redis], &points);
}

#[test]
fn a_copy_to_a_file_store_and_back_may_die_anywhere() {
    let points = [failpoint::SQLITE, failpoint::FILE].concat();
    is_killed([homes::sqlite(), homes::file()], &points);
}

#[test]
fn a_copy_to_a_postgres_store_and_back_may_die_anywhere() {
    let Some(postgres) = homes::postgres() else {
        return;
    };
    let points = [failpoint::SQLITE, failpoint::POSTGRES].concat();
    is_killed([homes::sqlite(), postgres], &points);
}
