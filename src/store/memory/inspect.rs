//! Looking at the store.

use super::{MemoryStore, body, refused};
use crate::id::{StoreId, TaskId};
use crate::store::ledger::Cold;
use crate::store::{Capabilities, Cursor, Filter, Inspect, Listed, Page, Result, Stats};
use crate::time::{Clock, Timestamp};

impl Inspect for MemoryStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn get(&self, task: TaskId) -> Result<Option<Listed>> {
        let state = self.shared.state.lock();
        Ok(state.ledger.find(task).map(body::listed))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let kind = filter.kind.as_ref();
        let is_of_kind = |body: &Cold| kind.is_none_or(|kind| body.kind == *kind);
        let mut after = cursor
            .map_or(Ok(0), Cursor::parse)
            .map_err(refused("list tasks"))?;
        let mut found = Vec::new();
        loop {
            // One more than asked for tells whether there is a next page.
            let wanted = limit.saturating_add(1) - found.len();
            let state = self.shared.state.lock();
            let glance = state.ledger.glance(filter, (after, wanted), is_of_kind);
            let some = glance.found.into_iter();
            found.extend(some.map(|(sequence, entry)| (sequence, body::listed(entry))));
            match glance.next {
                Some(next) if found.len() <= limit => after = next,
                _ => break,
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found
            .last()
            .map(|(sequence, _)| Cursor(sequence.to_string()));
        Ok(Page {
            tasks: found.into_iter().map(|(_, listed)| listed).collect(),
            next: last.filter(|_| has_more),
        })
    }

    fn stats(&self) -> Result<Stats> {
        Ok(self.shared.state.lock().ledger.stats())
    }

    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.shared.state.lock().ledger.mark(key).cloned())
    }

    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let state = self.shared.state.lock();
        let marks = state.ledger.marks(prefix);
        Ok(marks
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn check(&self) -> Result<Vec<String>> {
        Ok(self.shared.state.lock().ledger.faults())
    }
}
