//! Tasks on disk, with effects in an application's database: in the same file and in another.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use votive::Task;
use votive::resource::rusqlite::Database;
use votive::store::sqlite::{Options, SqliteStore};
use votive::task::{self, State};
use votive::txn::Retryable;

use crate::world::{Step, World, steps, until};

const TASKS: u32 = 40;

/// A folder with a queue's file and an application's, which may be the same.
struct Disk {
    world: World,
    store: Arc<SqliteStore>,
    application: Database,
    _folder: TempDir,
}

impl Disk {
    fn new(make: impl FnOnce(&Arc<SqliteStore>, &TempDir) -> Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.db");
        let store = Arc::new(SqliteStore::open(path, Options::default()).unwrap());
        let application = make(&store, &folder);
        let world = World::of(Arc::clone(&store) as _);
        let mut txn = world.manager.begin().unwrap();
        let session = application.join(&mut txn).unwrap();
        session
            .execute_batch("CREATE TABLE effect (number INTEGER)")
            .unwrap();
        txn.commit().unwrap();
        Self {
            world,
            store,
            application,
            _folder: folder,
        }
    }

    fn same_file() -> Self {
        Self::new(|store, _| Database::sharing(Arc::clone(store)).unwrap())
    }

    fn other_file() -> Self {
        Self::new(|_, folder| {
            let path = folder.path().join("application.db");
            Database::migrate(&path).unwrap();
            Database::open(path).unwrap()
        })
    }

    /// Runs all tasks, each of which has one effect and meets a conflict the first time.
    fn run_all(&self) {
        for number in 0..TASKS {
            self.world.enqueue(number);
        }
        let application = self.application.clone();
        let handler = steps(move |step, context| {
            let session = application.join(context.work())?;
            session.execute("INSERT INTO effect VALUES (?1)", [step.number])?;
            match context.attempt().conflict_count {
                0 => Err(Retryable("somebody was faster".into()).into()),
                _ => Ok(()),
            }
        });
        let running = self
            .world
            .consumer(handler)
            .concurrent_limit(4)
            .start()
            .unwrap();
        until(|| running.stats().done == u64::from(TASKS));
        assert!(running.stop().is_clean());
    }

    /// Returns how many effects there are, and of how many tasks.
    fn effects(&self) -> (u32, u32) {
        let mut txn = self.world.manager.begin().unwrap();
        let session = self.application.join(&mut txn).unwrap();
        let count = "SELECT count(*), count(DISTINCT number) FROM effect";
        let row = session.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)));
        row.unwrap()
    }
}

#[test]
fn every_task_has_its_effect_once_in_the_same_file() {
    let disk = Disk::same_file();
    disk.run_all();
    assert_eq!(disk.effects(), (TASKS, TASKS));
}

#[test]
fn every_task_has_its_effect_once_in_another_file() {
    let disk = Disk::other_file();
    disk.run_all();
    assert_eq!(disk.effects(), (TASKS, TASKS));
}

#[test]
fn tasks_without_an_effect_share_their_durable_writes() {
    let disk = Disk::same_file();
    let queue = &disk.world.queue;
    let mut txn = disk.world.manager.begin().unwrap();
    for number in 0..500 {
        queue.enqueue(&mut txn, &Step { number }).unwrap();
    }
    txn.commit().unwrap();
    let before = disk.store.commit_count();
    let consumer = disk.world.consumer(steps(|_, _| Ok(())));
    let running = consumer.concurrent_limit(4).start().unwrap();
    until(|| running.stats().done == 500);
    let commits = disk.store.commit_count() - before;
    assert!(commits < 250, "{commits} commits for 500 tasks");
}

#[test]
fn a_timeout_interrupts_the_query_that_a_handler_waits_for() {
    let disk = Disk::same_file();
    let timeout = Some(Duration::from_millis(20));
    let options = task::Options {
        timeout,
        ..Step::options()
    };
    let task = disk.world.enqueue_with(1, options);
    let application = disk.application.clone();
    let handler = steps(move |_, context| {
        let session = application.join(context.work())?;
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT max(i) FROM n";
        Ok(session.query_row(endless, [], |_| Ok(()))?)
    });
    let running = disk.world.consumer(handler).start().unwrap();
    disk.world.reaches(task, State::Dead);
    assert_eq!(running.stop().stats.abandoned, 0);
}
