//! Looking.

use std::collections::BTreeMap;

use redis::Value;

use super::error::{Fault, Result};
use super::script::{self, Arguments};
use super::{RedisStore, kept, reply};
use crate::id::{StoreId, TaskId};
use crate::store::{
    self, Capabilities, Cursor, Filter, Inspect, Kind, Listed, Page, QueueStats, Stats,
};
use crate::task::State;
use crate::time::Timestamp;

/// How many tasks a listing asks for at once.
const LOOKS_MAX: usize = 200;

impl Inspect for RedisStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> store::Result<Timestamp> {
        self.now_or_ask()
            .map_err(|fault| fault.during("tell the time"))
    }

    fn get(&self, task: TaskId) -> store::Result<Option<Listed>> {
        let get = || -> Result<_> {
            let arguments = Arguments::default().shown(task);
            match self.link.run(&script::GET, arguments)? {
                Value::Array(parts) if parts.is_empty() => Ok(None),
                found => Ok(Some(kept::shown(found)?.1)),
            }
        };
        get().map_err(|fault| fault.during("find a task"))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> store::Result<Page> {
        let page = self.page(filter, cursor, limit);
        page.map_err(|fault| fault.during("list tasks"))
    }

    fn stats(&self) -> store::Result<Stats> {
        self.numbers().map_err(|fault| fault.during("count"))
    }

    fn mark(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        self.mark_of(key)
            .map_err(|fault| fault.during("read a mark"))
    }

    fn marks(&self, prefix: &str) -> store::Result<Vec<(String, Vec<u8>)>> {
        let marks = self.marks_from(prefix);
        marks.map_err(|fault| fault.during("list marks"))
    }

    fn check(&self) -> store::Result<Vec<String>> {
        let complaints = self.complaints();
        complaints.map_err(|fault| fault.during("check itself"))
    }
}

impl RedisStore {
    /// Returns the time, asking the server if it is long since it told it.
    pub(super) fn now_or_ask(&self) -> Result<Timestamp> {
        if let Some(now) = self.link.clock.known() {
            return Ok(now);
        }
        self.link.run(&script::NOW, Arguments::default())?;
        Ok(self.link.clock.guess())
    }

    pub(super) fn mark_of(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let found = self
            .link
            .pool
            .send(false, Kind::Unavailable, |connection| {
                redis::cmd("HGET")
                    .arg(self.link.key("marks"))
                    .arg(key)
                    .query(connection)
            })?;
        match found {
            Value::Nil => Ok(None),
            value => Ok(Some(reply::bytes(&value)?.to_vec())),
        }
    }

    fn marks_from(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let all = self
            .link
            .pool
            .send(false, Kind::Unavailable, |connection| {
                redis::cmd("HGETALL")
                    .arg(self.link.key("marks"))
                    .query(connection)
            })?;
        let mut marks = BTreeMap::new();
        for pair in reply::list(all)?.chunks_exact(2) {
            let [key, value] = pair else { continue };
            let key = reply::text(key)?;
            if key.starts_with(prefix) {
                marks.insert(key, reply::bytes(value)?.to_vec());
            }
        }
        Ok(marks.into_iter().collect())
    }

    /// Pages follow the store's sequence.
    fn page(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let mut after = cursor.map_or(Ok(0), Cursor::parse)?;
        let mut found = Vec::new();
        // One more than asked for tells whether there is a next page.
        while found.len() <= limit {
            let some = self.glance(filter, after)?;
            let is_last = some.len() < LOOKS_MAX;
            for (sequence, listed) in some {
                after = sequence;
                if matches(filter, &listed) {
                    found.push((sequence, listed));
                }
            }
            if is_last {
                break;
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| has_more);
        Ok(Page {
            next: last.map(|(sequence, _)| Cursor(sequence.to_string())),
            tasks: found.into_iter().map(|(_, listed)| listed).collect(),
        })
    }

    fn glance(&self, filter: &Filter, after: u64) -> Result<Vec<(u64, Listed)>> {
        let arguments = Arguments::default()
            .shown(after)
            .with(filter.about.clone().unwrap_or_default())
            .shown(LOOKS_MAX);
        let page = reply::list(self.link.run(&script::SCAN, arguments)?)?;
        page.into_iter().map(kept::shown).collect()
    }

    fn numbers(&self) -> Result<Stats> {
        let answer = reply::list(self.link.run(&script::STATS, Arguments::default())?)?;
        let [counts, heads, in_doubt, since] = &answer[..] else {
            return Err(Fault::corrupt("the counts are incomplete"));
        };
        let mut queues = read_counts(counts.clone())?;
        for queue in reply::list(heads.clone())? {
            let [name, published_at @ ..] = &reply::list(queue)?[..] else {
                continue;
            };
            let published_at = published_at.iter().map(reply::number);
            let published_at = published_at.collect::<Result<Vec<_>>>()?;
            if let Some(stats) = queues.get_mut(&reply::text(name)?) {
                let first = published_at.into_iter().min();
                stats.oldest_ready_at = first.map(Timestamp::from_micros);
            }
        }
        let is_in_doubt = !reply::bytes(since)?.is_empty();
        let since = is_in_doubt.then(|| reply::number(since)).transpose()?;
        Ok(Stats {
            queues: queues.into_values().collect(),
            in_doubt: u64::try_from(reply::number(in_doubt)?).unwrap_or(0),
            in_doubt_since: since.map(Timestamp::from_micros),
        })
    }
}

/// Reads `state:queue` and how many, again and again.
fn read_counts(value: Value) -> Result<BTreeMap<String, QueueStats>> {
    let mut queues = BTreeMap::<String, QueueStats>::new();
    for pair in reply::list(value)?.chunks_exact(2) {
        let [field, count] = pair else { continue };
        let field = reply::text(field)?;
        let named = field.split_once(':');
        let named = named.and_then(|(state, queue)| Some((State::from_name(state)?, queue)));
        let (state, queue) =
            named.ok_or_else(|| Fault::corrupt(format!("there is a count of `{field}`")))?;
        let entry = queues
            .entry(queue.to_owned())
            .or_insert_with(|| QueueStats {
                queue: queue.to_owned(),
                ..QueueStats::default()
            });
        entry.counts.push((state, reply::parsed(count)?));
        entry.counts.sort_unstable();
    }
    Ok(queues)
}

fn matches(filter: &Filter, listed: &Listed) -> bool {
    let record = &listed.record;
    let is =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let states = filter.states;
    let before = filter.enqueued_before;
    filter.sees(&record.options)
        && is(&filter.queue, &record.queue)
        && is(&filter.kind, &record.kind)
        && states.is_none_or(|states| states.contains(record.state))
        && before.is_none_or(|before| record.enqueued_at < before)
}
