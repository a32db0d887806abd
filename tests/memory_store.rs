//! The memory store: what it costs, and what is its own beside the contract.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::register::{Register, Tier};
use votive::store::memory::MemoryStore;
use votive::store::{
    Batch, Change, Claim, ClaimRequest, Dispatch, Inspect, Settlement, StoreExt, Verdict, Want,
};
use votive::task::{DeadReason, Format, Options, Payload, Record};
use votive::time::{ManualClock, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// A store and somebody who enqueues and claims there.
struct Actor {
    store: MemoryStore,
    consumer: ConsumerId,
    _presence: votive::store::Presence,
    sequence: u64,
}

impl Actor {
    fn new() -> Self {
        let store = MemoryStore::with_clock(Arc::new(ManualClock::new(NOW)));
        let incarnation = Incarnation::random();
        store.enroll(incarnation, NOW).unwrap();
        Self {
            _presence: store.attend(incarnation, Duration::MAX).unwrap(),
            store,
            consumer: ConsumerId {
                incarnation,
                name: "actor".to_owned(),
            },
            sequence: 0,
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.sequence += 1;
        let txn = TxnId {
            incarnation: self.consumer.incarnation,
            sequence: self.sequence,
        };
        self.store.apply_alone(txn, &Batch::new(changes)).unwrap();
    }

    fn enqueue(&mut self, count: usize, options: &Options) {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let record = Record::new(TaskId::new(NOW), "default", "kind", payload, NOW);
        let record = record.with_options(options.clone());
        let records = std::iter::repeat_with(|| Record {
            id: TaskId::new(NOW),
            ..record.clone()
        });
        let changes = records.map(|record| Change::Insert(Box::new(record)));
        self.apply(changes.take(count).collect());
    }

    fn claim(&self, count: usize) -> Vec<Claim> {
        let queue = "default".to_owned();
        let request = ClaimRequest {
            consumer: self.consumer.clone(),
            wants: vec![Want { queue, count }],
            lease: Duration::MAX,
        };
        self.store.claim(&request, NOW).unwrap()
    }

    fn bury_all(&mut self) {
        let claims = self.claim(usize::MAX);
        let bury = claims.into_iter().map(|claim| {
            Change::Settle(Settlement {
                task: claim.record.id,
                token: claim.token,
                counts: claim.record.counts,
                verdict: Verdict::Bury {
                    reason: DeadReason::Failed,
                },
                account: None,
            })
        });
        self.apply(bury.collect());
    }
}

fn scheduled() -> Options {
    Options {
        delay: Some(Duration::from_secs(60)),
        ..Options::default()
    }
}

fn grouped() -> Options {
    Options {
        group: Some("group".to_owned()),
        ..Options::default()
    }
}

/// How many tasks a claim of ten looks at among `count` dead, scheduled, blocked and ready ones each.
fn visits_among(count: usize) -> u64 {
    let mut actor = Actor::new();
    actor.enqueue(count, &Options::default());
    actor.bury_all();
    for options in [scheduled(), grouped(), Options::default()] {
        actor.enqueue(count, &options);
    }
    let before = actor.store.visit_count();
    assert_eq!(actor.claim(10).len(), 10);
    actor.store.visit_count() - before
}

#[test]
fn a_claim_looks_at_no_more_tasks_among_a_million_than_among_a_thousand() {
    assert_eq!(visits_among(250), 10);
    assert_eq!(visits_among(250_000), 10);
}

#[test]
fn its_tier_is_volatile_and_it_says_so() {
    let store = MemoryStore::new();
    assert_eq!(store.capabilities().tier_max, Tier::Volatile);
    assert!(!store.capabilities().shared);
}
