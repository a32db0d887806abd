//! A store in a folder of its own, and the usual calls.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::register::Register;
use votive::store::file::{FileStore, Options};
use votive::store::{
    Batch, Change, Claim, ClaimRequest, Dispatch, Error, Filter, Inspect, Presence, Settlement,
    Stage, Verdict, Want,
};
use votive::task::{Counts, Format, Payload, Record};
use votive::time::Timestamp;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A folder, and where the store in it is.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place {
        path: folder.path().join("queue"),
        _folder: folder,
    }
}

impl Place {
    pub(crate) fn open(&self) -> Result<FileStore, Error> {
        FileStore::open(&self.path, Options::default().room(0))
    }

    /// The segments, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "journal");
        let mut segments: Vec<_> = paths.filter(is_segment).collect();
        segments.sort();
        segments
    }

    /// How many bytes all segments have.
    pub(crate) fn size(&self) -> u64 {
        let segments = self.segments();
        let sizes = segments.iter().map(|path| path.metadata().unwrap().len());
        sizes.sum()
    }
}

/// One who begins transactions and claims tasks.
pub(crate) struct Client {
    pub(crate) store: FileStore,
    pub(crate) incarnation: Incarnation,
    sequence: AtomicU64,
    presence: Presence,
}

impl Client {
    pub(crate) fn open(path: &Path) -> Self {
        Self::open_with(path, Options::default().room(0))
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Self {
        let store = FileStore::open(path, options).unwrap();
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

    pub(crate) fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        let batch = Batch::new(changes);
        self.store.apply(self.txn(), &batch, &[], NOW).map(drop)
    }

    pub(crate) fn enqueue(&self) -> Result<TaskId, Error> {
        let record = record(1_000);
        let id = record.id;
        self.apply(vec![Change::Insert(Box::new(record))])?;
        Ok(id)
    }

    pub(crate) fn enqueue_many(&self, count: usize) {
        for _ in 0..count {
            self.enqueue().unwrap();
        }
    }

    /// Enqueues tasks with small payloads, many in a transaction.
    pub(crate) fn fill(&self, count: usize) {
        for _ in 0..count / 1_000 {
            let inserts = (0..1_000).map(|_| Change::Insert(Box::new(record(32))));
            self.apply(inserts.collect()).unwrap();
        }
    }

    pub(crate) fn claim(&self) -> Vec<Claim> {
        self.claim_up_to(10)
    }

    pub(crate) fn claim_up_to(&self, count: usize) -> Vec<Claim> {
        let request = ClaimRequest {
            consumer: ConsumerId {
                incarnation: self.presence.incarnation(),
                name: "web-1".to_owned(),
            },
            wants: vec![Want {
                queue: "default".to_owned(),
                count,
            }],
            lease: Duration::MAX,
        };
        self.store.claim(&request, NOW).unwrap()
    }

    /// Claims a task and is done with it.
    pub(crate) fn work(&self) {
        let claims = self.claim_up_to(1);
        self.apply(claims.iter().map(done).collect()).unwrap();
    }

    /// The visible tasks.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let page = self.store.scan(&Filter::default(), None, usize::MAX);
        let tasks = page.unwrap().tasks.into_iter();
        tasks.map(|listed| listed.record.id).collect()
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks().len()
    }

    #[track_caller]
    pub(crate) fn is_healthy(&self) {
        assert_eq!(self.store.check().unwrap(), Vec::<String>::new());
    }
}

pub(crate) fn record(size: usize) -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 0,
        bytes: vec![b'x'; size].into(),
    };
    Record::new(TaskId::new(NOW), "default", "noop", payload, NOW)
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
