//! A store in a folder of its own, and the usual calls.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::register::Register;
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{
    Batch, Change, Claim, ClaimRequest, Dispatch, Error, Filter, Inspect, Presence, Settlement,
    Stage, Verdict, Want,
};
use votive::task::{self, Counts, Format, Payload, Record};
use votive::time::Timestamp;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A folder, and where the database in it is.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place {
        path: folder.path().join("queue.db"),
        _folder: folder,
    }
}

impl Place {
    pub(crate) fn open(&self) -> Result<SqliteStore, Error> {
        SqliteStore::open(&self.path, Options::default())
    }

    /// A plain connection to the database.
    pub(crate) fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.path).unwrap()
    }
}

/// One who begins transactions and claims tasks.
pub(crate) struct Client {
    pub(crate) store: SqliteStore,
    pub(crate) incarnation: Incarnation,
    sequence: AtomicU64,
    presence: Presence,
}

impl Client {
    pub(crate) fn open(path: &Path) -> Self {
        Self::open_with(path, Options::default())
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Self {
        let store = SqliteStore::open(path, options).unwrap();
        let incarnation = Incarnation::random();
        store.enroll(incarnation, NOW).unwrap();
        let presence = store.attend(incarnation, Duration::MAX).unwrap();
        Self {
            store,
            incarnation,
            sequence: AtomicU64::new(0),
            presence,
        }
    }

    pub(crate) fn txn(&self) -> TxnId {
        TxnId {
            incarnation: self.incarnation,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    pub(crate) fn apply(&self, change: Change) -> Result<(), Error> {
        self.apply_at(vec![change], NOW)
    }

    /// Makes changes together, at a time.
    pub(crate) fn apply_at(&self, changes: Vec<Change>, now: Timestamp) -> Result<(), Error> {
        let batch = Batch::new(changes);
        self.store.apply(self.txn(), &batch, &[], now).map(drop)
    }

    pub(crate) fn enqueue(&self) -> Result<TaskId, Error> {
        let record = record();
        let id = record.id;
        self.apply(Change::Insert(Box::new(record)))?;
        Ok(id)
    }

    pub(crate) fn enqueue_many(&self, count: usize) {
        for _ in 0..count {
            self.enqueue().unwrap();
        }
    }

    pub(crate) fn enqueue_with(&self, options: task::Options) -> TaskId {
        let record = record().with_options(options);
        let id = record.id;
        self.apply(Change::Insert(Box::new(record))).unwrap();
        id
    }

    pub(crate) fn claim(&self) -> Vec<Claim> {
        self.claim_at(NOW)
    }

    pub(crate) fn claim_at(&self, now: Timestamp) -> Vec<Claim> {
        let request = ClaimRequest {
            consumer: ConsumerId {
                incarnation: self.presence.incarnation(),
                name: "web-1".to_owned(),
            },
            wants: vec![Want {
                queue: "default".to_owned(),
                count: 10,
            }],
            lease: Duration::MAX,
        };
        self.store.claim(&request, now).unwrap()
    }

    /// Counts the visible tasks.
    pub(crate) fn task_count(&self) -> usize {
        let page = self.store.scan(&Filter::default(), None, usize::MAX);
        page.unwrap().tasks.len()
    }
}

pub(crate) fn record() -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 0,
        bytes: [b'x'; 1_000].into(),
    };
    Record::new(TaskId::new(NOW), "default", "noop", payload, NOW)
}

pub(crate) fn done(claim: &Claim) -> Change {
    Change::Settle(settlement(claim, Verdict::Done))
}

pub(crate) fn settlement(claim: &Claim, verdict: Verdict) -> Settlement {
    Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict,
        counts: Counts::default(),
        account: None,
    }
}
