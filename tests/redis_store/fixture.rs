//! A server of one's own, a store on it, and the usual calls.
#![cfg(test)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use votive::id::{ConsumerId, Incarnation, ResourceId, TaskId, TxnId};
use votive::register::Register;
use votive::store::redis::{Options, RedisStore};
use votive::store::{
    Applied, Batch, Change, Claim, ClaimRequest, Dispatch, Error, Inspect, Kind, Presence,
    Settlement, Stage, Verdict, Want,
};
use votive::task::{Counts, Format, Payload, Record};
use votive_testbed::{Redis, or_skip, redis};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A private server that flushes every write; `None` where there is none to be had.
pub(crate) fn server() -> Option<Redis> {
    or_skip(Redis::start(redis::Options::default()))
}

/// How the store at this address is opened.
pub(crate) fn options(address: SocketAddr) -> Options {
    Options::tcp(address.ip().to_string(), address.port()).response_timeout(LONG)
}

/// A plain connection to the server.
pub(crate) fn connect(server: &Redis) -> ::redis::Connection {
    let client = ::redis::Client::open(server.url()).unwrap();
    client.get_connection().unwrap()
}

/// Sends a command whose answer does not matter.
pub(crate) fn tell(server: &Redis, words: &[&str]) {
    let (name, arguments) = words.split_first().unwrap();
    let mut command = ::redis::cmd(name);
    command.arg(arguments).exec(&mut connect(server)).unwrap();
}

/// Waits for a condition.
#[expect(clippy::disallowed_methods, reason = "a test has a deadline")]
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

/// One who begins transactions and claims tasks.
pub(crate) struct Client {
    pub(crate) store: RedisStore,
    pub(crate) incarnation: Incarnation,
    pub(crate) lease: Duration,
    sequence: AtomicU64,
    _presence: Presence,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::with(options(address), LONG)
    }

    pub(crate) fn with(options: Options, lease: Duration) -> Self {
        let store = RedisStore::open(options).unwrap();
        let incarnation = Incarnation::random();
        let now = store.now().unwrap();
        store.enroll(incarnation, now).unwrap();
        let presence = store.attend(incarnation, lease).unwrap();
        Self {
            store,
            incarnation,
            lease,
            sequence: AtomicU64::new(0),
            _presence: presence,
        }
    }

    pub(crate) fn txn(&self) -> TxnId {
        TxnId {
            incarnation: self.incarnation,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    pub(crate) fn record(&self) -> Record {
        let now = self.store.now().unwrap();
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: b"payload"[..].into(),
        };
        Record::new(TaskId::new(now), "default", "kind", payload, now)
    }

    pub(crate) fn apply_as(&self, txn: TxnId, changes: Vec<Change>) -> Result<Applied, Error> {
        let now = self.store.now()?;
        self.store.apply(txn, &Batch::new(changes), &[], now)
    }

    pub(crate) fn apply(&self, change: Change) -> Result<Applied, Error> {
        self.apply_as(self.txn(), vec![change])
    }

    pub(crate) fn enqueue(&self) -> TaskId {
        let record = self.record();
        let id = record.id;
        self.apply(insert(record)).unwrap();
        id
    }

    pub(crate) fn stage(&self, txn: TxnId, change: Change) -> Result<(), Error> {
        let now = self.store.now()?;
        let batch = Batch::new(vec![change]);
        self.store.stage(txn, ResourceId::random(), &batch, now)
    }

    pub(crate) fn claim(&self, count: usize) -> Result<Vec<Claim>, Error> {
        let request = ClaimRequest {
            consumer: ConsumerId {
                incarnation: self.incarnation,
                name: "worker".to_owned(),
            },
            wants: vec![Want {
                queue: "default".to_owned(),
                count,
            }],
            lease: self.lease,
        };
        self.store.claim(&request, self.store.now()?)
    }

    pub(crate) fn is_visible(&self, task: TaskId) -> bool {
        self.store.get(task).unwrap().is_some()
    }
}

pub(crate) fn insert(record: Record) -> Change {
    Change::Insert(Box::new(record))
}

pub(crate) fn done(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: Counts::default(),
        account: None,
    })
}

/// The kind of an error that is expected.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.expect_err("a refusal").kind
}
