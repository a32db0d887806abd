//! How tasks flow: limits, wake-ups, batches, versions, and a store that is away for a while.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::StartError;
use votive::handler::{Context, Registry};
use votive::queue::Queue;
use votive::store::Kind;
use votive::task::{Counts, Payload, PayloadError, State};
use votive::txn::{BoxError, Cancellation, Role, Synchronizer, Work};

use crate::faulty::Faulty;
use crate::voter::Votes;
use crate::world::{LONG, Step, World, sender, steps, until};

/// Counts how many run at once.
#[derive(Default)]
struct Gauge {
    present: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn measure(&self, work: impl FnOnce()) {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        work();
        self.present.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn every_task_of_many_runs_once() {
    let world = World::new();
    let tasks: BTreeSet<u32> = (0..500).collect();
    for number in &tasks {
        world.enqueue(*number);
    }
    let (runs, ran) = sender();
    let handler = steps(move |step, _| Ok(runs.send(step.number)?));
    let running = world.consumer(handler).concurrent_limit(4).start().unwrap();
    until(|| running.stats().done == 500);
    assert!(running.stop().is_clean());
    let ran: Vec<u32> = ran.try_iter().collect();
    assert_eq!(ran.len(), 500);
    assert_eq!(ran.into_iter().collect::<BTreeSet<_>>(), tasks);
}

#[test]
fn a_queue_never_has_more_tasks_running_than_its_limit_and_does_reach_it() {
    let world = World::new();
    for number in 0..6 {
        world.enqueue(number);
    }
    let gauge = Arc::new(Gauge::default());
    let (measured, (leave, released)) = (Arc::clone(&gauge), sender::<()>());
    let handler = steps(move |_, _| {
        measured.measure(|| assert!(released.recv().is_ok()));
        Ok(())
    });
    let consumer = world.consumer(handler).queue("default").concurrent_limit(2);
    let running = consumer.threads(5).start().unwrap();
    until(|| gauge.present.load(Ordering::SeqCst) == 2);
    (0..6).for_each(|_| leave.send(()).unwrap());
    until(|| running.stats().done == 6);
    assert_eq!(gauge.most.load(Ordering::SeqCst), 2);
}

#[test]
fn a_queue_that_is_held_up_does_not_hold_up_another() {
    let world = World::new();
    let slow = Queue::new(Arc::clone(&world.store), "slow").unwrap();
    let mut txn = world.manager.begin().unwrap();
    for number in 100..103 {
        slow.enqueue(&mut txn, &Step { number }).unwrap();
    }
    txn.commit().unwrap();
    let fast = world.enqueue(1);
    let (leave, released) = sender::<()>();
    let handler = steps(move |step, _| {
        if step.number >= 100 {
            released.recv()?;
        }
        Ok(())
    });
    let running = world
        .consumer(handler)
        .queue("slow")
        .queue("default")
        .start()
        .unwrap();
    world.reaches(fast, State::Done);
    drop(leave);
    drop(running);
}

#[test]
fn a_task_wakes_a_consumer_that_only_listens() {
    let world = World::new();
    let (ready, started) = sender();
    let consumer = world.consumer(steps(move |_, _| Ok(ready.send(())?)));
    let running = consumer.poll_interval(LONG * 100).start().unwrap();
    for number in 0..3 {
        world.enqueue(number);
        started.recv_timeout(LONG).unwrap();
    }
    drop(running);
}

#[test]
fn settlements_without_another_part_share_their_writes() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    for number in 0..1_000 {
        world.enqueue(number);
    }
    let running = world
        .consumer(steps(|_, _| Ok(())))
        .concurrent_limit(4)
        .start()
        .unwrap();
    until(|| running.stats().done == 1_000);
    let batches = faulty.settled.load(Ordering::Relaxed);
    assert!(batches < 500, "{batches} batches");
}

#[test]
fn one_lost_claim_in_a_shared_write_harms_no_other_task() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let tasks: Vec<_> = (0..50).map(|number| world.enqueue(number)).collect();
    faulty.settlements.lock().push(Kind::ClaimLost(tasks[0]));
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    until(|| running.stats().done + running.stats().lost == 50);
    tasks[1..]
        .iter()
        .for_each(|task| drop(world.reaches(*task, State::Done)));
    assert_eq!(running.stop().stats.lost, 1);
}

#[test]
fn a_store_that_is_away_for_a_while_costs_no_attempt_and_no_consumer() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    faulty
        .claims
        .lock()
        .extend([Kind::Unavailable, Kind::Unavailable]);
    faulty
        .settlements
        .lock()
        .extend([Kind::Unavailable, Kind::Other]);
    let task = world.enqueue(1);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    assert_eq!(world.reaches(task, State::Done).counts.attempts, 0);
    assert_eq!(running.stop().stats.store_errors, 4);
}

#[test]
fn a_claim_whose_answer_was_lost_comes_back_without_a_restart() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    faulty.claims.lock().push(Kind::Unknown);
    let task = world.enqueue(1);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    let counts = world.reaches(task, State::Done).counts;
    assert_eq!((counts.attempts, counts.reclaims), (0, 1));
    assert!(running.stop().is_clean());
}

#[test]
fn a_claim_whose_answer_was_lost_comes_back_although_the_store_was_away_after_it() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    world.reaches(world.enqueue(1), State::Done);
    faulty.attends.lock().push(Kind::Unavailable);
    faulty.claims.lock().push(Kind::Unknown);
    let task = world.enqueue(2);
    assert_eq!(world.reaches(task, State::Done).counts.reclaims, 1);
    assert!(faulty.attends.lock().is_empty());
    assert!(running.stop().is_clean());
}

#[test]
fn a_store_that_is_away_at_the_commit_costs_neither_an_attempt_nor_a_conflict() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    faulty.settlements.lock().push(Kind::Unavailable);
    let task = world.enqueue(1);
    let votes = Votes::default();
    let handler = steps(move |_, context| Ok(votes.join(context.work(), Role::Volatile)?));
    let running = world.consumer(handler).start().unwrap();
    assert_eq!(world.reaches(task, State::Done).counts, Counts::default());
    let stats = running.stop().stats;
    assert_eq!(
        (stats.conflicts, stats.failed, stats.store_errors),
        (0, 0, 1)
    );
}

/// Has a participant join a handler's transaction at the last moment.
struct Late(Votes);

impl Synchronizer for Late {
    fn before_completion(&self, work: &mut Work) -> Result<(), BoxError> {
        if work.data::<Cancellation>().is_some() {
            self.0.join(work, Role::Volatile)?;
        }
        Ok(())
    }
}

#[test]
fn what_joins_at_the_last_moment_is_undone_if_the_claim_was_lost() {
    let faulty = Arc::new(Faulty::default());
    let world = World::of(Arc::clone(&faulty) as _);
    let task = world.enqueue(1);
    let votes = Votes::default();
    world
        .manager
        .add_synchronizer(Arc::new(Late(votes.clone())));
    faulty.settlements.lock().push(Kind::ClaimLost(task));
    let running = world.consumer(steps(|_, _| Ok(()))).start().unwrap();
    until(|| running.stats().lost == 1);
    assert_eq!(*votes.finished.lock(), 0);
}

/// A step as it was written before it had a unit.
#[derive(Serialize, Deserialize)]
struct Length {
    metres: u32,
}

impl Task for Length {
    const KIND: &'static str = "step";
    const VERSION: u32 = 1;

    fn upgrade(payload: &Payload) -> Result<Self, PayloadError> {
        let Step { number: feet } = payload.decode()?;
        Ok(Self { metres: feet / 3 })
    }
}

#[test]
fn a_task_of_an_older_version_is_upgraded_and_run() {
    let world = World::new();
    world.enqueue(9);
    let (lengths, measured) = sender();
    let mut registry = Registry::new();
    let handler = move |length: Length, _: &mut Context<'_>| lengths.send(length.metres);
    registry.register(handler).unwrap();
    let running = world.consumer(registry).start().unwrap();
    assert_eq!(measured.recv_timeout(LONG).unwrap(), 3);
    drop(running);
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_claimed() {
    let world = World::new();
    let consumer = || world.consumer(steps(|_, _| Ok(())));
    let refused = [
        consumer().concurrent_limit(0),
        consumer().queue("a").queue("a"),
        consumer().threads(0),
        consumer().name(""),
    ];
    for consumer in refused {
        assert!(matches!(consumer.start(), Err(StartError::Invalid(_))));
    }
    assert!(matches!(
        consumer().queue("").start(),
        Err(StartError::Queue(_))
    ));
}

#[test]
fn the_banner_shows_the_settings_and_warns_of_what_cannot_fit() {
    let world = World::new();
    let handler = |_: Step, _: &mut Context<'_>| Ok::<(), BoxError>(());
    let mut registry = Registry::new();
    registry.register(handler).unwrap();
    let consumer = world.consumer(registry).name("web-1").timeout(LONG * 2);
    let running = consumer.queue("mail").concurrent_limit(3).start().unwrap();
    let banner = running.banner();
    for part in ["web-1", "memory", "volatile", "mail, 3 at once", "step"] {
        assert!(banner.to_string().contains(part), "{part} in {banner}");
    }
    assert!(
        banner
            .warnings()
            .iter()
            .any(|line| line.contains("a stop waits only"))
    );
}

#[test]
fn a_live_namesake_gets_a_suffix_until_the_name_is_free_again() {
    let world = World::new();
    let start = || {
        world
            .consumer(steps(|_, _| Ok(())))
            .name("web")
            .start()
            .unwrap()
    };
    let (first, second) = (start(), start());
    assert_eq!((&*first.id().name, &*second.id().name), ("web", "web-2"));
    first.stop();
    assert_eq!(start().id().name, "web");
}
