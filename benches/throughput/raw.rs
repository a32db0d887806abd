//! The raw loops: plain rusqlite and plain maps, doing by hand what votive's call must do.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded, unbounded};
use rusqlite::Connection;
use votive::id::{Incarnation, ResourceId, TxnId};
use votive::store::{Stage, Store};
use votive::txn::TransactionManager;

use crate::setting::{Result, connect, insert, preload, store};
use crate::template::Template;

/// A file with votive's own tables, and the rows that votive writes into them.
pub(crate) struct Tables {
    /// The connection of the loop.
    pub connection: Connection,
    /// A task.
    pub task: Template,
    next: u128,
}

impl Tables {
    /// Lets votive make the file and write one task, which is read and then removed.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let made: Arc<dyn Store> = store(folder)?;
        preload(&made, &TransactionManager::new(), 1)?;
        drop(made);
        let connection = connect(&folder.join("queue.db"))?;
        let task = Template::read(&connection, "votive_task", "id", Some("seq"))?;
        connection.execute_batch(
            "DELETE FROM votive_task; CREATE TABLE app (id INTEGER PRIMARY KEY, v TEXT NOT NULL);",
        )?;
        Ok(Self {
            connection,
            task,
            next: 1 << 100,
        })
    }

    /// Inserts a task.
    pub(crate) fn insert_task(&mut self) -> Result<()> {
        self.next += 1;
        self.task
            .insert(&self.connection, self.next.to_be_bytes())?;
        Ok(())
    }

    /// Runs one statement, prepared once.
    pub(crate) fn run(&self, sql: &str) -> Result<()> {
        run(&self.connection, sql)
    }

    /// Inserts `count` tasks, untimed.
    pub(crate) fn fill(&mut self, count: u64) -> Result<()> {
        self.run("BEGIN IMMEDIATE")?;
        for _ in 0..count {
            self.insert_task()?;
        }
        self.run("COMMIT")
    }

    /// Claims up to `count` tasks, and removes them, in one transaction.
    pub(crate) fn drain(&self, count: u64) -> Result<u64> {
        self.run("BEGIN IMMEDIATE")?;
        let mut claim = self.connection.prepare_cached(
            "UPDATE votive_task SET state = 4, holder = 1, token = 1 WHERE seq IN (
                 SELECT seq FROM votive_task WHERE queue = 'default' AND state = 3 AND pinned IS NULL
                 ORDER BY rank LIMIT ?1) RETURNING seq, payload",
        )?;
        let rows = claim.query_map([count], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let claimed = rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?;
        for (seq, _payload) in &claimed {
            self.connection
                .prepare_cached("DELETE FROM votive_task WHERE seq = ?1 AND token = 1")?
                .execute([seq])?;
        }
        self.run("COMMIT")?;
        Ok(claimed.len() as u64)
    }
}

/// Runs one statement, prepared once.
pub(crate) fn run(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// One transaction that inserts the application's row and a task row in the same file.
pub(crate) fn enlisted(tables: &mut Tables, count: u64) -> Result<()> {
    for _ in 0..count {
        tables.run("BEGIN IMMEDIATE")?;
        tables.run("INSERT INTO app (v) VALUES ('row')")?;
        tables.insert_task()?;
        tables.run("COMMIT")?;
    }
    Ok(())
}

/// Transactions of `size` tasks each.
pub(crate) fn batches(tables: &mut Tables, count: u64, size: u64) -> Result<()> {
    for _ in 0..count / size {
        tables.run("BEGIN IMMEDIATE")?;
        for _ in 0..size {
            tables.insert_task()?;
        }
        tables.run("COMMIT")?;
    }
    Ok(())
}

/// Claims and removes in batches of 100, until `count` tasks are gone.
pub(crate) fn drain(tables: &Tables, count: u64) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let drained = tables.drain(100)?;
        if drained == 0 {
            return Err("the tasks ran out".into());
        }
        left = left.saturating_sub(drained);
    }
    Ok(())
}

/// Producers hand rows to one writer, which commits those that are there together.
pub(crate) fn group_commit(mut tables: Tables, producers: u64, count: u64) -> Result<()> {
    let (line, arrivals) = unbounded::<Sender<()>>();
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..producers {
            let line = line.clone();
            scope.spawn(move || {
                let (answer, answered) = bounded(1);
                for _ in 0..count / producers {
                    if line.send(answer.clone()).is_err() || answered.recv().is_err() {
                        return;
                    }
                }
            });
        }
        drop(line);
        while let Ok(first) = arrivals.recv() {
            let members: Vec<_> = std::iter::once(first).chain(arrivals.try_iter()).collect();
            tables.run("BEGIN IMMEDIATE")?;
            for _ in &members {
                tables.insert_task()?;
            }
            tables.run("COMMIT")?;
            for member in members {
                member.send(())?;
            }
        }
        Ok(())
    })
}

/// The three writes of a prepared transaction, in two files.
pub(crate) struct Prepared {
    queue: Tables,
    staged: Template,
    application: Connection,
    outcome: Template,
    next: u128,
}

impl Prepared {
    /// Lets votive stage and decide once, to have the rows.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let incarnation = Incarnation::random();
        let txn = TxnId {
            incarnation,
            sequence: 1,
        };
        let made = store(folder)?;
        let now = votive::store::Inspect::now(&*made)?;
        let batch = std::iter::once(insert(&*made)?).collect();
        made.stage(txn, ResourceId::random(), &batch, now)?;
        let queue = connect(&folder.join("queue.db"))?;
        let staged = Template::read(&queue, "votive_staged", "txn", None)?;
        queue.execute_batch("DELETE FROM votive_staged")?;
        drop((made, queue));
        let file = folder.join("application.db");
        votive::resource::rusqlite::Database::migrate(&file)?;
        let application = connect(&file)?;
        application.execute_batch("CREATE TABLE app (id INTEGER PRIMARY KEY, v TEXT NOT NULL)")?;
        application.execute(
            "INSERT INTO votive_incarnation (id, host, started_at) VALUES (1, 'bench', 0)",
            [],
        )?;
        application.execute(
            "INSERT INTO votive_outcome (txn, incarnation, outcome, stores) VALUES (x'00', 1, 'commit', x'')",
            [],
        )?;
        let outcome = Template::read(&application, "votive_outcome", "txn", None)?;
        Ok(Self {
            queue: Tables::new(folder)?,
            staged,
            application,
            outcome,
            next: 0,
        })
    }

    /// Stages, decides and publishes `count` times.
    pub(crate) fn run(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.next += 1;
            let id = self.next.to_be_bytes();
            self.queue.run("BEGIN IMMEDIATE")?;
            self.staged.insert(&self.queue.connection, id)?;
            self.queue.run("COMMIT")?;
            run(&self.application, "BEGIN IMMEDIATE")?;
            run(&self.application, "INSERT INTO app (v) VALUES ('row')")?;
            self.outcome.insert(&self.application, id)?;
            run(&self.application, "COMMIT")?;
            self.queue
                .connection
                .execute_batch("PRAGMA synchronous = NORMAL")?;
            self.queue.run("BEGIN IMMEDIATE")?;
            self.queue
                .connection
                .prepare_cached("DELETE FROM votive_staged WHERE txn = ?1")?
                .execute([id])?;
            self.queue.insert_task()?;
            self.queue.run("COMMIT")?;
            self.queue
                .connection
                .execute_batch("PRAGMA synchronous = FULL")?;
        }
        Ok(())
    }
}

/// A map of tasks with an ordered index: enqueue, claim and remove each.
pub(crate) fn memory(count: u64) -> usize {
    let (mut tasks, mut ready) = (HashMap::new(), BTreeMap::new());
    for id in 0..count {
        tasks.insert(id, vec![b'x'; 100]);
        ready.insert((id, id), id);
    }
    let mut seen = 0;
    while let Some((_, id)) = ready.pop_first() {
        seen += tasks.remove(&id).map_or(0, |payload| payload.len());
    }
    seen
}
