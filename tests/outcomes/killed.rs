//! A task of many items and a chord, in a process that is killed at one durable step after the other: in
//! the end each item is done once, and so is the last task of the chord.
#![cfg(test)]

use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use votive::handler::{Chunks, Context, Registry};
use votive::id::TaskId;
use votive::queue::{Group, Queue, recover_older_than};
use votive::resource::rusqlite::Database;
use votive::task::State;
use votive::txn::{BoxError, TransactionManager, Work};
use votive::{Consumer, failpoint};
use votive_testbed::{Postgres, Redis, or_skip};

use crate::chunks::Items;
use crate::world::{LONG, Step, options};

const STORE: &str = "VOTIVE_OUTCOMES_STORE";
const FOLDER: &str = "VOTIVE_OUTCOMES_FOLDER";
const SIGABRT: i32 = 6;

/// As many items, of which one chunk fails at first.
const ITEMS: usize = 14;

/// The members of the chord are below, its last task is this one.
const LAST: u32 = 50;

/// How long the dead keep their claims, where only time tells that they are dead.
const LEASE: Duration = Duration::from_millis(500);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS begun (task TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS item (number INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS step (number INTEGER NOT NULL);";

type Result<T> = std::result::Result<T, BoxError>;

fn application(folder: &Path) -> PathBuf {
    folder.join("application.db")
}

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_does_as_it_is_told() {
    let (Ok(store), Ok(folder)) = (std::env::var(STORE), std::env::var(FOLDER)) else {
        return;
    };
    work(&store, Path::new(&folder)).unwrap();
}

/// Recovers, begins if that was not done, and works until all is done.
fn work(store: &str, folder: &Path) -> Result<()> {
    let path = application(folder);
    Database::migrate(&path)?;
    Connection::open(&path)?.execute_batch(TABLES)?;
    let application = Database::open(&path)?;
    let (manager, store) = (TransactionManager::new(), votive::open(store)?);
    manager.registers().insert(Arc::new(application.clone()));
    manager.registers().insert(Arc::clone(&store) as _);
    recover_older_than(&store, &manager, Duration::ZERO)?;
    let queue = Queue::new(Arc::clone(&store), "default")?;
    manager.run(20, |txn| begin(&application, &queue, txn))?;
    let running = Consumer::builder(store, registry(&application)?)
        .manager(manager)
        .queue("default")
        .reclaims_max(u32::MAX)
        .lease(LEASE)
        .start()?;
    let tasks = column(&path, "SELECT task FROM begun ORDER BY rowid")?;
    for task in tasks {
        let ended = queue.handle(task.parse::<TaskId>()?).wait(LONG)?;
        if ended.state != State::Done {
            return Err(format!("{ended:?}").into());
        }
    }
    running.stop();
    Ok(())
}

/// Enqueues all tasks, once.
fn begin(application: &Database, queue: &Queue, work: &mut Work) -> Result<()> {
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM begun", [], |row| row.get::<_, u32>(0))
    };
    if count(application.join(work)?)? > 0 {
        return Ok(());
    }
    let items = queue.enqueue_with(work, &Items(ITEMS), options(5))?;
    let group = (1..=4).fold(Group::new(), |group, number| group.add(&Step(number)));
    let last = group.then(&Step(LAST)).enqueue(queue, work)?.callback;
    for task in [Some(items), last].into_iter().flatten() {
        let insert = "INSERT INTO begun VALUES (?1)";
        application
            .join(work)?
            .execute(insert, [task.to_string()])?;
    }
    Ok(())
}

fn registry(application: &Database) -> Result<Registry> {
    let mut registry = Registry::new();
    let effects = application.clone();
    registry.register(Chunks::new(
        4,
        |task: &Items| task.0,
        move |_: &Items, items: Range<usize>, context: &mut Context<'_>| -> Result<()> {
            for item in items.clone() {
                let session = effects.join(context.work())?;
                session.execute("INSERT INTO item VALUES (?1)", [item])?;
            }
            if items.contains(&6) && items.len() > 1 {
                return Err("item 6 wants to be alone".into());
            }
            Ok(())
        },
    ))?;
    let effects = application.clone();
    registry.register(
        move |step: Step, context: &mut Context<'_>| -> Result<u32> {
            let results = context.prerequisites().map(|task| task.result::<u32>(LONG));
            let sum = step.0 + results.sum::<std::result::Result<u32, _>>()?;
            let session = effects.join(context.work())?;
            session.execute("INSERT INTO step VALUES (?1)", [sum])?;
            Ok(sum)
        },
    )?;
    Ok(registry)
}

fn column(path: &Path, query: &str) -> Result<Vec<String>> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// Whether a child that was told to die there did; it is an error if anything else went wrong.
fn dies(store: &str, folder: &Path, point: Option<(&str, usize)>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "killed::a_child_process_does_as_it_is_told",
            "--exact",
            "--nocapture",
        ])
        .env(STORE, store)
        .env(FOLDER, folder);
    if let Some((point, visit)) = point {
        command.env("VOTIVE_FAILPOINT", format!("{point}:{visit}"));
    }
    let output = command.output().unwrap();
    let is_killed = output.status.signal() == Some(SIGABRT);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(is_killed || output.status.success(), "at {point:?}: {said}");
    is_killed
}

/// Kills a process after the other until one has done all, then looks at what they did together.
fn kill_at(points: &[&str], store: impl Fn(&Path) -> String) {
    let mut kills = 0;
    for visit in [1, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        for point in points {
            kills += usize::from(dies(&store, folder.path(), Some((point, visit))));
        }
        assert!(!dies(&store, folder.path(), None));
        let path = application(folder.path());
        let items = column(
            &path,
            "SELECT CAST(number AS TEXT) FROM item ORDER BY number",
        )
        .unwrap();
        assert_eq!(
            items,
            (0..ITEMS).map(|item| item.to_string()).collect::<Vec<_>>()
        );
        let steps = column(
            &path,
            "SELECT CAST(number AS TEXT) FROM step ORDER BY number",
        )
        .unwrap();
        assert_eq!(steps, ["1", "2", "3", "4", "60"]);
    }
    assert!(kills >= 8, "only {kills} processes died");
}

/// A name that nobody else's store has.
fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_lowercase()
}

/// The points of a store and of the application, without those that only recovery comes to.
fn with_application(points: &[&'static str]) -> Vec<&'static str> {
    let names = ["apply", "claim", "stage", "publish"];
    let is_ours = |point: &&str| names.iter().any(|name| point.contains(name));
    let points = points.iter().copied().filter(|point| is_ours(point));
    points
        .chain([
            "rusqlite.decide.before_commit",
            "rusqlite.decide.after_commit",
        ])
        .collect()
}

#[test]
fn on_sqlite_each_item_is_done_once_and_one_last_task() {
    let points = with_application(failpoint::SQLITE);
    kill_at(&points, |folder| {
        format!("sqlite://{}", folder.join("queue.db").display())
    });
}

#[test]
fn in_a_folder_each_item_is_done_once_and_one_last_task() {
    let points = with_application(failpoint::FILE);
    kill_at(&points, |folder| {
        format!("file://{}", folder.join("queue").display())
    });
}

#[test]
fn on_redis_each_item_is_done_once_and_one_last_task() {
    let points = with_application(failpoint::REDIS);
    let options = votive_testbed::redis::Options::default();
    let Some(server) = or_skip(Redis::start(options)) else {
        return;
    };
    kill_at(&points, |folder| {
        format!("{}?name={}", server.url(), name_of(folder))
    });
}

#[test]
fn on_postgres_each_item_is_done_once_and_one_last_task() {
    let points = with_application(failpoint::POSTGRES);
    let options = votive_testbed::postgres::Options::default();
    let Some(server) = or_skip(Postgres::start(options)) else {
        return;
    };
    kill_at(&points, |folder| {
        server.create_database(&name_of(folder)).unwrap()
    });
}
