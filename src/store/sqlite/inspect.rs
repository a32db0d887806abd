//! Looking at a store, on connections that only read.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::SqliteStore;
use super::error::Result;
use super::row::{self, Bytes, Sql, TaskRow, columns};
use super::tasks;
use crate::id::{StoreId, TaskId};
use crate::store::{self, Capabilities, Cursor, Filter, Inspect, Listed, Page, QueueStats, Stats};
use crate::task::{State, StateSet};
use crate::time::Timestamp;

impl Inspect for SqliteStore {
    fn id(&self) -> StoreId {
        self.identity.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> store::Result<Timestamp> {
        Ok(self.clock_now())
    }

    fn get(&self, task: TaskId) -> store::Result<Option<Listed>> {
        let found = self.read(|connection| tasks::follow(connection, task, Bytes::Read));
        match found {
            Ok(row) => Ok(row.map(TaskRow::listed)),
            Err(fault) => Err(fault.during("find a task")),
        }
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> store::Result<Page> {
        let page = self.read(|connection| scan(connection, filter, cursor, limit));
        page.map_err(|fault| fault.during("list tasks"))
    }

    fn stats(&self) -> store::Result<Stats> {
        self.read(stats).map_err(|fault| fault.during("count"))
    }

    fn mark(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        let mark = self.read(|connection| tasks::mark(connection, key));
        mark.map_err(|fault| fault.during("read a mark"))
    }

    fn marks(&self, prefix: &str) -> store::Result<Vec<(String, Vec<u8>)>> {
        let marks = self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT key, value FROM votive_mark
                 WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key",
            )?;
            let rows = select.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        });
        marks.map_err(|fault| fault.during("list marks"))
    }

    fn check(&self) -> store::Result<Vec<String>> {
        let complaints = self.read(super::check::check);
        complaints.map_err(|fault| fault.during("check itself"))
    }
}

/// Pages follow the store's sequence.
fn scan(
    connection: &Connection,
    filter: &Filter,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page> {
    let after = cursor.map(Cursor::parse).transpose()?;
    let (conditions, mut values) = conditions(filter, after);
    let sql = format!(
        concat!(
            "SELECT ",
            columns!(),
            ", payload FROM votive_task WHERE {} ORDER BY seq LIMIT ?"
        ),
        conditions
    );
    values.push(Box::new(row::limit(limit.saturating_add(1))));
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_and_then(params_from_iter(values), |row| {
        TaskRow::read(row, Bytes::Read)
    })?;
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|last| Cursor(last.seq.to_string()));
    let seen = rows
        .into_iter()
        .filter(|row| filter.sees(&row.record.options));
    let tasks = seen.map(TaskRow::listed).collect();
    Ok(Page { tasks, next })
}

type Values = Vec<Box<dyn rusqlite::ToSql>>;

fn conditions(filter: &Filter, after: Option<i64>) -> (String, Values) {
    let mut conditions = vec!["TRUE".to_owned()];
    let mut values: Values = Vec::new();
    let mut add = |condition: &str, value: Box<dyn rusqlite::ToSql>| {
        conditions.push(condition.to_owned());
        values.push(value);
    };
    if let Some(after) = after {
        add("seq > ?", Box::new(after));
    }
    if let Some(queue) = &filter.queue {
        add("queue = ?", Box::new(queue.clone()));
    }
    if let Some(kind) = &filter.kind {
        add("kind = ?", Box::new(kind.clone()));
    }
    if let Some(before) = filter.enqueued_before {
        add("enqueued_at < ?", Box::new(before.as_micros()));
    }
    if let Some(object) = &filter.about {
        let about = "seq IN (SELECT seq FROM votive_about WHERE object = ?)";
        add(about, Box::new(object.clone()));
    }
    if let Some(states) = filter.states {
        conditions.push(format!("state IN ({})", numbers(states)));
    }
    (conditions.join(" AND "), values)
}

fn numbers(states: StateSet) -> String {
    let numbers: Vec<String> = states
        .iter()
        .map(|state| (state as u8).to_string())
        .collect();
    numbers.join(", ")
}

/// Counts in the indexes alone, without a look at the tasks.
fn stats(connection: &Connection) -> Result<Stats> {
    let mut queues = BTreeMap::new();
    for index in COUNTS {
        let mut select = connection.prepare_cached(index)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let queue = row.get(0)?;
            let entry: &mut Counted = queues.entry(queue).or_default();
            let state = row.get::<_, Sql<State>>(1)?.0;
            *entry.counts.entry(state).or_default() += row.get::<_, u64>(2)?;
            let first: Option<i64> = row.get(3)?;
            entry.first_ready = entry.first_ready.into_iter().chain(first).min();
        }
    }
    let queues = queues
        .into_iter()
        .map(|(queue, counted)| counted.of(connection, queue))
        .collect::<Result<Vec<_>>>()?;
    let (in_doubt, since) = connection.query_row(
        "SELECT count(*), min(staged_at) FROM votive_staged WHERE state = 0",
        [],
        |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)),
    )?;
    Ok(Stats {
        queues,
        in_doubt,
        in_doubt_since: since.map(Timestamp::from_micros),
    })
}

/// Queue, state, how many, and the first sequence of those that are Ready: a query per index.
const COUNTS: [&str; 5] = [
    "SELECT queue, 3, count(*), min(seq) FROM votive_task INDEXED BY votive_task_ready
     WHERE state = 3 AND pinned IS NULL GROUP BY queue",
    "SELECT queue, 2, count(*), NULL FROM votive_task INDEXED BY votive_task_scheduled
     WHERE state = 2 AND pinned IS NULL GROUP BY queue",
    "SELECT queue, 4, count(*), NULL FROM votive_task INDEXED BY votive_task_claimed
     WHERE state = 4 GROUP BY queue",
    "SELECT queue, state, count(*), NULL FROM votive_task INDEXED BY votive_task_other
     WHERE state = 1 OR state = 5 OR state = 6 OR state = 7 GROUP BY queue, state",
    "SELECT queue, state, count(*), min(seq) FILTER (WHERE state = 3)
     FROM votive_task INDEXED BY votive_task_pinned
     WHERE pinned IS NOT NULL AND state IN (2, 3) GROUP BY queue, state",
];

#[derive(Default)]
struct Counted {
    counts: BTreeMap<State, u64>,
    first_ready: Option<i64>,
}

impl Counted {
    fn of(self, connection: &Connection, queue: String) -> Result<QueueStats> {
        let published_at = connection
            .prepare_cached("SELECT published_at FROM votive_task WHERE seq = ?1")?
            .query_row(params![self.first_ready], |row| row.get(0))
            .optional()?;
        Ok(QueueStats {
            queue,
            counts: self.counts.into_iter().collect(),
            oldest_ready_at: published_at.map(Timestamp::from_micros),
        })
    }
}
