//! What is known of a commit whose answer was lost or late, and what becomes of a full disk.
#![cfg(test)]

use std::process::Command;
use std::time::Duration;

use votive::id::ResourceId;
use votive::register::{Decision, Register};
use votive::store::postgres::PostgresStore;
use votive::store::{Batch, Inspect, Kind, Stage};
use votive::task::{Options, Record};
use votive_testbed::{Fault, Proxy};

use crate::fixture::{Process, SERVER, insert, options, record, schema};

/// A store behind a proxy, and the same store without one.
struct Behind {
    proxy: Proxy,
    store: PostgresStore,
    straight: PostgresStore,
}

fn behind() -> Option<Behind> {
    let server = SERVER.as_ref()?;
    let schema = schema();
    let proxy = Proxy::start(server.address()).unwrap();
    let url = server.url_at(proxy.address(), "postgres");
    let options = options(&schema).answer_timeout(Duration::from_secs(2));
    Some(Behind {
        store: PostgresStore::open(&url, options.clone()).unwrap(),
        straight: PostgresStore::open(&server.url(), options).unwrap(),
        proxy,
    })
}

/// A commit that tells those who wait, as an apply does and the prolonging of a lease does not.
const COMMIT: &[u8] = b"COMMIT\0B";

/// A task that has to be judged, so that its batch is not sent in one piece with the commit.
fn grouped(store: &PostgresStore) -> Record {
    let options = Options {
        group: Some("group".to_owned()),
        ..Options::default()
    };
    record(store).with_options(options)
}

/// Applies one such task while `fault` happens; returns the refusal, what the register says, and how many tasks
/// are visible.
fn apply_while(fault: Fault) -> Option<(Kind, Option<Decision>, usize)> {
    apply_task_while(fault, grouped)
}

fn apply_task_while(
    fault: Fault,
    task: fn(&PostgresStore) -> Record,
) -> Option<(Kind, Option<Decision>, usize)> {
    let Behind {
        proxy,
        store,
        straight,
    } = behind()?;
    let mut process = Process::new(&store);
    process.enqueue(1);
    proxy.arm(fault);
    let txn = process.txn();
    let batch = Batch::new(vec![insert(task(&store))]);
    let refused = store.apply(txn, &batch, &[], store.now().unwrap());
    assert_eq!(proxy.triggered(), 1);
    let answer = straight.decide(txn, Decision::Aborted, &[]).unwrap();
    let tasks = straight.scan(&votive::store::Filter::default(), None, 10);
    let count = tasks.unwrap().tasks.len() - 1;
    Some((refused.unwrap_err().kind, answer.as_owner(), count))
}

#[test]
fn a_commit_whose_answer_is_lost_is_known_to_the_register() {
    let Some(seen) = apply_while(Fault::CutAnswer(COMMIT.to_vec())) else {
        return;
    };
    assert_eq!(seen, (Kind::Unknown, Some(Decision::Committed), 1));
}

#[test]
fn a_commit_that_never_arrived_is_known_to_the_register() {
    let Some(seen) = apply_while(Fault::CutBefore(COMMIT.to_vec())) else {
        return;
    };
    assert_eq!(seen, (Kind::Unknown, Some(Decision::Aborted), 0));
}

#[test]
fn a_commit_whose_answer_is_late_is_known_to_the_register() {
    let late = Duration::from_secs(20);
    let Some(seen) = apply_while(Fault::DelayAnswer(COMMIT.to_vec(), late)) else {
        return;
    };
    assert_eq!(seen, (Kind::Unknown, Some(Decision::Committed), 1));
}

#[test]
fn a_batch_in_one_piece_with_its_commit_is_visible_if_the_register_says_so() {
    let payload = vec![7; 100];
    for fault in [
        Fault::CutBefore(payload.clone()),
        Fault::CutAnswer(payload.clone()),
        Fault::DelayAnswer(payload, Duration::from_secs(20)),
    ] {
        let Some((kind, decision, count)) = apply_task_while(fault, record) else {
            return;
        };
        assert_eq!(kind, Kind::Unknown);
        assert_eq!(count, usize::from(decision == Some(Decision::Committed)));
    }
}

#[test]
fn a_connection_that_is_lost_before_the_commit_was_sent_changed_nothing() {
    let Some(behind) = behind() else { return };
    let mut process = Process::new(&behind.store);
    process.enqueue(1);
    // Which is written step by step, so that the outcome is sent long before the commit.
    let (txn, batch) = (
        process.txn(),
        Batch::new(vec![insert(grouped(&behind.store))]),
    );
    let outcome = txn.to_bytes().to_vec();
    behind.proxy.arm(Fault::CutBefore(outcome));
    let now = behind.store.now().unwrap();
    let refused = behind.store.apply(txn, &batch, &[], now).unwrap_err();
    assert!(
        refused.is_definite() && refused.is_retryable(),
        "{refused:?}"
    );
    process.enqueue(1);
    let tasks = behind
        .straight
        .scan(&votive::store::Filter::default(), None, 10);
    assert_eq!(tasks.unwrap().tasks.len(), 2);
}

#[test]
fn a_connection_that_was_cut_while_nobody_used_it_is_replaced() {
    let Some(behind) = behind() else { return };
    let mut process = Process::new(&behind.store);
    process.enqueue(1);
    behind.proxy.cut();
    process.enqueue(1);
    let filter = votive::store::Filter::default();
    let tasks = behind.straight.scan(&filter, None, 10).unwrap();
    assert_eq!(tasks.tasks.len(), 2);
}

#[test]
fn a_connection_is_not_used_again_after_its_answer_was_late() {
    let Some(behind) = behind() else { return };
    let late = Duration::from_secs(20);
    behind
        .proxy
        .arm(Fault::DelayAnswer(b"queue".to_vec(), late));
    let overdue = behind.store.stats();
    assert_eq!(overdue.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(behind.store.mark("none").unwrap(), None);
}

/// A file system of its own of a few megabytes, for the data of one schema.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=0777", "tmpfs"])
            .arg(&folder)
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: only root may mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn a_full_disk_is_a_definite_refusal() {
    let Some(server) = &*SERVER else { return };
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut client = server.client().unwrap();
    let schema = schema();
    let owned = disk.0.join("space");
    std::fs::create_dir(&owned).unwrap();
    Command::new("chown")
        .arg("postgres")
        .arg(&owned)
        .output()
        .unwrap();
    let space = format!("CREATE TABLESPACE {schema} LOCATION '{}'", owned.display());
    client.batch_execute(&space).unwrap();
    let store = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let moved = format!("ALTER TABLE {schema}.staged SET TABLESPACE {schema}");
    client.batch_execute(&moved).unwrap();
    let mut process = Process::new(&store);
    let mut staged = 0;
    let full = loop {
        let mut record = record(&store);
        // Random bytes, since others are compressed.
        let noise = (0..20_000).flat_map(|_| ResourceId::random().to_bytes());
        record.payload.bytes = noise.collect::<Vec<_>>().into();
        let batch = Batch::new(vec![insert(record)]);
        let txn = process.txn();
        match store.stage(txn, store.id(), &batch, store.now().unwrap()) {
            Ok(()) => staged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind, Kind::Full);
    assert_eq!(store.in_doubt(None, 1_000).unwrap().len(), staged);
    drop(store);
    for place in ["SCHEMA", "TABLESPACE"] {
        let cascade = if place == "SCHEMA" { "CASCADE" } else { "" };
        client
            .batch_execute(&format!("DROP {place} {schema} {cascade}"))
            .unwrap();
    }
}
