//! Applications in Postgres: the same rows by the driver alone, and by votive.

use std::cell::RefCell;
use std::sync::Arc;

use postgres::{Client, NoTls, Statement};
use votive::queue::Queue;
use votive::resource::postgres::{Database, EnlistingClient, Options as Access};
use votive::store::Store;
use votive::store::file::{FileStore, Options as FileOptions};
use votive::store::postgres::{Options, PostgresStore};
use votive::txn::{Transaction, TransactionManager};
use votive_testbed::{Postgres, postgres as testbed};

use crate::Pair;
use crate::report::Run;
use crate::setting::{Noop, Result, Setting, preload, store};

const PRODUCERS: u64 = 16;
const ROW: &str = "INSERT INTO app (v) VALUES ('row')";

/// What is measured.
pub(crate) const PAIRS: [Pair; 4] = [
    Pair {
        name: "postgres one per txn, enlisted",
        raw_name: "application row + task row in one transaction",
        goal: Some(0.9),
        raw: raw_enlisted,
        own: enlisted,
    },
    Pair {
        name: "postgres one per txn, enlisted by the driver's own transaction",
        raw_name: "application row + task row in one transaction",
        goal: None,
        raw: raw_enlisted,
        own: enlisted_by_driver,
    },
    Pair {
        name: "postgres prepared, 16 producers",
        raw_name: "the application's rows alone, 16 producers",
        goal: Some(0.6),
        raw: raw_producers,
        own: |setting| {
            let store = FileStore::open(setting.fresh()?.join("queue"), FileOptions::default())?;
            producers(setting, Arc::new(store))
        },
    },
    Pair {
        name: "postgres prepared, 16 producers, queue in SQLite",
        raw_name: "the application's rows alone, 16 producers",
        goal: None,
        raw: raw_producers,
        own: |setting| producers(setting, store(&setting.fresh()?)?),
    },
];

/// A fresh database on the server of this thread's benches.
fn database(name: &str) -> Result<String> {
    thread_local! {
        static SERVER: RefCell<Option<Postgres>> = const { RefCell::new(None) };
    }
    SERVER.with_borrow_mut(|server| {
        let server = match server {
            Some(server) => server,
            None => server.insert(Postgres::start(testbed::Options::default())?),
        };
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        server.client()?.batch_execute(&drop)?;
        let url = server.create_database(name)?;
        let table = "CREATE TABLE app (id bigserial PRIMARY KEY, v text NOT NULL)";
        Client::connect(&url, NoTls)?.batch_execute(table)?;
        Ok(url)
    })
}

fn open(url: &str) -> Result<Arc<PostgresStore>> {
    Ok(Arc::new(PostgresStore::open(url, Options::default())?))
}

/// Writes the rows that a task is, by one statement that is prepared once, as one would by hand: what differs
/// from task to task is a parameter. Nobody looks whether an id is taken, and nobody who waits is told.
fn raw_enlisted(setting: &Setting) -> Result<Run> {
    let url = database("raw")?;
    let made: Arc<dyn Store> = open(&url)?;
    preload(&made, &TransactionManager::new(), 1)?;
    let mut client = Client::connect(&url, NoTls)?;
    let task = task_insert(&mut client)?;
    let row = client.prepare(ROW)?;
    let (count, payload) = (setting.transactions, [b'x'; 100]);
    setting.measure(count, || {
        for number in 0..count {
            let mut txn = client.transaction()?;
            txn.execute(&row, &[])?;
            let id = u128::from(number).to_be_bytes();
            let published_at = i64::try_from(number)?;
            txn.execute(&task, &[&id.as_slice(), &payload.as_slice(), &published_at])?;
            txn.commit()?;
        }
        Ok(())
    })
}

/// A statement that inserts a task like the one that is there, with another id, payload and time.
fn task_insert(client: &mut Client) -> Result<Statement> {
    let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
             string_agg(format('quote_nullable(%I)', attname), ' || '', '' || ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = 'votive.task'::regclass AND attnum > 0
             AND NOT attisdropped
             AND attname NOT IN ('seq', 'id', 'payload', 'rank', 'enqueued_at', 'published_at')";
    let found = client.query_one(columns, &[])?;
    let (names, values): (String, String) = (found.get(0), found.get(1));
    let literals = format!("SELECT {values} FROM votive.task");
    let literals: String = client.query_one(&literals, &[])?.get(0);
    Ok(client.prepare(&format!(
        "WITH task AS (
             INSERT INTO votive.task (seq, id, payload, rank, enqueued_at, published_at, {names})
             VALUES (nextval('votive.task_seq'), $1, $2, $3, $3, $3, {literals})
             RETURNING seq, rank, queue)
         INSERT INTO votive.ready (queue, rank, seq) SELECT queue, rank, seq FROM task"
    ))?)
}

/// A queue in a fresh database, a connection to it, and the application's own statement.
fn enlistable() -> Result<(Queue, Client, Statement)> {
    let url = database("own")?;
    let queue = Queue::new(open(&url)? as Arc<dyn Store>, "default")?;
    let mut client = Client::connect(&url, NoTls)?;
    let row = client.prepare(ROW)?;
    Ok((queue, client, row))
}

fn enlisted(setting: &Setting) -> Result<Run> {
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

fn enlisted_by_driver(setting: &Setting) -> Result<Run> {
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

/// Runs `produce` on many threads, each with what `begin` gives it.
fn on_threads<P: Send>(
    setting: &Setting,
    count: u64,
    begin: impl Fn() -> Result<P>,
    produce: impl Fn(&mut P) -> Result<()> + Sync,
) -> Result<Run> {
    let mut all = (0..PRODUCERS)
        .map(|_| begin())
        .collect::<Result<Vec<P>>>()?;
    let produce = &produce;
    setting.measure(count, || {
        std::thread::scope(|scope| {
            let run = |producer: &mut P| -> Result<()> {
                (0..count / PRODUCERS).try_for_each(|_| produce(producer))
            };
            let threads: Vec<_> = all
                .iter_mut()
                .map(|producer| scope.spawn(move || run(producer)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a producer panicked")?)
        })
    })
}

fn raw_producers(setting: &Setting) -> Result<Run> {
    let url = database("raw")?;
    let begin = || {
        let mut client = Client::connect(&url, NoTls)?;
        let row = client.prepare(ROW)?;
        Ok((client, row))
    };
    on_threads(setting, setting.tasks / 4, begin, |(client, row)| {
        let mut txn = client.transaction()?;
        txn.execute(row, &[])?;
        Ok(txn.commit()?)
    })
}

/// Rows in Postgres, tasks elsewhere: two-phase commit with the register beside the rows.
fn producers(setting: &Setting, store: Arc<dyn Store>) -> Result<Run> {
    let url = database("own")?;
    Database::migrate(&url, Access::default())?;
    let database = Database::open(&url)?;
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    // As the raw side does, it connects before the clock starts: each holds a connection until then.
    let begin = || {
        let mut txn = manager.begin()?;
        database.join(&mut txn)?;
        Ok(Some(txn))
    };
    on_threads(
        setting,
        setting.tasks / 4,
        begin,
        |held: &mut Option<Transaction>| {
            drop(held.take());
            let mut txn = manager.begin()?;
            let session = database.join(&mut txn)?;
            session.with(|client| client.execute_typed(ROW, &[]))?;
            queue.enqueue(&mut txn, &Noop::new())?;
            txn.commit()?;
            Ok(())
        },
    )
}
