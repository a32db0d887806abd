//! Looking at a store.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PostgresStore;
use super::check;
use super::claim::{claim_of_task, tasks_of_claim};
use super::error::Result;
use super::row::{self, TaskRow, column, optional_instant, state, state_number, tasks_with};
use super::session::Session;
use super::tasks;
use super::value::Value;
use crate::id::{StoreId, TaskId};
use crate::store::{self, Capabilities, Cursor, Filter, Inspect, Listed, Page, QueueStats, Stats};
use crate::task::State;
use crate::time::Timestamp;

/// How long one of the questions of a check may take: some seconds for each million of tasks.
const CHECK_PATIENCE: Duration = Duration::from_secs(3_600);

impl Inspect for PostgresStore {
    fn id(&self) -> StoreId {
        self.identity.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> store::Result<Timestamp> {
        self.clock_now()
            .map_err(|fault| fault.during("ask the server for the time"))
    }

    fn get(&self, task: TaskId) -> store::Result<Option<Listed>> {
        self.read(|session| get(session, task))
            .map_err(|fault| fault.during("find a task"))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> store::Result<Page> {
        let page = self.read(|session| scan(session, filter, cursor, limit));
        page.map_err(|fault| fault.during("list tasks"))
    }

    fn stats(&self) -> store::Result<Stats> {
        self.read(|session| stats(session))
            .map_err(|fault| fault.during("count"))
    }

    fn mark(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        let mark = self.read(|session| tasks::mark(session, key));
        mark.map_err(|fault| fault.during("read a mark"))
    }

    fn marks(&self, prefix: &str) -> store::Result<Vec<(String, Vec<u8>)>> {
        let marks = self.read(|session| {
            let rows = session.query(
                "SELECT key, value FROM @.mark WHERE left(key, length($1)) = $1
                 ORDER BY key COLLATE \"C\"",
                vec![prefix.into()],
            )?;
            rows.iter()
                .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
                .collect()
        });
        marks.map_err(|fault| fault.during("list marks"))
    }

    fn check(&self) -> store::Result<Vec<String>> {
        let complaints = self
            .pool
            .read_patiently(CHECK_PATIENCE, |session| check::check(session));
        complaints.map_err(|fault| fault.during("check itself"))
    }
}

fn get(session: &mut dyn Session, task: TaskId) -> Result<Option<Listed>> {
    let row = session.first(
        concat!(
            tasks_with!("t.payload"),
            "WHERE t.id = $1 OR t.id = (SELECT a.task FROM @.alias a WHERE a.id = $1)"
        ),
        vec![task.into()],
    )?;
    row.map(|row| Ok(TaskRow::read(&row)?.listed())).transpose()
}

/// Pages follow the store's sequence. A condition whose parameter is null is none.
fn scan(
    session: &mut dyn Session,
    filter: &Filter,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page> {
    let after = cursor.map(Cursor::parse).transpose()?.unwrap_or(i64::MIN);
    let states = filter.states.map(|states| states.iter().map(state_number));
    let has_states = i64::from(states.is_some());
    let rows = session.query(
        concat!(
            tasks_with!("t.payload"),
            "WHERE t.seq > $1 AND ($2::text IS NULL OR t.queue = $2) AND ($3::text IS NULL OR t.kind = $3)
                 AND ($4::bigint IS NULL OR t.enqueued_at < $4)
                 AND ($5::text IS NULL OR EXISTS (
                     SELECT 1 FROM @.about a WHERE a.seq = t.seq AND a.object = $5))
                 AND ($6 = 0 OR (CASE WHEN t.state = 3 AND c.number IS NOT NULL THEN 4 ELSE t.state END)
                     = ANY ($7))
             ORDER BY t.seq LIMIT $8"
        ),
        vec![
            after.into(),
            filter.queue.clone().into(),
            filter.kind.clone().into(),
            filter.enqueued_before.into(),
            filter.about.clone().into(),
            has_states.into(),
            Value::Integers(states.into_iter().flatten().map(Some).collect()),
            Value::count(limit.saturating_add(1)),
        ],
    )?;
    let more = rows.len() > limit;
    let rows = rows.iter().take(limit).map(TaskRow::read);
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let last = rows.last().filter(|_| more);
    let next = last.map(|last| Cursor(last.seq.to_string()));
    let seen = rows
        .into_iter()
        .filter(|row| filter.sees(&row.record.options));
    let tasks = seen.map(TaskRow::listed).collect();
    Ok(Page { tasks, next })
}

/// Counts in the narrow tables and in indexes, without a look at tasks that are not claimed.
fn stats(session: &mut dyn Session) -> Result<Stats> {
    let rows = session.query(
        concat!(
            "SELECT queue, 3, sum(last - first + 1)::bigint, min(first) FROM @.ready GROUP BY queue
         UNION ALL SELECT c.queue, 4, count(*), NULL FROM @.claim c
             CROSS JOIN LATERAL (",
            tasks_of_claim!("1"),
            " ORDER BY t.seq LIMIT 256) t GROUP BY c.queue
         UNION ALL SELECT queue, state::integer, count(*), NULL FROM @.task
             WHERE state = 2 GROUP BY queue, state
         UNION ALL SELECT queue, state::integer, count(*), NULL FROM @.task
             WHERE state IN (1, 5, 6, 7) GROUP BY queue, state
         UNION ALL SELECT t.queue, 3, count(*), min(t.seq) FROM @.task t
             LEFT JOIN ",
            claim_of_task!(),
            "ON true
             WHERE t.pinned IS NOT NULL AND t.state = 3 AND c.number IS NULL GROUP BY t.queue"
        ),
        Vec::new(),
    )?;
    let mut queues: BTreeMap<String, Counted> = BTreeMap::new();
    for row in &rows {
        let counted = queues.entry(column(row, 0)?).or_default();
        let number = column::<i32>(row, 1)?;
        let number = i16::try_from(number).unwrap_or(-1);
        let count = u64::try_from(column::<i64>(row, 2)?).unwrap_or(0);
        *counted.counts.entry(state(number)?).or_default() += count;
        let first: Option<i64> = column(row, 3)?;
        counted.first_ready = counted.first_ready.into_iter().chain(first).min();
    }
    let queues = queues
        .into_iter()
        .map(|(queue, counted)| counted.of(session, queue))
        .collect::<Result<Vec<_>>>()?;
    let in_doubt = session.first(
        "SELECT count(*), min(staged_at) FROM @.staged WHERE state = 0",
        Vec::new(),
    )?;
    let (in_doubt, in_doubt_since) = match in_doubt {
        Some(row) => (row::size(&row, 0)? as u64, optional_instant(&row, 1)?),
        None => (0, None),
    };
    Ok(Stats {
        queues,
        in_doubt,
        in_doubt_since,
    })
}

#[derive(Default)]
struct Counted {
    counts: BTreeMap<State, u64>,
    first_ready: Option<i64>,
}

impl Counted {
    fn of(self, session: &mut dyn Session, queue: String) -> Result<QueueStats> {
        let first = session.first(
            "SELECT published_at FROM @.task WHERE seq = $1",
            vec![self.first_ready.into()],
        )?;
        let oldest_ready_at = first.map(|row| row::instant(&row, 0)).transpose()?;
        Ok(QueueStats {
            queue,
            counts: self.counts.into_iter().collect(),
            oldest_ready_at,
        })
    }
}
