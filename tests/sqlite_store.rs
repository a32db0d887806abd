//! The SQLite store as a file: bad input, several processes, and group commit.
#![cfg(test)]

use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::register::Register;
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{
    Batch, Change, Claim, ClaimRequest, Dispatch, Inspect, Published, Settlement, Stage, Verdict,
    Want,
};
use votive::task::{Counts, Format, Payload, Record};
use votive::time::Timestamp;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn record() -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 0,
        bytes: b"x".to_vec(),
    };
    Record::new(TaskId::new(NOW), "default", "noop", payload, NOW)
}

fn insert(record: &Record) -> Batch {
    Batch::new(vec![Change::Insert(Box::new(record.clone()))])
}

struct Fixture {
    store: SqliteStore,
    incarnation: Incarnation,
    sequence: std::cell::Cell<u64>,
    _folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("queue.db"), Options::default()).unwrap();
    let incarnation = Incarnation::random();
    store.enroll(incarnation, NOW).unwrap();
    Fixture {
        store,
        incarnation,
        sequence: std::cell::Cell::new(0),
        _folder: folder,
    }
}

impl Fixture {
    fn txn(&self) -> TxnId {
        self.sequence.set(self.sequence.get() + 1);
        TxnId {
            incarnation: self.incarnation,
            sequence: self.sequence.get(),
        }
    }

    fn claim(&self) -> Vec<Claim> {
        let request = ClaimRequest {
            consumer: ConsumerId {
                incarnation: self.incarnation,
                name: "web-1".to_owned(),
            },
            wants: vec![Want {
                queue: "default".to_owned(),
                count: 10,
            }],
            lease: Duration::from_secs(60),
        };
        self.store.claim(&request, NOW).unwrap()
    }
}

#[test]
fn a_staged_task_is_claimed_after_its_publish_and_leaves_when_it_is_done() {
    let f = fixture();
    let _presence = f.store.attend(f.incarnation, Duration::MAX).unwrap();
    let (txn, record) = (f.txn(), record());
    f.store
        .stage(txn, f.store.id(), &insert(&record), NOW)
        .unwrap();
    assert_eq!(f.claim(), []);
    assert!(matches!(f.store.publish(txn, NOW), Ok(Published::Now(_))));
    let claims = f.claim();
    assert_eq!(claims[0].record.id, record.id);
    let done = Change::Settle(Settlement {
        task: record.id,
        token: claims[0].token,
        verdict: Verdict::Done,
        counts: Counts::default(),
    });
    f.store
        .apply(f.txn(), &Batch::new(vec![done]), &[], NOW)
        .unwrap();
    assert_eq!(f.store.get(record.id).unwrap(), None);
    assert_eq!(f.store.check().unwrap(), Vec::<String>::new());
}
