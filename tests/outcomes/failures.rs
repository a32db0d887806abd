//! The account of failures, and progress while a task runs.
#![cfg(test)]

use std::time::Duration;

use votive::task::FAILURES_MAX;
use votive::txn::BoxError;

use crate::world::{LONG, Step, World, options};

#[test]
fn a_record_keeps_the_last_failures_with_their_attempts() {
    let world = World::new();
    let attempts_max = u32::try_from(FAILURES_MAX).unwrap() + 2;
    let task = world.enqueue(&Step(1), options(attempts_max));
    let running = world.run(|_, context| -> Result<(), BoxError> {
        Err(format!("number {}", context.attempt().number).into())
    });
    let failures = task.wait(LONG).unwrap().failures;
    let told: Vec<_> = failures
        .iter()
        .map(|each| (each.attempt, each.chain.join("")))
        .collect();
    let expected = (3..=attempts_max).map(|attempt| (attempt, format!("number {attempt}")));
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert!(failures.is_sorted_by_key(|failure| failure.at));
    running.stop();
}

#[test]
fn a_success_keeps_the_failures_before_it() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(2));
    let running = world.run(|_, context| match context.attempt().number {
        1 => Err("not yet".into()),
        _ => Ok(3),
    });
    let ended = task.wait(LONG).unwrap();
    assert_eq!(ended.failures[0].chain, ["not yet"]);
    assert_eq!(ended.into_result::<u32>().unwrap(), 3);
    running.stop();
}

#[test]
fn a_failure_tells_how_long_its_attempt_took() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    let pause = Duration::from_millis(30);
    let running = world.run(move |_, context| -> Result<(), BoxError> {
        let started = context.queue().store().now()?;
        while context.queue().store().now()?.since(started) < pause {
            std::thread::yield_now();
        }
        Err("slow".into())
    });
    assert!(task.wait(LONG).unwrap().failures[0].duration >= pause);
    running.stop();
}

#[test]
fn progress_can_be_seen_while_the_task_runs_and_is_shown_once_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_file(&folder);
    let task = world.enqueue(&Step(1), options(1));
    let running = world.run(|_, context| {
        let shown = [context.progress("half")?, context.progress("more")?];
        let found = context.queue().store().get(context.attempt().task)?;
        Ok((shown, found.and_then(|found| found.record.progress)))
    });
    let result: ([bool; 2], Option<String>) = task.result(LONG).unwrap();
    assert_eq!(result, ([true, false], Some("half".to_owned())));
    running.stop();
}
