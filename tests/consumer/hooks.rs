//! Hooks: they are told everything, in order, and change nothing.
#![cfg(test)]

use std::time::Duration;

use crossbeam_channel::Receiver;
use votive::Task;
use votive::consumer::{Builder, Event};
use votive::id::{ConsumerId, Incarnation};
use votive::store::{ClaimRequest, Want};
use votive::task::{Options, State};
use votive::txn::Retryable;

use crate::world::{LONG, Step, World, sender, steps};

/// Has the events of tasks written down, without those of the consumer itself.
fn listen(builder: Builder) -> (Builder, Receiver<String>) {
    let (tell, told) = sender();
    let hook = move |event: &Event<'_>| {
        let text = match event {
            Event::Started { .. } | Event::Stopped { .. } => return,
            Event::Executing { attempt, .. } => format!("executing {}", attempt.number),
            Event::Executed {
                error: Some(error), ..
            } => format!("executed: {error}"),
            Event::Conflicted { attempt, .. } => format!("conflicted {}", attempt.conflict_count),
            Event::Retrying { failure, .. } => format!("retrying: {}", failure.chain.join(", ")),
            Event::Dead { reason, .. } => format!("dead: {reason:?}"),
            Event::Reclaimed { record } => format!("reclaimed {}", record.counts.reclaims),
            other => other.name().to_owned(),
        };
        tell.send(text).unwrap();
    };
    (builder.on(hook), told)
}

fn all(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().collect()
}

#[test]
fn an_attempt_that_fails_and_one_that_is_the_last_are_told_in_order() {
    let world = World::new();
    let task = world.enqueue(1);
    let (consumer, told) = listen(world.consumer(steps(|_, _| Err("no ink".into()))));
    let running = consumer.start().unwrap();
    world.reaches(task, State::Dead);
    let stats = running.stop().stats;
    let first = ["executing 1", "executed: no ink", "retrying: no ink"];
    let second = ["executing 2", "executed: no ink", "dead: Failed"];
    assert_eq!(all(&told), [first, second].concat());
    assert_eq!((stats.failed, stats.retried, stats.dead), (2, 1, 1));
    assert_eq!((stats.executed, stats.done), (2, 0));
}

#[test]
fn a_conflict_is_told_and_the_commit_after_it() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| match context.attempt().conflict_count {
        0 => Err(Retryable("busy".into()).into()),
        _ => Ok(()),
    });
    let (consumer, told) = listen(world.consumer(handler));
    let running = consumer.start().unwrap();
    world.reaches(task, State::Done);
    let stats = running.stop().stats;
    let said = all(&told);
    assert_eq!(
        said[2..],
        ["conflicted 1", "executing 1", "executed", "committed"]
    );
    assert_eq!((stats.executed, stats.conflicts, stats.done), (2, 1, 1));
    assert!(stats.executed_time >= stats.executed_time_max);
}

#[test]
fn a_commit_that_the_handler_took_part_in_is_told_too() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|step, context| {
        if step.number == 1 {
            context.enqueue_with(
                &Step { number: 2 },
                Options {
                    delay: Some(LONG),
                    ..Step::options()
                },
            )?;
        }
        Ok(())
    });
    let (consumer, told) = listen(world.consumer(handler));
    let running = consumer.start().unwrap();
    world.reaches(task, State::Done);
    running.stop();
    assert_eq!(all(&told), ["executing 1", "executed", "committed"]);
}

#[test]
fn a_task_taken_over_from_the_dead_is_told() {
    let world = World::new();
    let task = world.enqueue(1);
    let incarnation = Incarnation::random();
    let presence = world.store.attend(incarnation, LONG).unwrap();
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "dead".into(),
        },
        wants: vec![Want {
            queue: "default".into(),
            count: 1,
        }],
        lease: LONG,
    };
    let claims = world
        .store
        .claim(&request, world.store.now().unwrap())
        .unwrap();
    assert_eq!(claims.len(), 1);
    drop(presence);
    let (consumer, told) = listen(world.consumer(steps(|_, _| Ok(()))));
    let running = consumer.start().unwrap();
    world.reaches(task, State::Done);
    assert_eq!(running.stop().stats.reclaimed, 1);
    assert_eq!(all(&told)[0], "reclaimed 1");
}

#[test]
fn an_expired_task_is_told_as_dead_without_a_run() {
    let world = World::new();
    let options = Options {
        expires_at: Some(world.store.now().unwrap()),
        ..Step::options()
    };
    let task = world.enqueue_with(1, options);
    let (consumer, told) = listen(world.consumer(steps(|_, _| Ok(()))));
    let running = consumer.start().unwrap();
    world.reaches(task, State::Dead);
    let stats = running.stop().stats;
    assert_eq!(all(&told), ["dead: Expired"]);
    assert_eq!((stats.dead, stats.buried, stats.failed), (1, 1, 0));
}

#[test]
fn a_hook_that_panics_keeps_nothing_from_happening() {
    let world = World::new();
    let task = world.enqueue(1);
    let consumer = world.consumer(steps(|_, _| Ok(())));
    let (consumer, told) = listen(consumer.on(|event| panic!("cannot hear {}", event.name())));
    let running = consumer.start().unwrap();
    let record = world.reaches(task, State::Done);
    assert_eq!(record.counts.attempts, 0);
    assert!(running.is_alive());
    assert!(running.stop().is_clean());
    assert_eq!(all(&told), ["executing 1", "executed", "committed"]);
}

#[test]
fn the_start_and_the_stop_of_a_consumer_are_told() {
    let world = World::new();
    let (tell, told) = sender();
    let consumer = world.consumer(steps(|_, _| Ok(()))).name("web");
    let hook = move |event: &Event<'_>| match event {
        Event::Started { consumer } => tell.send(format!("{} started", consumer.name)).unwrap(),
        Event::Stopped { stopped, .. } => tell.send(format!("{}", stopped.is_clean())).unwrap(),
        _ => {}
    };
    let running = consumer.on(hook).start().unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), "web started");
    drop(running);
    assert_eq!(told.recv_timeout(Duration::ZERO).unwrap(), "true");
}
