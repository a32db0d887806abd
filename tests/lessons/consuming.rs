//! Lessons about claims, settlements and what goes wrong while a handler runs.
#![cfg(test)]

use std::sync::atomic::{AtomicU32, Ordering};

use votive::store::{Change, Kind, Settlement, Verdict};
use votive::task::State;
use votive::txn::Retryable;

use crate::lessons;
use crate::stage::{LONG, Stage, until};

fn done(claim: &votive::store::Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: claim.record.counts,
        account: None,
    })
}

/// A delayed acknowledgement overwrote its successor's attempt: 20 executions for 16 jobs.
fn a_late_acknowledgement_never_overwrites_its_successor(stage: &Stage) {
    let task = stage.enqueue(1);
    let (late, first) = stage.claim();
    drop(late);
    let (_present, second) = stage.claim();
    let refused = stage.apply(done(&first)).unwrap_err();
    assert_eq!(refused.kind, Kind::ClaimLost(task));
    assert_eq!(stage.record(task).state, State::Claimed);
    stage.apply(done(&second)).unwrap();
}

/// A transaction that was held open for as long as the handler ran starved everybody else.
fn nobody_waits_for_a_handler(stage: &Stage) {
    let (go, went) = crossbeam_channel::bounded::<()>(0);
    let (begins, begun) = crossbeam_channel::unbounded();
    let task = stage.enqueue(1);
    let consumer = stage.consumer(move |_, _| {
        begins.send(())?;
        went.recv_timeout(LONG)?;
        Ok(())
    });
    let running = consumer.start().unwrap();
    begun.recv_timeout(LONG).unwrap();
    stage.enqueue(2);
    assert_eq!(stage.visible(), [1, 2]);
    for _ in 0..2 {
        go.send_timeout((), LONG).unwrap();
    }
    stage.done(task);
    assert!(running.stop().is_clean());
}

/// A queue counted conflicts as retries: retry 11 of 5.
fn conflicts_use_up_no_attempts(stage: &Stage) {
    let runs = AtomicU32::new(0);
    let task = stage.enqueue(1);
    let consumer = stage.consumer(move |_, _| match runs.fetch_add(1, Ordering::Relaxed) {
        0..5 => Err(Retryable("somebody was faster".into()).into()),
        _ => Ok(()),
    });
    let running = consumer.start().unwrap();
    assert_eq!(stage.done(task).counts.attempts, 0);
    assert_eq!(running.stop().stats.conflicts, 5);
}

/// A refill that was bound to a timer capped the throughput at ten tasks a second and worker.
fn room_is_refilled_when_a_task_ends(stage: &Stage) {
    for number in 0..100 {
        stage.enqueue(number);
    }
    let consumer = stage.consumer(|_, _| Ok(()));
    let consumer = consumer.prefetch_max(0).poll_interval(LONG * 10);
    let running = consumer.start().unwrap();
    until(|| running.stats().done == 100);
    assert!(running.stop().is_clean());
}

/// A panic took a worker with it, and the worker's task.
fn a_panic_harms_nobody_else(stage: &Stage) {
    let panics = AtomicU32::new(0);
    let task = stage.enqueue(1);
    let consumer = stage.consumer(move |_, _| {
        assert!(panics.fetch_add(1, Ordering::Relaxed) > 0, "the first time");
        Ok(())
    });
    let running = consumer.start().unwrap();
    let record = stage.done(task);
    assert_eq!(record.counts.attempts, 1);
    assert!(record.failure().unwrap().chain[0].contains("the first time"));
    assert_eq!(running.stop().stats.panics, 1);
}

lessons! {
    memory:
        a_late_acknowledgement_never_overwrites_its_successor
        nobody_waits_for_a_handler
        conflicts_use_up_no_attempts
        room_is_refilled_when_a_task_ends
        a_panic_harms_nobody_else;
    sqlite:
        a_late_acknowledgement_never_overwrites_its_successor
        nobody_waits_for_a_handler
        conflicts_use_up_no_attempts
        room_is_refilled_when_a_task_ends
        a_panic_harms_nobody_else
        a_full_disk_loses_no_task;
    file:
        a_late_acknowledgement_never_overwrites_its_successor
        nobody_waits_for_a_handler
        conflicts_use_up_no_attempts
        room_is_refilled_when_a_task_ends
        a_panic_harms_nobody_else;
    redis:
        a_late_acknowledgement_never_overwrites_its_successor
        nobody_waits_for_a_handler
        conflicts_use_up_no_attempts
        room_is_refilled_when_a_task_ends
        a_panic_harms_nobody_else;
    postgres:
        a_late_acknowledgement_never_overwrites_its_successor
        nobody_waits_for_a_handler
        conflicts_use_up_no_attempts
        room_is_refilled_when_a_task_ends
        a_panic_harms_nobody_else;
}

/// An error of the storage was swallowed, and a task was in neither of two tables.
fn a_full_disk_loses_no_task(_: &Stage) {
    use votive::store::sqlite::{Options, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let options = Options::default().max_page_count(80);
    let store = std::sync::Arc::new(SqliteStore::open(path, options).unwrap());
    let queue = votive::Queue::new(store.clone(), "default").unwrap();
    let manager = votive::TransactionManager::new();
    let mut enqueued = 0;
    let refused = loop {
        let mut txn = manager.begin().unwrap();
        let step = crate::stage::Step { number: enqueued };
        queue.enqueue(&mut txn, &step).unwrap();
        match txn.commit() {
            Ok(_) => enqueued += 1,
            Err(error) => break error,
        }
    };
    let kind = votive::store::Error::among(&refused).map(|error| error.kind.clone());
    assert_eq!(kind, Some(Kind::Full));
    let stats = votive::store::Inspect::stats(&*store).unwrap();
    assert_eq!(
        stats.queues[0].counts,
        [(State::Ready, u64::from(enqueued))]
    );
}
