//! A disk that is full while producers and consumers work: nothing that was acknowledged is lost, nothing that was
//! refused is there, and all goes on when there is room again.
#![cfg(test)]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use serde::{Deserialize, Serialize};
use votive::consumer::Running;
use votive::store::{self, Kind};
use votive::txn::CommitError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};
use votive_testbed::disk::SmallDisk;
use votive_testbed::{Postgres, or_skip, postgres};

const MEGABYTE: u64 = 1 << 20;

/// What is left on the disk once it is full but for some tasks.
const LEFT: u64 = 400_000;

/// More than fit in what is left.
const TASKS: u32 = 200;

/// What no task takes as long as, however busy the machine is.
const LONG: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Large {
    number: u32,
    ballast: String,
}

impl Task for Large {
    const KIND: &'static str = "large";
}

/// Who enqueues, and what he was told.
struct Producer {
    queue: Queue,
    manager: TransactionManager,
    acknowledged: BTreeSet<u32>,
    /// What may or may not have been committed.
    undecided: BTreeSet<u32>,
    refused: Vec<Kind>,
}

impl Producer {
    fn new(url: &str) -> Self {
        Self {
            queue: Queue::new(votive::open(url).unwrap(), "default").unwrap(),
            manager: TransactionManager::new(),
            acknowledged: BTreeSet::new(),
            undecided: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    fn produce(&mut self, number: u32) {
        match self.commit(number) {
            Ok(()) => assert!(self.acknowledged.insert(number)),
            Err(error) if is_undecided(&*error) => assert!(self.undecided.insert(number)),
            Err(error) => self.refused.push(kind(&*error)),
        }
    }

    fn commit(&self, number: u32) -> Result<(), Box<dyn Error>> {
        let mut txn = self.manager.begin()?;
        // Letters that do not repeat, lest a server makes them small.
        let letters =
            (0..20_000_u32).map(|at| at.wrapping_mul(at ^ number).wrapping_mul(2_654_435_761));
        let ballast = letters
            .map(|letter| char::from(b'0' + (letter >> 26) as u8))
            .collect();
        self.queue.enqueue(&mut txn, &Large { number, ballast })?;
        txn.commit()?;
        Ok(())
    }
}

fn is_undecided(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref();
    matches!(error, Some(CommitError::Undecided { .. }))
}

/// What the store said that refused.
fn kind(error: &(dyn Error + 'static)) -> Kind {
    let found = store::Error::among(error).expect("an error of the store");
    assert!(found.is_definite(), "{found:?}");
    found.kind.clone()
}

fn consume(url: &str) -> (Running, Receiver<u32>) {
    let (ran, runs) = unbounded();
    let mut registry = Registry::new();
    registry
        .register(move |task: Large, _: &mut Context<'_>| ran.send(task.number))
        .unwrap();
    let store = votive::open(url).unwrap();
    (Consumer::builder(store, registry).start().unwrap(), runs)
}

/// Has tasks come until the disk is full and for a while longer, gives it room, and has all of them run.
fn survives(url: &str, disk: &SmallDisk) {
    let mut producer = Producer::new(url);
    (0..5).for_each(|number| producer.produce(number));
    assert_eq!(producer.refused, []);
    disk.fill(LEFT).unwrap();
    (5..TASKS).for_each(|number| producer.produce(number));
    let refusals = producer.refused.len();
    assert!(refusals > 10, "the disk was never full");
    assert!(
        producer.refused.iter().all(|kind| *kind == Kind::Full),
        "{:?}",
        producer.refused
    );
    assert_eq!(producer.undecided, BTreeSet::new());
    disk.free().unwrap();
    (TASKS..TASKS + 5).for_each(|number| producer.produce(number));
    assert_eq!(
        producer.refused.len(),
        refusals,
        "{:?}",
        producer.refused.last()
    );
    let (running, runs) = consume(url);
    let ran: Vec<u32> = producer
        .acknowledged
        .iter()
        .map(|_| runs.recv_timeout(LONG).unwrap())
        .collect();
    running.stop();
    assert!(
        runs.is_empty(),
        "a task that was refused, or one for the second time"
    );
    assert_eq!(BTreeSet::from_iter(ran), producer.acknowledged);
    assert_eq!(
        votive::open(url).unwrap().check().unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn sqlite_outlives_a_full_disk() {
    let Some(disk) = or_skip(SmallDisk::mount(16 * MEGABYTE)) else {
        return;
    };
    survives(
        &format!("sqlite://{}/queue.db", disk.path().display()),
        &disk,
    );
}

#[test]
fn a_file_store_outlives_a_full_disk() {
    let Some(disk) = or_skip(SmallDisk::mount(16 * MEGABYTE)) else {
        return;
    };
    survives(&format!("file://{}/queue", disk.path().display()), &disk);
}

#[test]
fn postgres_outlives_a_full_disk() {
    let Some(disk) = or_skip(SmallDisk::mount(48 * MEGABYTE)) else {
        return;
    };
    let Some(server) = or_skip(Postgres::start(postgres::Options::default())) else {
        return;
    };
    // The tables are on the small disk, the log of the server is not: without it no server goes on.
    let folder = disk.path().join("tables");
    std::fs::create_dir(&folder).unwrap();
    server.give(&folder).unwrap();
    let mut client = server.client().unwrap();
    let place = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    client.batch_execute(&place).unwrap();
    client
        .batch_execute("CREATE DATABASE queue TABLESPACE small")
        .unwrap();
    survives(&server.url_of("queue"), &disk);
    client
        .batch_execute("DROP DATABASE queue WITH (FORCE)")
        .unwrap();
    client.batch_execute("DROP TABLESPACE small").unwrap();
}

/// Without room for its log the server ends, perhaps in the middle of a commit of which nobody hears then how it ended.
#[test]
fn postgres_outlives_a_full_disk_under_its_log() {
    /// More than fit in what is left, and in the segments that the server has made ahead.
    const MANY: u32 = 500;
    let Some(disk) = or_skip(SmallDisk::mount(32 * MEGABYTE)) else {
        return;
    };
    let folder = disk.path().join("log");
    std::fs::create_dir(&folder).unwrap();
    let options = postgres::Options::default()
        .log_in(&folder)
        .setting("min_wal_size", "2MB")
        .setting("max_wal_size", "1GB");
    let Some(server) = or_skip(Postgres::start(options)) else {
        return;
    };
    let mut producer = Producer::new(&server.url());
    (0..5).for_each(|number| producer.produce(number));
    assert_eq!(producer.refused, []);
    disk.fill(LEFT).unwrap();
    (5..MANY).for_each(|number| producer.produce(number));
    let said = std::fs::read_to_string(server.log()).unwrap();
    assert!(
        said.contains("PANIC"),
        "the server has room for its log: {said}"
    );
    disk.free().unwrap();
    server.restart().unwrap();
    (MANY..MANY + 5).for_each(|number| producer.produce(number));
    assert!((MANY..MANY + 5).all(|number| producer.acknowledged.contains(&number)));
    ends_as_told(&server.url(), &producer);
}

/// How many tasks are there.
fn visible(url: &str) -> u64 {
    let stats = votive::open(url).unwrap().stats().unwrap();
    let counts = stats.queues.iter().flat_map(|queue| &queue.counts);
    counts.map(|(_, count)| count).sum()
}

/// Has all tasks run: those that were acknowledged once, those that were refused never.
fn ends_as_told(url: &str, producer: &Producer) {
    assert_eq!(producer.manager.settle_undecided(), 0);
    let visible = visible(url);
    let (running, runs) = consume(url);
    let ran: Vec<u32> = (0..visible)
        .map(|_| runs.recv_timeout(LONG).unwrap())
        .collect();
    running.stop();
    assert!(runs.is_empty());
    let once: BTreeSet<u32> = ran.iter().copied().collect();
    assert_eq!(once.len(), ran.len(), "a task ran twice");
    assert!(once.is_superset(&producer.acknowledged));
    let told: BTreeSet<u32> = &producer.acknowledged | &producer.undecided;
    assert!(once.is_subset(&told), "a task ran that was refused");
}
