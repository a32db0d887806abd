//! Postgres by hand: the rows of a task as votive writes them, and a narrow table as one might make it for a queue.

use std::sync::atomic::{AtomicU64, Ordering};

use postgres::types::ToSql;
use postgres::{Client, NoTls, Statement, Transaction};
use votive::txn::TransactionManager;

use crate::group;
use crate::postgres::{ROW, database};
use crate::setting::{Result, preload};

/// What a task carries.
const PAYLOAD: [u8; 100] = [b'x'; 100];

/// Tells apart the tasks of all loops.
static IDS: AtomicU64 = AtomicU64::new(0);

/// Writes the rows that a task is, beside one of the application's.
pub(crate) struct Enlisted {
    client: Client,
    task: Insert,
    row: Statement,
}

impl Enlisted {
    /// Lets votive make its tables.
    pub(crate) fn new() -> Result<Self> {
        let (url, columns) = votives_tables()?;
        let mut client = Client::connect(&url, NoTls)?;
        let task = Insert::prepare(&mut client, &Row::Task(columns), 1)?;
        let row = client.prepare(ROW)?;
        Ok(Self { client, task, row })
    }

    /// So many transactions with the application's row and a task.
    pub(crate) fn run(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let mut txn = self.client.transaction()?;
            txn.execute(&self.row, &[])?;
            self.task.run(&mut txn)?;
            txn.commit()?;
        }
        Ok(())
    }
}

/// What a task is, where it is kept by hand.
enum Row {
    /// The row that votive writes into its own table, with all indexes.
    Task(Columns),
    /// A number and a payload.
    Narrow,
}

/// The columns of votive's table of tasks that are alike for all tasks of a bench.
struct Columns {
    names: String,
    literals: String,
}

/// A fresh database with votive's tables, in which there is no task, and what one would be like.
fn votives_tables() -> Result<(String, Columns)> {
    let url = database()?;
    let made = votive::open(&url)?;
    preload(&made, &TransactionManager::new(), 1)?;
    let mut client = Client::connect(&url, NoTls)?;
    let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
             string_agg(format('quote_nullable(%I)', attname), ' || '', '' || ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = 'votive.task'::regclass AND attnum > 0
             AND NOT attisdropped
             AND attname NOT IN ('seq', 'id', 'payload', 'rank', 'enqueued_at', 'published_at')";
    let found = client.query_one(columns, &[])?;
    let (names, values): (String, String) = (found.get(0), found.get(1));
    let literals = format!("SELECT {values} FROM votive.task");
    let literals = client.query_one(&literals, &[])?.get(0);
    client.batch_execute("TRUNCATE votive.task, votive.ready")?;
    Ok((url, Columns { names, literals }))
}

/// A statement that inserts some tasks at once. What differs from task to task is a parameter. Nobody looks whether an
/// id is taken, and nobody who waits is told.
struct Insert {
    statement: Statement,
    size: usize,
    is_narrow: bool,
}

impl Insert {
    fn prepare(client: &mut Client, row: &Row, size: u64) -> Result<Self> {
        let text = match row {
            Row::Narrow => "INSERT INTO q (payload) SELECT unnest($1::bytea[])".to_owned(),
            Row::Task(columns) => columns.insertion(size),
        };
        Ok(Self {
            statement: client.prepare(&text)?,
            size: usize::try_from(size)?,
            is_narrow: matches!(row, Row::Narrow),
        })
    }

    fn run(&self, txn: &mut Transaction<'_>) -> Result<()> {
        let payloads = vec![PAYLOAD.as_slice(); self.size];
        if self.is_narrow {
            txn.execute(&self.statement, &[&payloads])?;
            return Ok(());
        }
        let first = IDS.fetch_add(self.size as u64, Ordering::Relaxed);
        let ids: Vec<_> = (first..).take(self.size).map(id).collect();
        let at = i64::try_from(first)?;
        let (id, payload): (&(dyn ToSql + Sync), &(dyn ToSql + Sync)) =
            match (ids.as_slice(), payloads.as_slice()) {
                ([id], [payload]) => (id, payload),
                _ => (&ids, &payloads),
            };
        txn.execute(&self.statement, &[id, payload, &at])?;
        Ok(())
    }
}

/// An id of a task: they follow each other as those do that are made of the time.
fn id(number: u64) -> Vec<u8> {
    u128::from(number).to_be_bytes().to_vec()
}

impl Columns {
    /// The text that inserts so many tasks, and one run of them into the line.
    fn insertion(&self, size: u64) -> String {
        let Self { names, literals } = self;
        let (new, from) = match size {
            1 => ("$1::bytea, $2::bytea", ""),
            _ => (
                "id, payload",
                "FROM unnest($1::bytea[], $2::bytea[]) new (id, payload)",
            ),
        };
        format!(
            "WITH task AS (
                 INSERT INTO votive.task (seq, id, payload, rank, enqueued_at, published_at, {names})
                 SELECT nextval('votive.task_seq'), {new}, $3, $3, $3, {literals} {from}
                 RETURNING seq, rank, queue)
             INSERT INTO votive.ready (queue, rank, first, last)
             SELECT queue, rank, min(seq), max(seq) FROM task GROUP BY queue, rank"
        )
    }
}

/// Tasks in a table, by hand.
pub(crate) struct Table {
    url: String,
    client: Client,
    row: Row,
}

impl Table {
    /// With `count` tasks in it, each the row that votive writes.
    pub(crate) fn of_tasks(count: u64) -> Result<Self> {
        let (url, columns) = votives_tables()?;
        Self::filled(url, Row::Task(columns), count)
    }

    /// With `count` tasks in it, each a number and a payload.
    pub(crate) fn narrow(count: u64) -> Result<Self> {
        let url = database()?;
        let table = "CREATE TABLE q (seq bigserial PRIMARY KEY, payload bytea NOT NULL)";
        Client::connect(&url, NoTls)?.batch_execute(table)?;
        Self::filled(url, Row::Narrow, count)
    }

    fn filled(url: String, row: Row, count: u64) -> Result<Self> {
        let client = Client::connect(&url, NoTls)?;
        let mut table = Self { url, client, row };
        if count > 0 {
            table.insert(count, count)?;
        }
        let analysis = format!("VACUUM ANALYZE {}", table.name());
        table.client.batch_execute(&analysis)?;
        Ok(table)
    }

    fn name(&self) -> &'static str {
        match self.row {
            Row::Task(_) => "votive.task",
            Row::Narrow => "q",
        }
    }

    /// Inserts `count` tasks, `size` in a transaction.
    pub(crate) fn insert(&mut self, count: u64, size: u64) -> Result<()> {
        insert(&mut self.client, &self.row, count, size)
    }

    /// Inserts `count` tasks one by one, on so many connections at once.
    pub(crate) fn insert_by(&self, producers: u64, count: u64) -> Result<()> {
        let (url, row) = (&self.url, &self.row);
        group::on_threads(producers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            insert(&mut client, row, count / producers, 1)
        })
    }

    /// Removes `count` tasks, `size` in a transaction.
    pub(crate) fn drain(&mut self, count: u64, size: u64) -> Result<()> {
        let removal = self.removal(size);
        drain(&mut self.client, &removal, count / size)
    }

    /// Removes `count` tasks by hundreds, on so many connections at once.
    pub(crate) fn drain_by(&self, workers: u64, count: u64) -> Result<()> {
        let (url, removal) = (&self.url, self.removal(100));
        group::on_threads(workers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            drain(&mut client, &removal, count / workers / 100)
        })
    }

    /// Removes `count` tasks one by one, each with the application's row, on so many connections at once.
    pub(crate) fn drain_with_rows_by(&self, workers: u64, count: u64) -> Result<()> {
        let (url, removal) = (&self.url, self.removal(1));
        group::on_threads(workers, |_| {
            let mut client = Client::connect(url, NoTls)?;
            let (delete, row) = (client.prepare(&removal)?, client.prepare(ROW)?);
            for _ in 0..count / workers {
                let mut txn = client.transaction()?;
                txn.query(&delete, &[])?;
                txn.execute(&row, &[])?;
                txn.commit()?;
            }
            Ok(())
        })
    }

    /// How many bytes it is on disk, with its indexes.
    pub(crate) fn bytes(&mut self) -> Result<u64> {
        let size = format!("SELECT pg_total_relation_size('{}')", self.name());
        Ok(u64::try_from(
            self.client.query_one(&size, &[])?.get::<_, i64>(0),
        )?)
    }

    /// The text that removes so many tasks and returns what is needed to run them.
    fn removal(&self, size: u64) -> String {
        let (table, needed) = match self.row {
            Row::Task(_) => ("votive.task", "id, kind, options, payload"),
            Row::Narrow => ("q", "seq, payload"),
        };
        format!(
            "DELETE FROM {table} WHERE seq = ANY (ARRAY(
                 SELECT seq FROM {table} ORDER BY seq LIMIT {size} FOR UPDATE SKIP LOCKED)) RETURNING {needed}"
        )
    }
}

fn insert(client: &mut Client, row: &Row, count: u64, size: u64) -> Result<()> {
    let insert = Insert::prepare(client, row, size)?;
    for _ in 0..count / size {
        let mut txn = client.transaction()?;
        insert.run(&mut txn)?;
        txn.commit()?;
    }
    Ok(())
}

fn drain(client: &mut Client, removal: &str, count: u64) -> Result<()> {
    let delete = client.prepare(removal)?;
    for _ in 0..count {
        client.query(&delete, &[])?;
    }
    Ok(())
}
