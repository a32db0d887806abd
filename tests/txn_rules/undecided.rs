//! What becomes of a transaction whose commit point did not know whether it committed, and of a manager
//! in a fork.
#![cfg(test)]

use std::sync::Arc;

use parking_lot::Mutex;
use votive::id::{Incarnation, ResourceId, TxnId};
use votive::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind,
    Standing,
};
use votive::time::Timestamp;
use votive::txn::{BeginError, CommitError};

use crate::fixture::{Fault, Scene, join, resource};

/// A register that gives the answer it was told to give.
struct Desk {
    resource: ResourceId,
    answer: Mutex<Option<Answer>>,
    asked: Mutex<Vec<(TxnId, Decision)>>,
}

impl Register for Desk {
    fn resource(&self) -> ResourceId {
        self.resource
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        _stores: &[ResourceId],
    ) -> Result<Answer, RegisterError> {
        self.asked.lock().push((txn, want));
        let unreachable =
            || RegisterError::new(RegisterErrorKind::Unreachable, self.resource, "decide");
        self.answer.lock().ok_or_else(unreachable)
    }

    fn enroll(&self, _incarnation: Incarnation, _now: Timestamp) -> Result<(), RegisterError> {
        Ok(())
    }

    fn outcomes(
        &self,
        _after: Option<TxnId>,
        _limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError> {
        Ok(Vec::new())
    }

    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError> {
        Ok(Vec::new())
    }

    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError> {
        Ok(Vec::new())
    }

    fn close(&self, _incarnation: Incarnation) -> Result<(), RegisterError> {
        Ok(())
    }

    fn forget(&self, _txns: &[TxnId]) -> Result<usize, RegisterError> {
        Ok(0)
    }

    fn drop_incarnation(&self, _incarnation: Incarnation) -> Result<bool, RegisterError> {
        Ok(false)
    }
}

/// A transaction of `a`, which promised, and `b`, which does not know whether it decided.
fn lost() -> (Scene, Arc<Desk>, TxnId) {
    let scene = Scene::default();
    let desk = Arc::new(Desk {
        resource: resource("b"),
        answer: Mutex::new(None),
        asked: Mutex::default(),
    });
    scene.manager.registers().insert(Arc::clone(&desk) as _);
    let mut txn = scene.begin();
    let id = txn.id();
    join(&mut txn, scene.member("a").promises());
    let lost = scene.member("b").decides();
    join(&mut txn, lost.fails("decide", Fault::Unknown));
    join(&mut txn, scene.member("c").has_nothing_to_do());
    assert!(matches!(txn.commit(), Err(CommitError::Undecided { .. })));
    assert_eq!(
        scene.heard(),
        "a.prepare b.prepare c.prepare a.vote b.decide"
    );
    (scene, desk, id)
}

fn answer(decision: Option<Decision>, standing: Standing) -> Answer {
    Answer { decision, standing }
}

#[test]
fn a_register_that_says_committed_has_everybody_finish_once() {
    let (scene, desk, id) = lost();
    *desk.answer.lock() = Some(answer(Some(Decision::Committed), Standing::Closed));
    assert_eq!(scene.manager.settle_undecided(), 0);
    assert_eq!(scene.manager.settle_undecided(), 0);
    assert_eq!(scene.heard(), "a.finish b.finish");
    assert_eq!(*desk.asked.lock(), [(id, Decision::Aborted)]);
}

#[test]
fn a_register_that_says_aborted_has_everybody_aborted_once() {
    let (scene, desk, _) = lost();
    *desk.answer.lock() = Some(answer(Some(Decision::Aborted), Standing::Open));
    assert_eq!(scene.manager.settle_undecided(), 0);
    assert_eq!(scene.heard(), "a.abort b.abort");
}

#[test]
fn as_long_as_the_register_cannot_tell_nobody_is_called() {
    let (scene, desk, _) = lost();
    let closed = answer(Some(Decision::Aborted), Standing::Closed);
    for silence in [None, Some(closed), Some(answer(None, Standing::Gone))] {
        *desk.answer.lock() = silence;
        assert_eq!(scene.manager.settle_undecided(), 1);
    }
    assert_eq!(scene.heard(), "");
}

#[test]
fn the_next_begin_settles_what_was_left() {
    let (scene, desk, _) = lost();
    *desk.answer.lock() = Some(answer(Some(Decision::Committed), Standing::Open));
    scene.begin().abort().unwrap();
    assert_eq!(scene.heard(), "a.finish b.finish");
}

#[test]
fn a_manager_that_is_dropped_leaves_the_rest_to_recovery() {
    let (scene, _, _) = lost();
    let Scene { manager, trace } = scene;
    drop(manager);
    let scene = Scene {
        trace,
        ..Scene::default()
    };
    assert_eq!(scene.heard(), "");
}

#[test]
fn an_unknown_answer_to_a_promise_is_a_no() {
    let scene = Scene::default();
    let mut txn = scene.begin();
    join(&mut txn, scene.member("a").decides());
    let lost = scene.member("b").promises();
    join(&mut txn, lost.fails("vote", Fault::Unknown));
    assert!(matches!(txn.commit(), Err(CommitError::Refused { .. })));
    assert_eq!(scene.heard(), "a.prepare b.prepare b.vote a.abort b.abort");
}

#[test]
fn a_fork_is_refused_a_transaction() {
    let scene = Scene::default();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let refused = matches!(scene.manager.begin(), Err(BeginError::Forked));
            std::process::exit(if refused { 7 } else { 1 });
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            assert_eq!(fork::WEXITSTATUS(status), 7);
        }
    }
}
