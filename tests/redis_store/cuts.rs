//! Connections that are cut, and answers that are lost or late: what was asked is known in the end.
#![cfg(test)]

use std::time::Duration;

use votive::register::{Decision, Register};
use votive::store::{Inspect, Kind, Published, Stage};
use votive_testbed::{Fault, Proxy, Redis};

use crate::fixture::{Client, LONG, done, insert, kind, options, server};

/// What only a claim says: the name of the consumer.
const CLAIMS: &[u8] = b"worker";

/// A client whose connections go through a proxy, and one that goes straight.
struct Scene {
    proxy: Proxy,
    far: Client,
    near: Client,
    _server: Redis,
}

fn scene() -> Option<Scene> {
    let server = server()?;
    let proxy = Proxy::start(server.address()).unwrap();
    let patient = options(proxy.address()).response_timeout(Duration::from_secs(2));
    let near = Client::new(server.address());
    // From here on the server knows the scripts: the first answer to each would be that it does not.
    near.stage(near.txn(), insert(near.record())).unwrap();
    near.enqueue();
    let claim = near.claim(1).unwrap().remove(0);
    near.apply(done(&claim)).unwrap();
    let staged = near.store.in_doubt(None, 1).unwrap().remove(0);
    near.store.discard(staged.txn).unwrap();
    Some(Scene {
        far: Client::with(patient, LONG),
        near,
        proxy,
        _server: server,
    })
}

impl Scene {
    /// Applies one insert through a fault; returns what the owner learns, and whether it is visible.
    fn apply_through(&self, fault: impl FnOnce(Vec<u8>) -> Fault) -> (Option<Decision>, bool) {
        let (txn, record) = (self.far.txn(), self.far.record());
        let task = record.id;
        self.proxy.arm(fault(txn.to_string().into_bytes()));
        let lost = kind(self.far.apply_as(txn, vec![insert(record)]));
        assert_eq!((lost, self.proxy.triggered()), (Kind::Unknown, 1));
        let answer = self.far.store.decide(txn, Decision::Aborted, &[]).unwrap();
        (answer.as_owner(), self.near.is_visible(task))
    }
}

#[test]
fn a_commit_that_was_cut_off_never_happened() {
    let Some(scene) = scene() else { return };
    let outcome = scene.apply_through(Fault::CutBefore);
    assert_eq!(outcome, (Some(Decision::Aborted), false));
}

#[test]
fn a_commit_whose_answer_was_lost_is_resolved_by_the_register() {
    let Some(scene) = scene() else { return };
    let outcome = scene.apply_through(Fault::CutAnswer);
    assert_eq!(outcome, (Some(Decision::Committed), true));
}

#[test]
fn a_commit_whose_answer_is_late_is_resolved_by_the_register() {
    let Some(scene) = scene() else { return };
    let outcome = scene.apply_through(|txn| Fault::DelayAnswer(txn, LONG));
    assert_eq!(outcome, (Some(Decision::Committed), true));
}

#[test]
fn a_commit_that_is_cut_after_any_number_of_bytes_is_whole_or_not_there() {
    let Some(scene) = scene() else { return };
    for bytes in (0..1_000).step_by(90) {
        let (txn, record) = (scene.far.txn(), scene.far.record());
        let task = record.id;
        scene.proxy.arm(Fault::CutAfter(bytes));
        let applied = scene.far.apply_as(txn, vec![insert(record)]);
        scene.proxy.pass();
        let decided = scene.far.store.decide(txn, Decision::Aborted, &[]);
        let committed = decided.unwrap().as_owner() == Some(Decision::Committed);
        assert_eq!(
            committed,
            scene.near.is_visible(task),
            "after {bytes} bytes"
        );
        assert!(committed || applied.is_err());
    }
    assert_eq!(scene.near.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_stage_whose_answer_was_lost_is_discarded_or_staged_again() {
    let Some(scene) = scene() else { return };
    for is_repeated in [false, true] {
        let (txn, record) = (scene.far.txn(), scene.far.record());
        scene
            .proxy
            .arm(Fault::CutAnswer(txn.to_string().into_bytes()));
        let register = votive::id::ResourceId::random();
        let batch = votive::store::Batch::new(vec![insert(record)]);
        let stage = || {
            let now = scene.far.store.now()?;
            scene.far.store.stage(txn, register, &batch, now)
        };
        assert_eq!(kind(stage()), Kind::Unknown);
        if is_repeated {
            stage().unwrap();
            let now = scene.far.store.now().unwrap();
            assert!(matches!(
                scene.far.store.publish(txn, now),
                Ok(Published::Now(_))
            ));
        } else {
            scene.far.store.discard(txn).unwrap();
        }
        assert!(scene.near.store.in_doubt(None, 1).unwrap().is_empty());
    }
    assert_eq!(scene.near.claim(10).unwrap().len(), 1);
}

#[test]
fn what_a_claim_gave_out_whose_answer_was_lost_is_given_out_again() {
    let Some(scene) = scene() else { return };
    let task = scene.near.enqueue();
    scene.proxy.arm(Fault::CutAnswer(CLAIMS.to_vec()));
    assert_eq!(kind(scene.far.claim(1)), Kind::Unknown);
    assert!(scene.near.claim(1).unwrap().is_empty());
    let claims = scene.far.claim(1).unwrap();
    assert_eq!(
        (claims[0].record.id, claims[0].record.counts.reclaims),
        (task, 0)
    );
    scene.far.apply(done(&claims[0])).unwrap();
    assert_eq!(scene.near.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_claim_that_comes_after_it_was_given_up_gives_out_nothing() {
    let Some(scene) = scene() else { return };
    scene.near.enqueue();
    scene.proxy.arm(Fault::DelayAnswer(CLAIMS.to_vec(), LONG));
    assert_eq!(kind(scene.far.claim(1)), Kind::Unknown);
    assert_eq!(scene.far.claim(1).unwrap().len(), 1);
    assert!(scene.near.claim(1).unwrap().is_empty());
}

#[test]
fn a_transaction_of_the_queue_survives_the_loss_of_its_answer() {
    let Some(scene) = scene() else { return };
    let address = scene.proxy.address();
    let store = votive::open(&format!("redis://{address}/0")).unwrap();
    let queue = votive::queue::Queue::new(store, "default").unwrap();
    let manager = votive::txn::TransactionManager::new();
    let mut txn = manager.begin().unwrap();
    let raw = votive::task::Payload::from_json("1", 0, votive::task::PayloadLimits::default());
    let task = queue
        .enqueue_payload(
            &mut txn,
            "kind",
            raw.unwrap(),
            votive::task::Options::default(),
        )
        .unwrap();
    let id = txn.id().to_string().into_bytes();
    scene.proxy.arm(Fault::CutAnswer(id));
    txn.commit().unwrap();
    assert_eq!(scene.proxy.triggered(), 1);
    assert!(scene.near.is_visible(task));
}
