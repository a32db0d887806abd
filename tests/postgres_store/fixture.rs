//! Servers, stores in schemas of their own, and short words for long calls.
#![cfg(test)]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::register::Register;
use votive::store::postgres::{Options, PostgresStore};
use votive::store::{
    Applied, Batch, Change, Claim, ClaimRequest, Dispatch, Error, Inspect, Kind, Settlement, Stage,
    Verdict, Want,
};
use votive::task::{Format, Payload, Record};
use votive_testbed::{Postgres, or_skip, postgres};

/// The server that tests share which leave it in peace.
pub(crate) static SERVER: LazyLock<Option<Postgres>> =
    LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));

static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// The name of a schema that no other test uses.
pub(crate) fn schema() -> String {
    format!("store_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn options(schema: &str) -> Options {
    Options::default().schema(schema)
}

pub(crate) fn open(server: &Postgres) -> PostgresStore {
    PostgresStore::open(&server.url(), options(&schema())).unwrap()
}

/// One process's work on a store.
pub(crate) struct Process<'s> {
    pub(crate) store: &'s PostgresStore,
    incarnation: Incarnation,
    sequence: u64,
}

impl<'s> Process<'s> {
    pub(crate) fn new(store: &'s PostgresStore) -> Self {
        Self::enrolled(store).unwrap()
    }

    pub(crate) fn enrolled(
        store: &'s PostgresStore,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let incarnation = Incarnation::random();
        store.enroll(incarnation, store.now()?)?;
        Ok(Self {
            store,
            incarnation,
            sequence: 0,
        })
    }

    pub(crate) fn txn(&mut self) -> TxnId {
        self.sequence += 1;
        TxnId {
            incarnation: self.incarnation,
            sequence: self.sequence,
        }
    }

    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<Applied, Error> {
        let txn = self.txn();
        let now = self.store.now()?;
        self.store.apply(txn, &Batch::new(changes), &[], now)
    }

    pub(crate) fn enqueue(&mut self, count: usize) -> Vec<TaskId> {
        let records: Vec<_> = (0..count).map(|_| record(self.store)).collect();
        let ids = records.iter().map(|record| record.id).collect();
        self.apply(records.into_iter().map(insert).collect())
            .unwrap();
        ids
    }

    pub(crate) fn consumer(&self, name: &str) -> (ConsumerId, votive::store::Presence) {
        self.attended(name).unwrap()
    }

    pub(crate) fn attended(
        &self,
        name: &str,
    ) -> Result<(ConsumerId, votive::store::Presence), Error> {
        let incarnation = Incarnation::random();
        let presence = self.store.attend(incarnation, Duration::from_secs(60))?;
        let name = name.to_owned();
        Ok((ConsumerId { incarnation, name }, presence))
    }
}

pub(crate) fn record(store: &PostgresStore) -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 0,
        bytes: vec![7; 100].into(),
    };
    let now = store.now().unwrap();
    Record::new(TaskId::new(now), "default", "kind", payload, now)
}

pub(crate) fn insert(record: Record) -> Change {
    Change::Insert(Box::new(record))
}

pub(crate) fn done(claim: &Claim) -> Change {
    settled(claim, Verdict::Done)
}

pub(crate) fn settled(claim: &Claim, verdict: Verdict) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict,
        counts: claim.record.counts,
        account: None,
    })
}

pub(crate) fn request(consumer: &ConsumerId, count: usize) -> ClaimRequest {
    ClaimRequest {
        consumer: consumer.clone(),
        wants: vec![Want {
            queue: "default".to_owned(),
            count,
        }],
        lease: Duration::from_secs(60),
    }
}

pub(crate) fn claim(store: &PostgresStore, consumer: &ConsumerId, count: usize) -> Vec<Claim> {
    let now = store.now().unwrap();
    store.claim(&request(consumer, count), now).unwrap()
}

/// Does it again for as long as others are in the way.
pub(crate) fn insist(process: &mut Process<'_>, changes: &[Change]) -> Applied {
    loop {
        match process.apply(changes.to_vec()) {
            Err(error) if error.kind == Kind::Conflict => {}
            applied => return applied.unwrap(),
        }
    }
}

/// Claims and ends until `left` is nothing.
pub(crate) fn drain(store: &PostgresStore, left: &AtomicUsize) {
    let mut process = Process::new(store);
    let (consumer, _presence) = process.consumer("web");
    while left.load(Ordering::SeqCst) > 0 {
        let claims = claim(store, &consumer, 7);
        if claims.is_empty() {
            std::thread::yield_now();
            continue;
        }
        let ends: Vec<_> = claims.iter().map(done).collect();
        insist(&mut process, &ends);
        left.fetch_sub(claims.len(), Ordering::SeqCst);
    }
}

/// The whole chain of an error, as a program shows it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut source = Some(error);
    let chain = std::iter::from_fn(|| {
        let error = source?;
        source = error.source();
        Some(error.to_string())
    });
    chain.collect::<Vec<_>>().join(": ")
}
