//! Postgres by hand: the rows of a task as votive writes them, and a table as one would make it for a queue.

use postgres::{Client, NoTls, Statement};
use votive::txn::TransactionManager;

use crate::group;
use crate::postgres::{ROW, database};
use crate::setting::{Result, preload};

/// Writes the rows that a task is, by one statement that is prepared once, as one would by hand: what differs
/// from task to task is a parameter. Nobody looks whether an id is taken, and nobody who waits is told.
pub(crate) struct Enlisted {
    client: Client,
    task: Statement,
    row: Statement,
}

impl Enlisted {
    /// Lets votive make its tables and write one task.
    pub(crate) fn new() -> Result<Self> {
        let url = database()?;
        let made = votive::open(&url)?;
        preload(&made, &TransactionManager::new(), 1)?;
        let mut client = Client::connect(&url, NoTls)?;
        let task = task_insert(&mut client)?;
        let row = client.prepare(ROW)?;
        Ok(Self { client, task, row })
    }

    /// One transaction with the application's row and a task for each number.
    pub(crate) fn run(&mut self, count: u64) -> Result<()> {
        let payload = [b'x'; 100];
        for number in 0..count {
            let mut txn = self.client.transaction()?;
            txn.execute(&self.row, &[])?;
            let id = u128::from(number).to_be_bytes();
            let published_at = i64::try_from(number)?;
            txn.execute(
                &self.task,
                &[&id.as_slice(), &payload.as_slice(), &published_at],
            )?;
            txn.commit()?;
        }
        Ok(())
    }
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
         INSERT INTO votive.ready (queue, rank, first, last) SELECT queue, rank, seq, seq FROM task"
    ))?)
}

/// A table as one would make it for a queue by hand.
pub(crate) struct Table {
    url: String,
    client: Client,
}

impl Table {
    /// With `count` tasks in it.
    pub(crate) fn filled(count: u64) -> Result<Self> {
        let url = database()?;
        let mut client = Client::connect(&url, NoTls)?;
        client
            .batch_execute("CREATE TABLE q (id bigserial PRIMARY KEY, payload bytea NOT NULL)")?;
        insert(&mut client, count, count.max(1))?;
        client.batch_execute("ANALYZE q")?;
        Ok(Self { url, client })
    }

    /// Inserts `count` tasks, `size` in a transaction.
    pub(crate) fn insert(&mut self, count: u64, size: u64) -> Result<()> {
        insert(&mut self.client, count, size)
    }

    /// Inserts `count` tasks one by one, on so many connections at once.
    pub(crate) fn insert_by(&self, producers: u64, count: u64) -> Result<()> {
        let url = &self.url;
        group::on_threads(producers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            insert(&mut client, count / producers, 1)
        })
    }

    /// Removes `count` tasks, `size` in a transaction.
    pub(crate) fn drain(&mut self, count: u64, size: u64) -> Result<()> {
        drain(&mut self.client, count, size)
    }

    /// Removes `count` tasks by hundreds, on so many connections at once.
    pub(crate) fn drain_by(&self, workers: u64, count: u64) -> Result<()> {
        let url = &self.url;
        group::on_threads(workers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            drain(&mut client, count / workers, 100)
        })
    }

    /// Removes `count` tasks one by one, each with the application's row, on so many connections at once.
    pub(crate) fn drain_with_rows_by(&self, workers: u64, count: u64) -> Result<()> {
        let url = &self.url;
        group::on_threads(workers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            let (delete, row) = (client.prepare(&removal(1))?, client.prepare(ROW)?);
            for _ in 0..count / workers {
                let mut txn = client.transaction()?;
                txn.query(&delete, &[])?;
                txn.execute(&row, &[])?;
                txn.commit()?;
            }
            Ok(())
        })
    }

    /// How many bytes it is on disk, with its index.
    pub(crate) fn bytes(&mut self) -> Result<u64> {
        let size = "SELECT pg_total_relation_size('q')";
        Ok(u64::try_from(
            self.client.query_one(size, &[])?.get::<_, i64>(0),
        )?)
    }
}

fn insert(client: &mut Client, count: u64, size: u64) -> Result<()> {
    let insert = client.prepare("INSERT INTO q (payload) SELECT unnest($1::bytea[])")?;
    let payloads = vec![vec![b'x'; 100]; usize::try_from(size)?];
    for _ in 0..count / size {
        let mut txn = client.transaction()?;
        txn.execute(&insert, &[&payloads])?;
        txn.commit()?;
    }
    Ok(())
}

fn drain(client: &mut Client, count: u64, size: u64) -> Result<()> {
    let delete = client.prepare(&removal(size))?;
    for _ in 0..count / size {
        client.query(&delete, &[])?;
    }
    Ok(())
}

fn removal(size: u64) -> String {
    format!(
        "DELETE FROM q WHERE id = ANY (ARRAY(
             SELECT id FROM q ORDER BY id LIMIT {size} FOR UPDATE SKIP LOCKED)) RETURNING id, payload"
    )
}
