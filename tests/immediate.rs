//! Immediate mode: what commits has run when `commit` returns, on the thread that committed.
#![cfg(test)]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use votive::consumer::{Immediate, StartError};
use votive::queue::Rate;
use votive::store::memory::MemoryStore;
use votive::task::{Options, RetryPolicy, State};
use votive::time::{ManualClock, Timestamp};
use votive::txn::{BoxError, Retryable, Work};
use votive::{Consumer, Context, Queues, Registry, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Note(String);

impl Task for Note {
    const KIND: &'static str = "note";
    const QUEUE: &'static str = "notes";

    fn options() -> Options {
        Options {
            retry: RetryPolicy {
                attempts_max: 2,
                ..RetryPolicy::default()
            },
            retention: Some(Duration::from_secs(60)),
            ..Options::default()
        }
    }
}

/// A store whose tasks run immediately, by one handler.
struct World {
    manager: TransactionManager,
    queues: Queues,
    clock: ManualClock,
    immediate: Immediate,
}

fn world<E: Into<BoxError>>(
    handler: impl Fn(Note, &mut Context<'_>) -> Result<(), E> + Send + Sync + 'static,
) -> World {
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
    let store = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
    let (manager, queues) = (TransactionManager::new(), Queues::new(store));
    let mut registry = Registry::new();
    registry.register(handler).unwrap();
    let immediate = Consumer::builder(Arc::clone(queues.store()), registry)
        .manager(manager.clone())
        .retry_max_count(3)
        .immediate()
        .unwrap();
    World {
        manager,
        queues,
        clock,
        immediate,
    }
}

impl World {
    /// Commits a note.
    fn note(&self, text: &str) {
        self.manager.run(1, |txn| self.enqueue(txn, text)).unwrap();
    }

    fn enqueue(&self, work: &mut Work, text: &str) -> Result<(), BoxError> {
        self.queues.enqueue(work, &Note(text.to_owned()))?;
        Ok(())
    }

    /// How many tasks are kept in this state.
    fn count(&self, state: State) -> u64 {
        let queues = self.queues.store().stats().unwrap().queues;
        let counts = queues.into_iter().flat_map(|queue| queue.counts);
        counts
            .filter(|(of, _)| *of == state)
            .map(|(_, count)| count)
            .sum()
    }
}

/// What handlers did, in order.
type Log = Arc<Mutex<Vec<(String, ThreadId)>>>;

fn texts(log: &Log) -> Vec<String> {
    log.lock().iter().map(|(text, _)| text.clone()).collect()
}

/// A world whose tasks are noted in a log.
fn logging(log: &Log) -> World {
    let write = Arc::clone(log);
    world(move |note: Note, _: &mut Context<'_>| {
        write.lock().push((note.0, thread::current().id()));
        Ok::<_, io::Error>(())
    })
}

#[test]
fn a_task_has_run_on_the_thread_of_the_commit_when_that_returns() {
    let log = Log::default();
    let world = logging(&log);
    world.note("a");
    assert_eq!(*log.lock(), [("a".to_owned(), thread::current().id())]);
    assert_eq!(
        (world.count(State::Done), world.immediate.stats().done),
        (1, 1)
    );
}

#[test]
fn nothing_runs_before_the_decision_and_nothing_after_an_abort() {
    let log = Log::default();
    let world = logging(&log);
    let mut txn = world.manager.begin().unwrap();
    world.enqueue(&mut txn, "a").unwrap();
    assert!(log.lock().is_empty());
    txn.abort().unwrap();
    world.note("b");
    assert_eq!(texts(&log), ["b"]);
}

#[test]
fn what_a_task_enqueues_has_run_as_well() {
    let log = Log::default();
    let write = Arc::clone(&log);
    let world = world(move |note: Note, context: &mut Context<'_>| {
        write.lock().push((note.0.clone(), thread::current().id()));
        if note.0.len() < 3 {
            context.enqueue(&Note(format!("{}a", note.0)))?;
        }
        Ok::<_, BoxError>(())
    });
    world.note("a");
    assert_eq!(texts(&log), ["a", "aa", "aaa"]);
    assert_eq!(world.count(State::Done), 3);
}

#[test]
fn a_conflict_is_run_again_at_once_and_is_no_attempt() {
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    let world =
        world(
            move |_: Note, _: &mut Context<'_>| match count.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(Retryable("somebody was faster".into())),
                _ => Ok(()),
            },
        );
    world.note("a");
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    assert_eq!(world.immediate.stats().conflicts, 3);
    assert_eq!(
        (world.count(State::Done), world.immediate.take_failed()),
        (1, Vec::new())
    );
}

#[test]
fn more_conflicts_than_retry_max_count_are_a_failed_attempt() {
    let world = world(|_: Note, _: &mut Context<'_>| Err::<(), _>(Retryable("always".into())));
    world.note("a");
    let failed = world.immediate.take_failed();
    assert_eq!(failed[0].chain[0], "more than 3 conflicts");
    assert_eq!(world.immediate.stats().conflicts, 4);
}

#[test]
fn a_failure_is_reported_and_tried_again_when_its_delay_has_passed() {
    let world = world(|note: Note, _: &mut Context<'_>| Err::<(), _>(io::Error::other(note.0)));
    world.note("a");
    let failed = world.immediate.take_failed();
    assert_eq!(
        (failed.len(), &*failed[0].kind, failed[0].chain.join("")),
        (1, "note", "a".to_owned())
    );
    assert_eq!(world.immediate.run_ready().unwrap(), 0);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.immediate.run_ready().unwrap(), 1);
    assert_eq!(
        (
            world.immediate.take_failed().len(),
            world.count(State::Dead)
        ),
        (1, 1)
    );
}

#[test]
fn a_panic_is_reported_and_the_commit_returns() {
    let world =
        world(|note: Note, _: &mut Context<'_>| -> Result<(), io::Error> { panic!("{}", note.0) });
    world.note("a");
    assert_eq!(world.immediate.take_failed()[0].chain, ["panicked: a"]);
}

#[test]
fn a_kind_that_nobody_handles_is_reported() {
    let world = world(|_: Note, _: &mut Context<'_>| Ok::<_, io::Error>(()));
    let queue = world.queues.queue("default").unwrap();
    let payload =
        votive::task::Payload::from_json("{}", 0, votive::task::PayloadLimits::default()).unwrap();
    let unknown = |work: &mut votive::Transaction| {
        queue.enqueue_payload(work, "fax", payload.clone(), Options::default())
    };
    world.manager.run(1, unknown).unwrap();
    let failed = world.immediate.take_failed();
    assert_eq!(failed[0].chain, ["nobody handles this kind of task"]);
}

#[test]
fn a_task_that_enqueues_itself_comes_to_an_end() {
    let world = world(|note: Note, context: &mut Context<'_>| context.enqueue(&note).map(drop));
    world.note("a");
    let ran = world.immediate.stats().done;
    assert!((10_000..11_000).contains(&ran), "{ran}");
    assert!(world.immediate.run_ready().is_err());
}

#[test]
fn a_paused_queue_is_left_alone_until_it_is_resumed() {
    let log = Log::default();
    let world = logging(&log);
    let queue = world.queues.queue("notes").unwrap();
    queue.pause(&world.manager, "moving house").unwrap();
    world.note("a");
    assert_eq!(world.immediate.run_ready().unwrap(), 0);
    assert_eq!((texts(&log).len(), world.count(State::Ready)), (0, 1));
    queue.resume(&world.manager).unwrap();
    assert_eq!(world.immediate.run_ready().unwrap(), 1);
    assert_eq!(texts(&log), ["a"]);
}

#[test]
fn no_more_tasks_start_than_the_rate_of_their_queue_allows() {
    let log = Log::default();
    let world = logging(&log);
    let queue = world.queues.queue("notes").unwrap();
    let rate = Rate::new(1, Duration::from_secs(60)).burst(2);
    let set = queue.change_settings(&world.manager, |settings| settings.rate = Some(rate));
    set.unwrap();
    for text in ["a", "b", "c"] {
        world.note(text);
    }
    assert_eq!(texts(&log), ["a", "b"]);
    world.clock.advance(Duration::from_secs(60));
    world.immediate.run_ready().unwrap();
    assert_eq!(texts(&log), ["a", "b", "c"]);
    assert!(world.immediate.take_failed().is_empty());
}

#[test]
fn whoever_drops_it_ends_the_mode() {
    let mut world = world(|_: Note, _: &mut Context<'_>| Ok::<_, io::Error>(()));
    let other = Consumer::builder(Arc::clone(world.queues.store()), Registry::new())
        .queue("elsewhere")
        .manager(world.manager.clone())
        .immediate()
        .unwrap();
    drop(std::mem::replace(&mut world.immediate, other));
    world.note("a");
    assert_eq!(world.count(State::Ready), 1);
}

#[test]
fn threads_that_commit_at_once_leave_nothing_to_run() {
    let world = world(|_: Note, _: &mut Context<'_>| Ok::<_, io::Error>(()));
    let start = Barrier::new(4);
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                start.wait();
                (0..20).for_each(|_| world.note("a"));
            });
        }
    });
    assert_eq!(
        (world.count(State::Done), world.immediate.take_failed()),
        (80, Vec::new())
    );
}

#[test]
fn the_mode_needs_the_manager_whose_commits_it_follows() {
    let store = votive::open("memory://").unwrap();
    let error = Consumer::builder(store, Registry::new())
        .immediate()
        .unwrap_err();
    assert!(matches!(error, StartError::Invalid(_)));
}

#[test]
fn a_task_works_in_the_applications_database_as_under_a_consumer() {
    use votive::resource::rusqlite::Database;
    use votive::store::Store;
    use votive::store::sqlite::{self, SqliteStore};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let store = Arc::new(SqliteStore::open(&path, sqlite::Options::default()).unwrap());
    let database = Arc::new(Database::sharing(Arc::clone(&store)).unwrap());
    let store: Arc<dyn Store> = store;
    let (manager, queues) = (TransactionManager::new(), Queues::new(Arc::clone(&store)));
    manager
        .run(1, |txn| -> Result<(), BoxError> {
            let session = database.join(txn)?;
            session.execute("CREATE TABLE note (text TEXT)", [])?;
            Ok(())
        })
        .unwrap();
    let (mut registry, theirs) = (Registry::new(), Arc::clone(&database));
    let write = move |note: Note, context: &mut Context<'_>| -> Result<(), BoxError> {
        theirs
            .join(context.work())?
            .execute("INSERT INTO note VALUES (?1)", [note.0])?;
        Ok(())
    };
    registry.register(write).unwrap();
    let builder = Consumer::builder(store, registry).manager(manager.clone());
    let immediate = builder.immediate().unwrap();
    let count = |sql: &str| {
        manager
            .run(1, |txn| -> Result<i64, BoxError> {
                Ok(database.join(txn)?.query_row(sql, [], |row| row.get(0))?)
            })
            .unwrap()
            .0
    };
    manager
        .run(1, |txn| queues.enqueue(txn, &Note("a".into())))
        .unwrap();
    assert_eq!(immediate.take_failed(), Vec::new());
    assert_eq!(count("SELECT count(*) FROM note WHERE text = 'a'"), 1);
}
