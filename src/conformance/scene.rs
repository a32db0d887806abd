//! What a case acts with: a store, a clock that stands still, and short words for long calls.

use std::sync::Arc;
use std::time::Duration;

use super::{Harness, skip};
use crate::id::{ConsumerId, Incarnation, ResourceId, TaskId, TxnId};
use crate::store::{
    Amendment, Applied, Batch, Change, Claim, ClaimKey, ClaimRequest, Error, Kind, Presence,
    Published, Result, Settlement, Store, StoreExt, Verdict, Want,
};
use crate::task::{
    Account, Failure, Format, OnDuplicate, Options, Payload, Record, State, StateSet, Unique,
};
use crate::time::{ManualClock, Timestamp};

/// When every case begins.
pub(super) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// The queue that tasks are in unless a case says otherwise.
pub(super) const QUEUE: &str = "default";

pub(super) struct Scene<'h> {
    harness: &'h dyn Harness,
    /// `None` while it crashes.
    store: Option<Arc<dyn Store>>,
    clock: ManualClock,
    incarnation: Incarnation,
    sequence: u64,
}

/// A consumer that lives until it is dropped.
pub(super) struct Worker {
    pub(super) id: ConsumerId,
    _presence: Presence,
}

impl<'h> Scene<'h> {
    pub(super) fn open(harness: &'h dyn Harness) -> Self {
        let clock = ManualClock::new(START);
        let mut scene = Self {
            harness,
            store: Some(harness.open(&clock)),
            clock,
            incarnation: Incarnation::random(),
            sequence: 0,
        };
        scene.incarnation = scene.enroll();
        scene
    }

    /// Crashes and reopens the store. `None`, and the reason is printed, if nothing outlives a crash.
    pub(super) fn crash(&mut self) -> Option<()> {
        let store = self.store.take()?;
        self.store = self.harness.reopen_after_crash(store, &self.clock);
        if self.store.is_none() {
            skip("nothing in this store outlives its process");
            return None;
        }
        self.incarnation = self.enroll();
        Some(())
    }

    /// Lets the store check itself, unless it did not outlive a crash.
    pub(super) fn check(&self) {
        let faults = self.store.as_ref().map(|store| store.check());
        let faults = faults.transpose().expect("a store that can be checked");
        assert_eq!(faults.unwrap_or_default(), Vec::<String>::new());
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_deref().expect("an open store")
    }

    pub(super) fn shared(&self) -> Arc<dyn Store> {
        self.store.clone().expect("an open store")
    }

    pub(super) fn enroll(&self) -> Incarnation {
        let incarnation = Incarnation::random();
        let enrolled = self.store().enroll(incarnation, self.now());
        enrolled.expect("a new incarnation is enrolled");
        incarnation
    }

    pub(super) fn now(&self) -> Timestamp {
        self.store().now().expect("the time")
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    /// Mints the id of a new transaction.
    pub(super) fn txn(&mut self) -> TxnId {
        self.sequence += 1;
        TxnId {
            incarnation: self.incarnation,
            sequence: self.sequence,
        }
    }

    pub(super) fn record(&self) -> Record {
        self.record_with(Options::default())
    }

    pub(super) fn record_with(&self, options: Options) -> Record {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: b"payload"[..].into(),
        };
        let id = TaskId::new(self.now());
        Record::new(id, QUEUE, "kind", payload, self.now()).with_options(options)
    }

    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let txn = self.txn();
        self.store().apply_alone(txn, &Batch::new(changes))
    }

    /// Enqueues and publishes a task.
    pub(super) fn enqueue(&mut self, record: Record) -> TaskId {
        let id = record.id;
        self.apply(vec![insert(record)]).expect("an enqueued task");
        id
    }

    /// Enqueues a task with default options.
    pub(super) fn enqueue_any(&mut self) -> TaskId {
        self.enqueue(self.record())
    }

    pub(super) fn enqueue_many(&mut self, count: usize) -> Vec<TaskId> {
        (0..count).map(|_| self.enqueue_any()).collect()
    }

    /// Stages changes under a register elsewhere.
    pub(super) fn stage(&mut self, changes: Vec<Change>) -> Result<TxnId> {
        let txn = self.txn();
        let register = ResourceId::random();
        let batch = Batch::new(changes);
        self.store().stage(txn, register, &batch, self.now())?;
        Ok(txn)
    }

    pub(super) fn staged(&mut self, changes: Vec<Change>) -> TxnId {
        self.stage(changes).expect("a staged batch")
    }

    /// Stages what the store itself will decide.
    pub(super) fn staged_here(&mut self, changes: Vec<Change>) -> TxnId {
        let (txn, now, store) = (self.txn(), self.now(), self.store());
        let batch = Batch::new(changes);
        store.stage(txn, store.id(), &batch, now).unwrap();
        txn
    }

    pub(super) fn publish(&self, txn: TxnId) -> Published {
        let published = self.store().publish(txn, self.now());
        published.expect("an answer to publish")
    }

    pub(super) fn discard(&self, txn: TxnId) {
        self.store().discard(txn).expect("a discarded batch");
    }

    pub(super) fn worker(&self) -> Worker {
        let incarnation = self.enroll();
        let lease = Duration::from_secs(60);
        let presence = self.store().attend(incarnation, lease);
        let name = "worker".to_owned();
        Worker {
            id: ConsumerId { incarnation, name },
            _presence: presence.expect("a proof of life"),
        }
    }

    pub(super) fn claim(&self, worker: &Worker, count: usize) -> Vec<Claim> {
        self.claim_from(worker, QUEUE, count)
    }

    pub(super) fn claim_from(&self, worker: &Worker, queue: &str, count: usize) -> Vec<Claim> {
        let request = request(&worker.id, &[(queue, count)]);
        let claims = self.store().claim(&request, self.now());
        claims.expect("an answer to claim")
    }

    /// Claims the next task, which must be there.
    pub(super) fn claim_one(&self, worker: &Worker) -> Claim {
        let claims = self.claim(worker, 1);
        claims.into_iter().next().expect("a task to claim")
    }

    pub(super) fn claimed_ids(&self, worker: &Worker) -> Vec<TaskId> {
        let claims = self.claim(worker, 100);
        claims.iter().map(|claim| claim.record.id).collect()
    }

    pub(super) fn settle(&mut self, claim: &Claim, verdict: Verdict) -> Result<Applied> {
        self.apply(vec![settle(claim, verdict)])
    }

    pub(super) fn done(&mut self, claim: &Claim) {
        let settled = self.settle(claim, Verdict::Done);
        settled.expect("a settled claim");
    }

    pub(super) fn amend(&mut self, task: TaskId, amendment: Amendment) -> Result<Applied> {
        self.apply(vec![amend(task, amendment)])
    }

    /// The state of a visible task.
    pub(super) fn state(&self, task: TaskId) -> Option<State> {
        self.found(task).map(|record| record.state)
    }

    pub(super) fn found(&self, task: TaskId) -> Option<Record> {
        let listed = self.store().get(task).expect("an answer to get");
        listed.map(|listed| listed.record)
    }
}

pub(super) fn insert(record: Record) -> Change {
    Change::Insert(Box::new(record))
}

pub(super) fn settle(claim: &Claim, verdict: Verdict) -> Change {
    Change::Settle(settlement(claim, verdict, None))
}

pub(super) fn settlement(claim: &Claim, verdict: Verdict, account: Option<Account>) -> Settlement {
    Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict,
        counts: claim.record.counts,
        account: account.map(Box::new),
    }
}

/// An account of one failure.
pub(super) fn failure(chain: &[&str], at: Timestamp) -> Account {
    let failure = Failure {
        attempt: 1,
        chain: chain.iter().map(|text| (*text).to_owned()).collect(),
        at,
        duration: Duration::from_millis(20),
    };
    Account {
        failures: vec![failure],
        ..Account::default()
    }
}

pub(super) fn amend(task: TaskId, amendment: Amendment) -> Change {
    Change::Amend {
        task,
        expect: StateSet::ALL,
        amendment,
    }
}

pub(super) fn mark(key: &str, expect: Option<&str>, value: Option<&str>) -> Change {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Change::Mark {
        key: key.to_owned(),
        expect: expect.map(bytes),
        value: value.map(bytes),
    }
}

/// A change that every store refuses.
pub(super) fn impossible() -> Change {
    mark("impossible", Some("not there"), None)
}

pub(super) fn key_of(claim: &Claim) -> ClaimKey {
    ClaimKey {
        task: claim.record.id,
        token: claim.token,
    }
}

pub(super) fn request(consumer: &ConsumerId, wants: &[(&str, usize)]) -> ClaimRequest {
    let wants = wants.iter().map(|(queue, count)| Want {
        queue: (*queue).to_owned(),
        count: *count,
    });
    ClaimRequest {
        consumer: consumer.clone(),
        wants: wants.collect(),
        lease: Duration::from_secs(60),
    }
}

pub(super) fn unique(key: &str, on_duplicate: OnDuplicate) -> Options {
    Options {
        unique: Some(Unique {
            on_duplicate,
            ..Unique::new(key)
        }),
        ..Options::default()
    }
}

/// The kind of an error that is expected.
pub(super) fn kind<T: std::fmt::Debug>(result: std::result::Result<T, Error>) -> Kind {
    result.expect_err("a refusal").kind
}
