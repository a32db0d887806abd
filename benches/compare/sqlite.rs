//! SQLite, where queue and application share a file or have one each.

use std::path::Path;
use std::sync::Arc;

use votive::queue::Queue;
use votive::resource::rusqlite::Database;
use votive::store::Store;
use votive::store::sqlite::{Options, SqliteStore};
use votive::txn::TransactionManager;
use votive_report::Goal::{ExtraFlushes, Flushes, Ratio};
use votive_report::{Sample, Work};

use crate::bed::Bed;
use crate::job::Job;
use crate::limited;
use crate::own::{self, Timed};
use crate::setting::{Noop, Result, Setting, preload};
use crate::sqlite_raw::{self as raw, APP, Prepared, ROW, Tables, connect};
use crate::{signals, weight};

const FILE: &str = "queue.db";

const BED: Bed = Bed {
    store: "sqlite",
    place: |setting| {
        let file = setting.fresh()?.join(FILE);
        Ok(format!("sqlite://{}", file.display()))
    },
    trips: || Ok(None),
    waits: true,
};

/// Opens a store in `folder`.
pub(crate) fn store(folder: &Path) -> Result<Arc<SqliteStore>> {
    let store = SqliteStore::open(folder.join(FILE), Options::default())?;
    Ok(Arc::new(store))
}

/// What is measured.
pub(crate) fn jobs() -> Vec<Job> {
    let mut jobs = enqueueing();
    jobs.extend(draining());
    jobs.push(
        BED.latency("a row committed, and the log watched", |setting| {
            signals::sqlite(&setting.fresh()?.join(FILE), setting.timed)
        }),
    );
    jobs.extend(BED.limited(limited::MILLION));
    jobs.extend(
        BED.backlogs("claim one, commit; remove it, commit", |setting| {
            let (filled, count) = (setting.backlogs.0, setting.claims());
            on_tables(setting, filled, count, |tables| {
                raw::drain_singly(&tables, count)
            })
        }),
    );
    jobs.push(BED.idle());
    jobs.push(
        BED.describe(
            Work::W7,
            "application in another SQLite file",
            "the application's commit alone",
        )
        .fresh(application_alone, prepared),
    );
    jobs.push(BED.describe(Work::W8, "on disk", "").alone(weigh));
    jobs
}

fn enqueueing() -> Vec<Job> {
    vec![
        BED.describe(
            Work::W1,
            "enlisted",
            "application row + task row in one transaction",
        )
        .fresh(raw_enlisted, enlisted)
        .reach([ExtraFlushes(0.01), Ratio(0.95)]),
        BED.describe(
            Work::W1,
            "prepared",
            "stage; application row + outcome row; publish",
        )
        .fresh(raw_prepared, prepared)
        .reach([Flushes(2.05), Ratio(0.85)]),
        BED.lone("task row in one transaction", |setting| {
            raw_batches(setting, setting.transactions, 1)
        }),
        BED.producers("one writer that commits all that wait", |setting| {
            let count = setting.shared;
            on_tables(setting, 0, count, |tables| {
                raw::group_commit(tables, 16, count)
            })
        })
        .reach([Flushes(0.15), Ratio(0.8)]),
        BED.hundreds("100 task rows in one transaction", |setting| {
            raw_batches(setting, setting.tasks, 100)
        })
        .reach([Ratio(0.7)]),
    ]
}

fn draining() -> Vec<Job> {
    let with_rows = "claim 100; for each, application row and removal in one transaction";
    vec![
        BED.drain(1, DRAINED, raw_drain),
        BED.drain(4, DRAINED, raw_drain)
            .reach([Flushes(0.02), Ratio(0.6)]),
        BED.describe(Work::W3, "4 workers, with an application write", with_rows)
            .fresh(raw_drain_with_rows, drain_with_rows)
            .reach([ExtraFlushes(0.01), Ratio(0.85)]),
    ]
}

const DRAINED: &str = "claim 100, remove each, one commit";

/// Times a raw loop on tables that have `filled` tasks.
fn on_tables(
    setting: &Setting,
    filled: u64,
    count: u64,
    work: impl FnOnce(Tables) -> Result<()>,
) -> Result<Sample> {
    let mut tables = Tables::new(&setting.fresh()?)?;
    tables.fill(filled)?;
    setting.measure(count, || work(tables))
}

fn raw_batches(setting: &Setting, count: u64, size: u64) -> Result<Sample> {
    on_tables(setting, 0, count, |mut tables| {
        raw::batches(&mut tables, count, size)
    })
}

fn raw_enlisted(setting: &Setting) -> Result<Sample> {
    let count = setting.transactions;
    on_tables(setting, 0, count, |mut tables| {
        raw::enlisted(&mut tables, count)
    })
}

/// One transaction of the application's own connection that inserts its row and enqueues a task.
fn enlisted(setting: &Setting) -> Result<Sample> {
    let (folder, count) = (setting.fresh()?, setting.transactions);
    let queue = Queue::new(store(&folder)? as Arc<dyn Store>, "default")?;
    let connection = connect(&folder.join(FILE))?;
    connection.execute_batch(APP)?;
    setting.measure(count, || {
        for _ in 0..count {
            raw::run(&connection, "BEGIN IMMEDIATE")?;
            raw::run(&connection, ROW)?;
            queue.enlist(&connection)?.enqueue(&Noop::new())?;
            raw::run(&connection, "COMMIT")?;
        }
        Ok(())
    })
}

fn raw_prepared(setting: &Setting) -> Result<Sample> {
    let mut rows = Prepared::new(&setting.fresh()?)?;
    setting.measure(setting.transactions, || rows.run(setting.transactions))
}

/// The queue in one file, the application in another: two-phase commit.
fn prepared(setting: &Setting) -> Result<Sample> {
    let (folder, count) = (setting.fresh()?, setting.transactions);
    let file = folder.join("application.db");
    Database::migrate(&file)?;
    connect(&file)?.execute_batch(APP)?;
    let database = Database::open(&file)?;
    let queue = Queue::new(store(&folder)? as Arc<dyn Store>, "default")?;
    let manager = TransactionManager::new();
    setting.measure(count, || {
        for _ in 0..count {
            let mut txn = manager.begin()?;
            database.join(&mut txn)?.prepare_cached(ROW)?.execute([])?;
            queue.enqueue(&mut txn, &Noop::new())?;
            txn.commit()?;
        }
        Ok(())
    })
}

fn application_alone(setting: &Setting) -> Result<Sample> {
    let connection = connect(&setting.fresh()?.join("application.db"))?;
    connection.execute_batch(APP)?;
    setting.measure(setting.transactions, || {
        (0..setting.transactions).try_for_each(|_| {
            raw::run(&connection, "BEGIN IMMEDIATE")?;
            raw::run(&connection, ROW)?;
            raw::run(&connection, "COMMIT")
        })
    })
}

fn raw_drain(setting: &Setting) -> Result<Sample> {
    let count = setting.tasks;
    on_tables(setting, count, count, |tables| raw::drain(&tables, count))
}

fn raw_drain_with_rows(setting: &Setting) -> Result<Sample> {
    let count = setting.transactions;
    on_tables(setting, count, count, |tables| {
        raw::drain_with_rows(&tables, count)
    })
}

/// Each task writes a row of the application into the very file in which the queue is.
fn drain_with_rows(setting: &Setting) -> Result<Sample> {
    let (folder, count) = (setting.fresh()?, setting.transactions);
    let store = store(&folder)?;
    connect(&folder.join(FILE))?.execute_batch(APP)?;
    let database = Database::sharing(Arc::clone(&store))?;
    let timed: Timed = own::drain_by(store, 4, count, move |context| {
        database
            .join(context.work())?
            .prepare_cached(ROW)?
            .execute([])?;
        Ok(())
    })?;
    setting.measure(count, timed)
}

/// What the pages of a file are that has nothing but tasks.
fn weigh(setting: &Setting) -> Result<Sample> {
    let folder = setting.fresh()?;
    let filled: Arc<dyn Store> = store(&folder)?;
    let before = weight::pages(&folder.join(FILE))?;
    preload(&filled, &TransactionManager::new(), setting.weighed)?;
    let after = weight::pages(&folder.join(FILE))?;
    Ok(weight::each(after - before, setting.weighed))
}
