//! A process that dies at any of its durable steps leaves rows and tasks that agree once somebody has
//! recovered: the same transactions in every database and in the queue, none twice.
#![cfg(test)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::after;
use votive::queue::recover_older_than;
use votive::resource::postgres::{Database, Options};
use votive::store::sqlite::{self, SqliteStore};
use votive::txn::TransactionManager;

use crate::fixture::{Tasks, connect, fixture, make_database, note, notes_at};

const URLS: &str = "VOTIVE_TEST_URLS";
const FOLDER: &str = "VOTIVE_TEST_FOLDER";
const SIGABRT: i32 = 6;
/// How often a process comes to a point before it dies there.
const COUNTS: std::ops::RangeInclusive<usize> = 1..=3;

/// Opens one database that decides, or several that promise.
fn open(urls: &[String]) -> Vec<Database> {
    match urls {
        [url] => vec![Database::open(url).unwrap()],
        urls => urls
            .iter()
            .map(|url| Database::preparing(url).unwrap())
            .collect(),
    }
}

fn tasks(folder: &Path) -> Tasks<SqliteStore> {
    let store = SqliteStore::open(folder.join("tasks.db"), sqlite::Options::default());
    Tasks::of(Arc::new(store.unwrap()))
}

/// What the child process does, until it dies; nothing in the parent.
#[test]
fn a_child_process_commits_and_forgets() {
    let (Ok(urls), Ok(folder)) = (std::env::var(URLS), std::env::var(FOLDER)) else {
        return;
    };
    let urls: Vec<String> = urls.split(' ').map(str::to_owned).collect();
    let (databases, tasks) = (open(&urls), tasks(Path::new(&folder)));
    let manager = TransactionManager::new();
    for text in ["one", "two", "three"] {
        let mut txn = manager.begin().unwrap();
        for database in &databases {
            note(database, &mut txn, text).unwrap();
        }
        tasks.enqueue(&mut txn, text);
        txn.commit().unwrap();
        recover_older_than(&tasks.shared(), &manager, Duration::ZERO).unwrap();
    }
}

/// Has a child die at a point; returns whether it came there often enough.
fn dies(urls: &[String], folder: &Path, point: &str, count: usize) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::a_child_process_commits_and_forgets", "--exact"])
        .env(URLS, urls.join(" "))
        .env(FOLDER, folder)
        .env("VOTIVE_FAILPOINT", format!("{point}:{count}"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(
        child.success() || child.signal() == Some(SIGABRT),
        "{child}"
    );
    !child.success()
}

/// Recovers as another process would, until nothing is in doubt: the server takes a moment to notice that
/// the dead one's connections are gone.
fn recover(urls: &[String], tasks: &Tasks<SqliteStore>) {
    let manager = TransactionManager::new();
    for database in open(urls) {
        database.introduce(manager.registers());
    }
    let late = after(Duration::from_secs(120));
    loop {
        let recovered = recover_older_than(&tasks.shared(), &manager, Duration::ZERO).unwrap();
        if recovered.in_doubt + recovered.databases.in_doubt == 0 {
            return;
        }
        assert!(late.try_recv().is_err(), "{recovered:?}");
    }
}

fn check(urls: &[String], tasks: &Tasks<SqliteStore>, point: &str) {
    recover(urls, tasks);
    let mut texts = tasks.texts();
    texts.sort();
    for url in urls {
        let mut notes = notes_at(url);
        notes.sort();
        assert_eq!(notes, texts, "{point}");
        let held = "SELECT 1 FROM pg_prepared_xacts WHERE database = current_database()";
        assert!(connect(url).query(held, &[]).unwrap().is_empty(), "{point}");
    }
}

fn crash_at(points: &[&str], urls: &[String], folder: &Path) {
    for point in points {
        for count in COUNTS {
            let is_dead = dies(urls, folder, point, count);
            assert!(is_dead || count > 1, "nobody comes to {point}");
            check(urls, &tasks(folder), point);
        }
    }
}

#[test]
fn a_database_that_decides_and_its_queue_agree_after_any_crash() {
    let Some(fixture) = fixture() else { return };
    Database::migrate(&fixture.url(), Options::default()).unwrap();
    let points = [
        "postgres_resource.commit.before_commit",
        "postgres_resource.commit.after_commit",
        "postgres_resource.decide.before_commit",
        "postgres_resource.decide.after_commit",
        "postgres_resource.forget.before_commit",
        "postgres_resource.forget.after_commit",
    ];
    crash_at(&points, &[fixture.url()], fixture.folder.path());
}

#[test]
fn databases_that_promise_and_the_queue_that_decides_agree_after_any_crash() {
    let Some(fixture) = fixture() else { return };
    let second = fixture.server.url_of(&make_database(fixture.server));
    let points = [
        "postgres_resource.prepare.before_commit",
        "postgres_resource.prepare.after_commit",
        "sqlite.stage.before_commit",
        "sqlite.stage.after_commit",
        "sqlite.decide.before_commit",
        "sqlite.decide.after_commit",
        "postgres_resource.finish.before_commit",
        "postgres_resource.finish.after_commit",
        "sqlite.publish.before_commit",
        "sqlite.publish.after_commit",
    ];
    crash_at(&points, &[fixture.url(), second], fixture.folder.path());
}
