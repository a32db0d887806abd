//! Results, and waiting for them.
#![cfg(test)]

use std::time::Duration;

use votive::queue::{ResultError, WaitError};
use votive::store::Amendment;
use votive::task::{OnDuplicate, Options, State, Unique};
use votive::txn::BoxError;

use crate::world::{LONG, Step, World, options};

#[test]
fn what_a_handler_returns_is_the_result_of_its_task() {
    let world = World::new();
    let task = world.enqueue(&Step(21), options(1));
    let running = world.run(|step, _| Ok(2 * step.0));
    assert_eq!(task.result::<u32>(LONG).unwrap(), 42);
    running.stop();
}

#[test]
fn a_result_goes_with_what_the_handler_does() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_file(&folder);
    let task = world.enqueue(&Step(1), options(1));
    let running = world.run(|step, context| {
        if step.0 == 1 {
            context.enqueue(&Step(2))?;
        }
        context.set_result(&["first", "second"])?;
        Ok(())
    });
    let result: Vec<String> = task.result(LONG).unwrap();
    assert_eq!(result, ["first", "second"]);
    assert_eq!(world.all("step").len(), 2);
    running.stop();
}

#[test]
fn a_task_that_gives_nothing_has_no_result() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    let running = world.run(|_, _| Ok(()));
    task.result::<()>(LONG).unwrap();
    assert_eq!(task.result::<Option<u32>>(LONG).unwrap(), None);
    let error = task.result::<u32>(LONG).unwrap_err();
    assert!(matches!(error, ResultError::Unreadable { .. }), "{error}");
    assert_eq!(world.record(task.id()).account, None);
    running.stop();
}

#[test]
fn without_a_retention_nothing_is_kept() {
    let world = World::new();
    let plain = Options::default();
    let task = world.enqueue(&Step(1), plain);
    let running = world.run(|step, _| Ok(step.0));
    let error = task.wait(LONG).unwrap_err();
    assert!(matches!(error, WaitError::NotKept(id) if id == task.id()));
    running.stop();
}

#[test]
fn a_result_that_is_too_large_fails_the_attempt() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    let running = world.run(|_, _| Ok("x".repeat(1 << 20)));
    let error = task.result::<String>(LONG).unwrap_err();
    let ResultError::Dead { failures, .. } = error else {
        panic!("{error}");
    };
    let said = &failures[0].chain[0];
    assert_eq!(said, "1048578 bytes are more than the limit of 1048576");
    running.stop();
}

#[test]
fn a_dead_task_gives_its_errors_to_who_waits() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(2));
    let running = world.run(|step, context| -> Result<(), BoxError> {
        Err(format!("step {} in attempt {}", step.0, context.attempt().number).into())
    });
    let error = task.result::<()>(LONG).unwrap_err();
    let said = format!("task {} is dead (failed): step 1 in attempt 2", task.id());
    assert_eq!(error.to_string(), said);
    running.stop();
}

#[test]
fn who_waits_too_short_may_wait_again() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    let error = task.wait(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, WaitError::TimedOut { .. }));
    let running = world.run(|_, _| Ok(7));
    assert_eq!(task.wait(LONG).unwrap().state, State::Done);
    running.stop();
}

#[test]
fn a_cancelled_task_has_no_result() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    world.amend(task.id(), Amendment::Cancel);
    let error = task.result::<()>(LONG).unwrap_err();
    assert!(matches!(error, ResultError::Cancelled(id) if id == task.id()));
}

#[test]
fn who_waits_for_a_task_that_merged_gets_the_result_of_the_other() {
    let world = World::new();
    let unique = || Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Merge,
            ..Unique::new("one")
        }),
        ..options(1)
    };
    let first = world.enqueue(&Step(1), unique());
    let second = world.enqueue(&Step(2), unique());
    let running = world.run(|step, _| Ok(step.0));
    let ended = second.wait(LONG).unwrap();
    assert_eq!(ended.task, first.id());
    assert_eq!(ended.into_result::<u32>().unwrap(), 1);
    running.stop();
}

#[test]
fn a_revived_task_gives_its_new_result() {
    let world = World::new();
    let task = world.enqueue(&Step(1), options(1));
    let again = std::sync::atomic::AtomicU32::new(0);
    let running = world.run(move |_, _| {
        let count = again.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok((count == 0).then_some(5))
    });
    assert_eq!(task.result::<Option<u32>>(LONG).unwrap(), Some(5));
    world.amend(task.id(), Amendment::Revive);
    assert_eq!(task.result::<Option<u32>>(LONG).unwrap(), None);
    running.stop();
}

#[votive::task(retention = "1h")]
fn double(number: i64) -> Result<i64, BoxError> {
    number.checked_mul(2).ok_or_else(|| "too large".into())
}

#[test]
fn what_a_declared_task_returns_is_its_result() {
    let world = World::new();
    let mut registry = votive::Registry::new();
    registry.declare::<double>().unwrap();
    let task = double { number: 21 };
    let options = <double as votive::Task>::options();
    let task = world.enqueue(&task, options);
    let running = world.consumer(registry).start().unwrap();
    assert_eq!(task.result::<i64>(LONG).unwrap(), 42);
    running.stop();
}
