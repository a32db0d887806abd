//! What this version writes, later versions read: from the first release on, the files in `tests/data/golden` are
//! written once and opened by every version after. `VOTIVE_WRITE_GOLDEN=1 cargo test --test golden` writes those that
//! are missing, for a new version of a format.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use votive::codec;
use votive::id::{Incarnation, ResourceId, TaskId, Token, TxnId};
use votive::resource::rusqlite::Database;
use votive::store::file::{self, FileStore};
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{
    Amendment, Batch, Change, Filter, Inspect, Published, Settlement, Stage, Store, Verdict,
};
use votive::task::{
    Account, Counts, Failure, FollowUp, Format, OnDuplicate, Options as TaskOptions, Payload,
    Position, Record, State, StateSet, Unique,
};
use votive::time::{ManualClock, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(name)
}

/// Writes a golden file that is missing, when asked to.
fn write_once(name: &str, write: impl FnOnce(&Path)) {
    let path = golden(name);
    if std::env::var_os("VOTIVE_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(golden("")).unwrap();
        write(&path);
    }
}

fn txn(sequence: u64) -> TxnId {
    TxnId {
        incarnation: Incarnation::from_u64(0x0123_4567_89ab_cdef),
        sequence,
    }
}

fn task(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn record(number: u8, options: TaskOptions) -> Record {
    let payload = Payload {
        format: Format::Json,
        version: 3,
        bytes: b"{\"n\":1}"[..].into(),
    };
    Record::new(task(number), "default", "golden", payload, NOW).with_options(options)
}

fn follow_up() -> FollowUp {
    let payload = record(1, TaskOptions::default()).payload;
    FollowUp::of_payload("next", payload, TaskOptions::default()).unwrap()
}

fn with_ghosts() -> Filter {
    Filter {
        ghosts: true,
        ..Filter::default()
    }
}

/// Everything that an option can say.
fn full() -> TaskOptions {
    TaskOptions {
        priority: 3,
        not_before: Some(NOW),
        delay: Some(Duration::from_secs(60)),
        expires_at: Some(Timestamp::from_micros(i64::MAX)),
        timeout: Some(Duration::from_millis(1_500)),
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new("key")
        }),
        group: Some("group".into()),
        about: vec!["object".into()],
        waits_for: vec![task(9)],
        announces: vec![task(8)],
        on_success: Some(Box::new(follow_up())),
        on_failure: Some(Box::new(follow_up().queue("other"))),
        user: Some("somebody".into()),
        retention: Some(Duration::from_secs(3_600)),
        ghost: true,
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ..TaskOptions::default()
    }
}

/// A change of every sort.
fn batch() -> Batch {
    let token = Token {
        incarnation: txn(1).incarnation,
        count: 5,
    };
    let failure = Failure {
        attempt: 1,
        chain: vec!["outer".into(), "inner".into()],
        at: NOW,
        duration: Duration::from_millis(20),
    };
    let account = Account {
        failures: vec![failure],
        result: Some(record(1, TaskOptions::default()).payload),
        position: Some(Position {
            done: 2,
            total: 5,
            size: 2,
            timeouts: 1,
        }),
    };
    let counts = Counts {
        attempts: 1,
        conflicts: 2,
        reclaims: 3,
    };
    let verdict = Verdict::Retry { at: NOW };
    Batch::new(vec![
        Change::Insert(Box::new(record(1, full()))),
        Change::Settle(Settlement {
            task: task(2),
            token,
            verdict,
            counts,
            account: Some(Box::new(account)),
        }),
        Change::Amend {
            task: task(3),
            expect: StateSet::PENDING,
            amendment: Amendment::Reschedule(Some(NOW)),
        },
        Change::Arrive {
            task: task(1),
            done: task(9),
        },
        Change::Mark {
            key: "mark".into(),
            expect: None,
            value: Some(vec![1, 2]),
        },
    ])
}

/// Does to a store what leaves a trace of every sort.
fn fill(store: &dyn Store) {
    store.enroll(txn(1).incarnation, NOW).unwrap();
    let plain = Batch::new(vec![
        Change::Insert(Box::new(record(1, TaskOptions::default()))),
        Change::Insert(Box::new(record(2, full()))),
        Change::Mark {
            key: "mark".into(),
            expect: None,
            value: Some(vec![7]),
        },
    ]);
    store.apply(txn(1), &plain, &[], NOW).unwrap();
    let record = record(3, TaskOptions::default());
    let staged = Batch::new(vec![Change::Insert(Box::new(record))]);
    let register = ResourceId::from_bytes([4; 16]);
    store.stage(txn(2), register, &staged, NOW).unwrap();
}

fn write_store(path: &Path) {
    let clock = ManualClock::new(NOW);
    let store = SqliteStore::open(path, Options::default().clock(clock)).unwrap();
    fill(&store);
    drop(store);
    let checkpoint = rusqlite::Connection::open(path).unwrap();
    checkpoint
        .pragma_update(None, "wal_checkpoint", "truncate")
        .unwrap();
    drop(checkpoint);
    let _locks = fs::remove_dir_all(path.with_extension("db-votive"));
}

/// One segment: its base, what was done, and a second one after it that says what is still true.
fn write_folder(path: &Path) {
    let clock = ManualClock::new(NOW);
    let options = file::Options::default().clock(clock).room(0);
    let store = FileStore::open(path, options).unwrap();
    fill(&store);
    store.compact().unwrap();
    drop(store);
    fs::remove_dir_all(path.join("alive")).unwrap();
    fs::remove_file(path.join("lock")).unwrap();
}

/// Opens a copy of the file store that version 1 wrote.
fn file_store(folder: &Path) -> FileStore {
    write_once("folder-1", write_folder);
    let copy = folder.join("folder");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(golden("folder-1")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    FileStore::adopt(&copy).unwrap();
    let clock = ManualClock::new(NOW);
    FileStore::open(copy, file::Options::default().clock(clock)).unwrap()
}

/// Opens a copy of the store that version 1 wrote.
fn store(folder: &Path) -> SqliteStore {
    write_once("store-1.db", write_store);
    let copy = folder.join("store.db");
    fs::copy(golden("store-1.db"), &copy).unwrap();
    Database::adopt(&copy).unwrap();
    let clock = ManualClock::new(NOW);
    SqliteStore::open(copy, Options::default().clock(clock)).unwrap()
}

#[test]
fn a_batch_of_version_1_is_read() {
    write_once("batch-1.bin", |path| {
        fs::write(path, codec::encode(&batch()).unwrap()).unwrap();
    });
    let bytes = fs::read(golden("batch-1.bin")).unwrap();
    assert_eq!(codec::decode::<Batch>(&bytes).unwrap(), batch());
}

#[test]
fn a_batch_is_still_written_as_in_version_1() {
    let bytes = fs::read(golden("batch-1.bin")).unwrap();
    assert_eq!(
        codec::encode(&batch()).unwrap(),
        bytes,
        "raise codec::VERSION, and keep the old file"
    );
}

#[test]
fn the_visible_tasks_of_a_store_of_version_1_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let page = store(folder.path()).scan(&with_ghosts(), None, 10).unwrap();
    let found: Vec<_> = page
        .tasks
        .iter()
        .map(|t| (t.record.id, t.record.state))
        .collect();
    assert_eq!(found, [(task(1), State::Ready), (task(2), State::Waiting)]);
    assert_eq!(*page.tasks[1].record.options, full());
}

#[test]
fn the_marks_of_a_store_of_version_1_are_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(store(folder.path()).mark("mark").unwrap(), Some(vec![7]));
}

#[test]
fn what_a_store_of_version_1_holds_in_doubt_can_be_published() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert_eq!(store.in_doubt(None, 10).unwrap().len(), 1);
    assert!(matches!(
        store.publish(txn(2), NOW).unwrap(),
        Published::Now(_)
    ));
    assert_eq!(
        store.get(task(3)).unwrap().unwrap().record.state,
        State::Ready
    );
}

#[test]
fn a_store_of_version_1_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        votive::store::Inspect::check(&store(folder.path())).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn the_visible_tasks_of_a_file_store_of_version_1_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = file_store(folder.path());
    let tasks = store.scan(&with_ghosts(), None, 10).unwrap().tasks;
    let found: Vec<_> = tasks
        .iter()
        .map(|t| (t.record.id, t.record.state))
        .collect();
    assert_eq!(found, [(task(1), State::Ready), (task(2), State::Waiting)]);
    assert_eq!(*tasks[1].record.options, full());
    assert_eq!(store.mark("mark").unwrap(), Some(vec![7]));
}

#[test]
fn what_a_file_store_of_version_1_holds_in_doubt_can_be_published() {
    let folder = tempfile::tempdir().unwrap();
    let store = file_store(folder.path());
    assert_eq!(store.in_doubt(None, 10).unwrap().len(), 1);
    let published = store.publish(txn(2), NOW).unwrap();
    assert!(matches!(published, Published::Now(_)));
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}
