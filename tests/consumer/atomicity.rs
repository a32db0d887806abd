//! A task's effects, the tasks that it enqueues and its own completion are one step.
#![cfg(test)]

use std::sync::Arc;

use votive::Task;
use votive::register::Register;
use votive::store::memory::MemoryStore;
use votive::store::{Inspect, Kind};
use votive::task::State;
use votive::txn::{Answer, Outcome, Retryable, Role};

use crate::faulty::Faulty;
use crate::voter::Votes;
use crate::world::{LONG, World, sender, steps, until};

/// A task that the steps enqueue.
#[derive(serde::Serialize, serde::Deserialize)]
struct Child;

impl Task for Child {
    const KIND: &'static str = "child";
}

#[test]
fn what_a_task_enqueues_is_visible_once_the_task_is_done() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| {
        context.enqueue(&Child)?;
        Ok(())
    });
    let running = world.consumer(handler).start().unwrap();
    world.reaches(task, State::Done);
    running.stop();
    assert_eq!(world.count("child"), 1);
}

#[test]
fn what_a_failed_task_enqueued_is_never_visible() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| {
        context.enqueue(&Child)?;
        Err("after all, no".into())
    });
    let running = world.consumer(handler).start().unwrap();
    world.reaches(task, State::Dead);
    running.stop();
    assert_eq!(world.count("child"), 0);
}

#[test]
fn a_participant_that_says_no_keeps_the_task_and_its_children_back() {
    let world = World::new();
    let task = world.enqueue(1);
    let votes = Votes::new(vec![Answer::Ok, Answer::Refused("no".into())]);
    let observer = votes.clone();
    let handler = steps(move |_, context| {
        votes.join(context.work(), Role::Volatile)?;
        context.enqueue(&Child)?;
        Ok(())
    });
    let running = world.consumer(handler).start().unwrap();
    assert_eq!(world.reaches(task, State::Done).counts.attempts, 1);
    running.stop();
    assert_eq!((world.count("child"), *observer.finished.lock()), (1, 1));
}

#[test]
fn a_commit_refused_by_a_conflict_runs_the_task_again() {
    let world = World::new();
    let task = world.enqueue(1);
    let conflict = || Answer::Refused(Retryable("no".into()).into());
    let votes = Votes::new(vec![Answer::Ok, conflict(), conflict()]);
    let handler = steps(move |_, context| Ok(votes.join(context.work(), Role::Volatile)?));
    let running = world.consumer(handler).start().unwrap();
    let counts = world.reaches(task, State::Done).counts;
    assert_eq!((counts.attempts, counts.conflicts), (0, 2));
    assert!(running.stop().is_clean());
}

#[test]
fn a_task_whose_claim_was_lost_commits_nothing() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let task = world.enqueue(1);
    faulty.settlements.lock().push(Kind::ClaimLost(task));
    let votes = Votes::default();
    let observer = votes.clone();
    let handler = steps(move |_, context| {
        votes.join(context.work(), Role::Volatile)?;
        context.enqueue(&Child)?;
        Ok(())
    });
    let running = world.consumer(handler).start().unwrap();
    until(|| running.stats().lost == 1);
    assert_eq!((world.count("child"), *observer.finished.lock()), (0, 0));
}

#[test]
fn a_task_whose_outcome_is_unknown_is_not_run_again_before_that_is_known() {
    let (world, application) = (World::new(), Arc::new(MemoryStore::new()));
    let task = world.enqueue(1);
    let now = application.now().unwrap();
    application
        .enroll(world.manager.incarnation(), now)
        .unwrap();
    let votes = Votes::new(vec![Answer::Ok, Answer::Unknown("no answer".into())]);
    let role = Role::OnePhase(application.id());
    let (runs, counted) = sender();
    let handler = steps(move |_, context| {
        runs.send(context.attempt().number)?;
        Ok(votes.join(context.work(), role)?)
    });
    let running = world.consumer(handler).start().unwrap();
    until(|| running.stats().undecided == 1);
    assert_eq!(world.record(task).state, State::Claimed);
    assert_eq!(counted.len(), 1);
    world.manager.registers().insert(application);
    let counts = world.reaches(task, State::Done).counts;
    assert_eq!((counts.attempts, counted.len()), (0, 2));
}

#[test]
fn a_hook_of_a_task_without_participants_is_told_of_the_commit_that_completes_the_task() {
    let world = World::new();
    let task = world.enqueue(1);
    let (told, outcomes) = sender();
    let store = Arc::clone(&world.store);
    let handler = steps(move |_, context| {
        let (told, store) = (told.clone(), Arc::clone(&store));
        context.work().after_commit(move |outcome| {
            let state = store.get(task)?.map(|listed| listed.record.state);
            Ok(told.send((outcome, state))?)
        });
        Ok(())
    });
    let _running = world.consumer(handler).start().unwrap();
    let told = outcomes.recv_timeout(LONG).unwrap();
    assert_eq!(told, (Outcome::Committed, Some(State::Done)));
}
