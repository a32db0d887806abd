//! What counts as what: every row of the table.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation};
use votive::store::{ClaimRequest, Want};
use votive::task::{DeadReason, Options, State};
use votive::txn::{Retryable, Role};
use votive::{Task, handler::Registry};

use crate::voter::Votes;
use crate::world::{Step, World, steps};

#[derive(Debug, thiserror::Error)]
#[error("the post is closed")]
struct Closed(#[source] std::fmt::Error);

#[test]
fn every_error_counts_one_attempt_and_the_last_one_buries_the_task_with_its_chain() {
    let world = World::new();
    let task = world.enqueue(1);
    let running = world
        .consumer(steps(|_, _| Err(Closed(std::fmt::Error).into())))
        .start()
        .unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.counts.attempts, 2);
    assert_eq!(record.dead, Some(DeadReason::Failed));
    assert_eq!(
        record.failure().unwrap().chain,
        ["the post is closed", &std::fmt::Error.to_string()]
    );
    assert_eq!(running.stop().stats.failed, 2);
}

#[test]
fn a_panic_counts_one_attempt_and_the_worker_lives_on() {
    let world = World::new();
    let (bad, good) = (world.enqueue(1), world.enqueue(2));
    let handler = steps(|step, _| {
        if step.number == 1 {
            panic!("dropped the parcel")
        } else {
            Ok(())
        }
    });
    let running = world.consumer(handler).start().unwrap();
    world.reaches(good, State::Done);
    let record = world.reaches(bad, State::Dead);
    assert_eq!(record.counts.attempts, 2);
    assert_eq!(
        record.failure().unwrap().chain,
        ["panicked: dropped the parcel"]
    );
    assert_eq!(running.stop().stats.panics, 2);
}

#[test]
fn a_failed_task_knows_its_attempt_and_may_succeed_at_the_next() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| match context.attempt().number {
        1 => Err("not yet".into()),
        _ => Ok(()),
    });
    let running = world.consumer(handler).start().unwrap();
    let record = world.reaches(task, State::Done);
    assert_eq!(record.counts.attempts, 1);
    assert!(running.stop().is_clean());
}

#[test]
fn a_conflict_runs_the_task_again_at_once_and_counts_no_attempt() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| match context.attempt().conflict_count {
        0..3 => Err(Retryable("somebody was faster".into()).into()),
        _ => Ok(()),
    });
    let running = world.consumer(handler).start().unwrap();
    let record = world.reaches(task, State::Done);
    assert_eq!((record.counts.attempts, record.counts.conflicts), (0, 3));
    assert_eq!(running.stop().stats.conflicts, 3);
}

#[test]
fn more_conflicts_than_allowed_count_one_attempt_and_start_again_from_none() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, _| Err(Retryable("somebody was faster".into()).into()));
    let running = world.consumer(handler).retry_max_count(3).start().unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!((record.counts.attempts, record.counts.conflicts), (2, 0));
    let chain = record.failure().unwrap().chain.clone();
    assert_eq!(chain[0], "more than 3 conflicts");
    assert_eq!(chain.last().unwrap(), "somebody was faster");
    assert_eq!(running.stop().stats.conflicts, 8);
}

#[test]
fn conflicts_count_also_where_what_was_done_cannot_be_undone() {
    let world = World::new();
    let task = world.enqueue(1);
    let handler = steps(|_, context| {
        Votes::stuck().join(context.work(), Role::Volatile)?;
        Err(Retryable("somebody was faster".into()).into())
    });
    let running = world.consumer(handler).retry_max_count(1).start().unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.failure().unwrap().chain[0], "more than 1 conflicts");
    assert_eq!(running.stop().stats.conflicts, 4);
}

/// Has a consumer claim one task, and die.
fn die_with_a_task(world: &World) {
    let consumer = ConsumerId {
        incarnation: Incarnation::random(),
        name: "mortal".to_owned(),
    };
    let lease = Duration::from_secs(1);
    let presence = world.store.attend(consumer.incarnation, lease).unwrap();
    let want = Want {
        queue: "default".to_owned(),
        count: 1,
    };
    let request = ClaimRequest {
        consumer,
        wants: vec![want],
        lease,
    };
    let claims = world
        .store
        .claim(&request, world.store.now().unwrap())
        .unwrap();
    assert_eq!(claims.len(), 1);
    drop(presence);
}

#[test]
fn a_task_of_a_dead_consumer_is_taken_over_and_counts_no_attempt() {
    let world = World::new();
    let task = world.enqueue(1);
    die_with_a_task(&world);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    let record = world.reaches(task, State::Done);
    assert_eq!((record.counts.attempts, record.counts.reclaims), (0, 1));
    assert_eq!(running.stop().stats.reclaimed, 1);
}

#[test]
fn a_task_under_which_five_consumers_died_is_dead_and_says_so() {
    let world = World::new();
    let task = world.enqueue(1);
    for _ in 0..5 {
        die_with_a_task(&world);
    }
    let running = world
        .consumer(steps(|_, _| panic!("not run")))
        .start()
        .unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.dead, Some(DeadReason::Reclaimed));
    assert_eq!(
        record.failure().unwrap().chain,
        ["its consumer died 5 times"]
    );
    assert_eq!(record.counts.attempts, 0);
    assert_eq!(running.stop().stats.panics, 0);
}

#[test]
fn an_expired_task_is_dead_without_a_run() {
    let world = World::new();
    let options = Options {
        expires_at: Some(world.store.now().unwrap()),
        ..Step::options()
    };
    let task = world.enqueue_with(1, options);
    let running = world
        .consumer(steps(|_, _| panic!("not run")))
        .start()
        .unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.dead, Some(DeadReason::Expired));
    assert_eq!(running.stop().stats.panics, 0);
}

#[test]
fn a_task_of_unknown_kind_is_given_back_for_later_and_shown() {
    let world = World::new();
    let task = world.enqueue_json("mystery", "{}");
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    let record = world.reaches(task, State::Scheduled);
    assert_eq!(record.counts.attempts, 0);
    let stats = running.stop().stats;
    assert_eq!((stats.unknown, stats.released), (1, 1));
}

#[test]
fn a_fallback_takes_the_kinds_that_nobody_knows() {
    let world = World::new();
    let task = world.enqueue_json("mystery", "{}");
    let mut registry = Registry::new();
    registry.fallback(
        |record: &votive::task::Record, _: &mut votive::handler::Context<'_>| {
            assert_eq!(record.kind, "mystery");
            Ok::<(), std::fmt::Error>(())
        },
    );
    let _running = world.consumer(registry).start().unwrap();
    world.reaches(task, State::Done);
}

#[test]
fn a_payload_that_cannot_be_decoded_fails_and_is_kept() {
    let world = World::new();
    let task = world.enqueue_json("step", "{\"number\": \"seven\"}");
    let _running = world
        .consumer(steps(|_, _| panic!("not run")))
        .start()
        .unwrap();
    let record = world.reaches(task, State::Dead);
    assert_eq!(record.dead, Some(DeadReason::Failed));
    assert_eq!(record.failure().unwrap().chain[0], "payload of kind `step`");
    assert_eq!(
        record.payload.to_json(),
        serde_json::json!({"number": "seven"})
    );
}

#[test]
fn a_handler_that_dooms_its_transaction_has_failed() {
    let world = World::new();
    let task = world.enqueue(1);
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let handler = steps(move |_, context| {
        seen.fetch_add(1, Ordering::Relaxed);
        context.work().doom();
        Ok(())
    });
    let _running = world.consumer(handler).start().unwrap();
    assert_eq!(world.reaches(task, State::Dead).counts.attempts, 2);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
