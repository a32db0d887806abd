//! What happens when a store refuses, or its answer is lost.
#![cfg(test)]

use std::sync::Arc;

use votive::queue::{Queue, apply, recover_older_than};
use votive::register::{Register, Tier};
use votive::store::{Kind, Stage};
use votive::txn::{CommitError, Committed, TransactionManager};

use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, batch, durable, greet, queue, visible};

fn commit(queues: &[&Queue], manager: &TransactionManager) -> Result<Committed, CommitError> {
    let mut txn = manager.begin().unwrap();
    for queue in queues {
        queue.enqueue(&mut txn, &greet("ann")).unwrap();
    }
    txn.commit()
}

/// Two stores with a queue each; in the order in which they vote, the one that decides last.
fn two_stores() -> ([Arc<Faulty>; 2], [Queue; 2], TransactionManager) {
    let mut stores = [Faulty::new(Tier::Enlisted), Faulty::new(Tier::Enlisted)];
    stores.sort_by_key(|store| store.resource().to_string());
    stores.reverse();
    let queues = [queue(&as_store(&stores[0])), queue(&as_store(&stores[1]))];
    (stores, queues, TransactionManager::new())
}

#[test]
fn a_conflict_is_retried_in_a_fresh_transaction() {
    let (store, queue, manager) = durable();
    store.fail("apply", Fault::Refused(Kind::Conflict));
    let mut attempts = 0;
    let ran = manager.run(2, |txn| {
        attempts += 1;
        queue.enqueue(txn, &greet("ann")).map(drop)
    });
    ran.unwrap();
    assert_eq!(attempts, 2);
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn a_refusal_that_is_no_conflict_is_not_retried() {
    let (store, queue, manager) = durable();
    store.fail("apply", Fault::Refused(Kind::Full));
    let refused = manager.run(2, |txn| queue.enqueue(txn, &greet("ann")).map(drop));
    refused.unwrap_err();
    assert!(visible(&*store).is_empty());
}

#[test]
fn a_lost_answer_is_asked_for_and_found_committed() {
    let (store, queue, manager) = durable();
    store.fail("apply", Fault::LostAfterwards);
    commit(&[&queue], &manager).unwrap();
    assert_eq!(visible(&*store), ["ann"]);
}

#[test]
fn a_lost_answer_is_asked_for_and_found_aborted() {
    let (store, queue, manager) = durable();
    store.fail("apply", Fault::Lost);
    let error = commit(&[&queue], &manager).unwrap_err();
    assert!(matches!(error, CommitError::Refused { .. }), "{error:?}");
    assert!(visible(&*store).is_empty());
}

#[test]
fn a_lost_answer_that_cannot_be_asked_for_leaves_the_commit_undecided() {
    let (store, queue, manager) = durable();
    store.fail("apply", Fault::LostAfterwards);
    store.fail("decide", Fault::Refused(Kind::Unavailable));
    let error = commit(&[&queue], &manager).unwrap_err();
    assert!(matches!(error, CommitError::Undecided { .. }), "{error:?}");
    assert_eq!(manager.settle_undecided(), 0, "the register answers now");
}

#[test]
fn an_undecided_commit_is_finished_in_every_store_once_the_register_answers() {
    let ([last, decider], [first, second], manager) = two_stores();
    decider.fail("apply", Fault::LostAfterwards);
    decider.fail("decide", Fault::Refused(Kind::Unavailable));
    commit(&[&first, &second], &manager).unwrap_err();
    assert!(visible(&*last).is_empty(), "not before it is known");
    assert_eq!(manager.settle_undecided(), 0);
    assert_eq!(visible(&*last), ["ann"]);
}

#[test]
fn a_stage_whose_answer_is_lost_is_refused_and_discarded() {
    let ([stager, decider], [first, second], manager) = two_stores();
    stager.fail("stage", Fault::LostAfterwards);
    let error = commit(&[&first, &second], &manager).unwrap_err();
    assert!(matches!(error, CommitError::Refused { .. }), "{error:?}");
    assert!(stager.in_doubt(None, 1).unwrap().is_empty());
    assert!(visible(&*decider).is_empty());
}

#[test]
fn a_publish_that_keeps_failing_is_left_to_recovery() {
    let ([stager, _], [first, second], manager) = two_stores();
    for _ in 0..100 {
        stager.fail("publish", Fault::Refused(Kind::Unavailable));
    }
    let committed = commit(&[&first, &second], &manager).unwrap();
    assert_eq!(committed.pending.len(), 1);
    stager.faults.lock().clear();
    let store = as_store(&stager);
    let recovered = recover_older_than(&store, &manager, std::time::Duration::ZERO).unwrap();
    assert_eq!(recovered.published, 1);
    assert_eq!(visible(&*stager), ["ann"]);
}

#[test]
fn a_batch_that_vanished_is_reported_and_never_taken_for_success() {
    let ([stager, _], [first, second], manager) = two_stores();
    stager.fail("stage", Fault::Vanishes);
    let committed = commit(&[&first, &second], &manager).unwrap();
    assert_eq!(committed.pending.len(), 1);
    assert!(visible(&*stager).is_empty());
}

#[test]
fn a_gone_incarnation_is_renewed_and_the_work_done_again() {
    let (store, queue, manager) = durable();
    commit(&[&queue], &manager).unwrap();
    let gone = store.incarnations().unwrap()[0].incarnation;
    store.forget_all();
    store.close(gone).unwrap();
    assert!(store.drop_incarnation(gone).unwrap());
    let ((), committed) = manager
        .run(2, |txn| queue.enqueue(txn, &greet("bob")).map(drop))
        .unwrap();
    assert_ne!(committed.txn.incarnation, gone);
    assert_eq!(visible(&*store), ["ann", "bob"]);
}

#[test]
fn a_batch_applied_alone_gets_a_new_incarnation_after_one_that_is_gone() {
    let (store, queue, manager) = durable();
    commit(&[&queue], &manager).unwrap();
    let gone = store.incarnations().unwrap()[0].incarnation;
    store.forget_all();
    assert!(store.drop_incarnation(gone).unwrap());
    let (store, batch) = (as_store(&store), batch(&*store, "bob"));
    let error = apply(&store, &manager, &batch).unwrap_err();
    assert_eq!(error.kind, Kind::IncarnationGone(gone));
    apply(&store, &manager, &batch).unwrap();
    assert_eq!(visible(&*store), ["ann", "bob"]);
}
