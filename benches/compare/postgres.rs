//! A private Postgres server: a queue by itself, and one that shares a database with its application.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postgres::{Client, NoTls, Statement};
use votive::queue::Queue;
use votive::resource::postgres::{Database, EnlistingClient};
use votive::store::postgres::{Options, PostgresStore};
use votive::txn::TransactionManager;
use votive_report::Goal::Ratio;
use votive_report::{Sample, Work};
use votive_testbed::{Postgres, or_skip, postgres as testbed};

use crate::bed::Bed;
use crate::claimer::Claimer;
use crate::job::Job;
use crate::limited;
use crate::postgres_raw::{Enlisted, Table};
use crate::setting::{Noop, Result, Setting, preload};
use crate::{own, signals, weight};

/// The application's own row.
pub(crate) const ROW: &str = "INSERT INTO app (v) VALUES ('row')";
const APP: &str = "CREATE TABLE app (id bigserial PRIMARY KEY, v text NOT NULL)";

const BED: Bed = Bed {
    store: "postgres",
    place: |_| database(),
    trips: || Ok(None),
    waits: true,
};

/// What is measured: nothing where there is no server.
pub(crate) fn jobs() -> Vec<Job> {
    if !is_there() {
        return Vec::new();
    }
    let mut jobs = vec![
        BED.describe(Work::W1, "enlisted", BOTH)
            .fresh(raw_enlisted, enlisted)
            .reach([Ratio(0.95)]),
        BED.describe(Work::W1, "enlisted by the driver's own transaction", BOTH)
            .fresh(raw_enlisted, enlisted_by_driver),
        BED.lone("one task row in one transaction", |setting| {
            inserts(setting, Table::of_tasks(0)?, (setting.transactions, 1))
        }),
        BED.producers(
            "16 connections, one task row in one transaction",
            |setting| {
                let (table, count) = (Table::of_tasks(0)?, setting.shared);
                setting.measure(count, || table.insert_by(16, count))
            },
        ),
        BED.hundreds(
            "100 task rows by one statement in one transaction",
            |setting| inserts(setting, Table::of_tasks(0)?, (setting.tasks, 100)),
        )
        .reach([Ratio(0.8)]),
        BED.hundreds(
            "100 narrow rows by one statement in one transaction",
            |setting| inserts(setting, Table::narrow(0)?, (setting.tasks, 100)),
        )
        .named("100 per transaction, beside narrow rows"),
        BED.drain(1, DRAINED, |setting| drain(setting, 1))
            .reach([Ratio(0.7)]),
        BED.drain(4, DRAINED, |setting| drain(setting, 4))
            .reach([Ratio(0.7)]),
        BED.drain(4, "the same of narrow rows", |setting| {
            drain_of(setting, &Table::narrow(setting.tasks)?, 4)
        })
        .named("4 workers, beside narrow rows"),
        BED.describe(Work::W3, "100 per claim, without a consumer", DRAINED)
            .fresh(|setting| drain(setting, 1), drain_by_hundreds)
            .reach([Ratio(0.7)]),
        BED.describe(Work::W3, "4 workers, with an application write", WITH_ROWS)
            .fresh(raw_drain_with_rows, drain_with_rows),
        BED.latency("a notification that is committed and heard", |setting| {
            signals::postgres(&database()?, setting.timed)
        }),
    ];
    jobs.extend(BED.limited(limited::HUNDRED_THOUSAND));
    jobs.extend(
        BED.backlogs("DELETE … SKIP LOCKED of one, one commit", |setting| {
            let (mut table, count) = (Table::of_tasks(setting.backlogs.0)?, setting.claims());
            setting.measure(count, || table.drain(count, 1))
        }),
    );
    jobs.push(BED.idle());
    jobs.push(
        BED.describe(Work::W8, "on disk", "a row with a number and its payload")
            .fresh(raw_weigh, weigh),
    );
    jobs
}

const BOTH: &str = "application row + task row in one transaction";
const DRAINED: &str = "DELETE … SKIP LOCKED of 100, one commit, on as many connections";
const WITH_ROWS: &str =
    "4 connections, each DELETE … SKIP LOCKED of one and application row in one transaction";

thread_local! {
    /// The server of this run; `None` where its program is not installed.
    static SERVER: Option<Postgres> = or_skip(Postgres::start(testbed::Options::default()));
    static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Tells apart the databases of all pieces of work.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Whether there is a server.
pub(crate) fn is_there() -> bool {
    SERVER.with(Option::is_some)
}

/// Makes a fresh database, in which the application has its table.
pub(crate) fn database() -> Result<String> {
    let name = format!("bench{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
    let url = SERVER.with(|server| -> Result<String> {
        let server = server.as_ref().ok_or("no server")?;
        Ok(server.create_database(&name)?)
    })?;
    NAMES.with_borrow_mut(|names| names.push(name));
    Client::connect(&url, NoTls)?.batch_execute(APP)?;
    Ok(url)
}

/// Removes all databases that were made.
pub(crate) fn clear() -> Result<()> {
    for name in NAMES.with_borrow_mut(std::mem::take) {
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        SERVER.with(|server| -> Result<()> {
            let server = server.as_ref().ok_or("no server")?;
            Ok(server.client()?.batch_execute(&drop)?)
        })?;
    }
    Ok(())
}

fn raw_enlisted(setting: &Setting) -> Result<Sample> {
    let (mut raw, count) = (Enlisted::new()?, setting.transactions);
    setting.measure(count, || raw.run(count))
}

/// A queue in a fresh database, a connection to it, and the application's own statement.
fn enlistable() -> Result<(Queue, Client, Statement)> {
    let url = database()?;
    let queue = Queue::new(votive::open(&url)?, "default")?;
    let mut client = Client::connect(&url, NoTls)?;
    let row = client.prepare(ROW)?;
    Ok((queue, client, row))
}

fn enlisted(setting: &Setting) -> Result<Sample> {
    let (queue, client, row) = enlistable()?;
    let mut client = EnlistingClient::new(client);
    let count = setting.transactions;
    setting.measure(count, || {
        for _ in 0..count {
            let mut txn = client.transaction()?;
            txn.execute(&row, &[])?;
            queue.enlist(&mut txn)?.enqueue(&Noop::new())?;
            txn.commit()?;
        }
        Ok(())
    })
}

fn enlisted_by_driver(setting: &Setting) -> Result<Sample> {
    let (queue, mut client, row) = enlistable()?;
    let count = setting.transactions;
    setting.measure(count, || {
        for _ in 0..count {
            let mut txn = client.transaction()?;
            txn.execute(&row, &[])?;
            queue.enlist(&mut txn)?.enqueue(&Noop::new())?;
            txn.commit()?;
        }
        Ok(())
    })
}

fn inserts(setting: &Setting, mut table: Table, (count, size): (u64, u64)) -> Result<Sample> {
    setting.measure(count, || table.insert(count, size))
}

fn drain(setting: &Setting, workers: u64) -> Result<Sample> {
    drain_of(setting, &Table::of_tasks(setting.tasks)?, workers)
}

fn drain_of(setting: &Setting, table: &Table, workers: u64) -> Result<Sample> {
    let count = setting.tasks;
    setting.measure(count, || table.drain_by(workers, count))
}

fn drain_by_hundreds(setting: &Setting) -> Result<Sample> {
    let store = BED.open(setting)?;
    let claimer = Claimer::new(store, setting.tasks, |_| votive::task::Options::default())?;
    setting.measure(setting.tasks, || claimer.run(setting.tasks, 100))
}

fn raw_drain_with_rows(setting: &Setting) -> Result<Sample> {
    let count = setting.transactions;
    let table = Table::of_tasks(count)?;
    setting.measure(count, || table.drain_with_rows_by(4, count))
}

/// Each task writes a row of the application into the very database in which the queue is.
fn drain_with_rows(setting: &Setting) -> Result<Sample> {
    let count = setting.transactions;
    let store = Arc::new(PostgresStore::open(&database()?, Options::default())?);
    let database = Database::sharing(Arc::clone(&store))?;
    let timed = own::drain_by(store, 4, count, move |context| {
        let session = database.join(context.work())?;
        session.with(|client| client.execute_typed(ROW, &[]))?;
        Ok(())
    })?;
    setting.measure(count, timed)
}

fn raw_weigh(setting: &Setting) -> Result<Sample> {
    let bytes = Table::narrow(setting.weighed)?.bytes()?;
    Ok(weight::each(bytes, setting.weighed))
}

fn weigh(setting: &Setting) -> Result<Sample> {
    let url = database()?;
    let store = votive::open(&url)?;
    let bytes = |client: &mut Client| -> Result<u64> {
        let size = "SELECT pg_database_size(current_database())";
        Ok(u64::try_from(
            client.query_one(size, &[])?.get::<_, i64>(0),
        )?)
    };
    let mut client = Client::connect(&url, NoTls)?;
    let before = bytes(&mut client)?;
    preload(&store, &TransactionManager::new(), setting.weighed)?;
    Ok(weight::each(bytes(&mut client)? - before, setting.weighed))
}
