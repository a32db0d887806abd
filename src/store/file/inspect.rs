//! Looking at the store.

use super::body;
use super::error::{Fault, Result};
use super::journal::Journal;
use super::{FileStore, check};
use crate::id::{StoreId, TaskId};
use crate::store::ledger::{Entry, Sequence};
use crate::store::{self, Capabilities, Cursor, Filter, Inspect, Listed, Page, Stats};
use crate::time::Timestamp;

impl Inspect for FileStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> store::Result<Timestamp> {
        Ok(self.clock_now())
    }

    fn get(&self, task: TaskId) -> store::Result<Option<Listed>> {
        let got = self.read(|state| {
            let entry = state.book.ledger.find(task);
            entry
                .map(|entry| listed(entry, &mut state.journal))
                .transpose()
        });
        got.map_err(|fault| fault.during("find a task"))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> store::Result<Page> {
        let scanned = cursor
            .map_or(Ok(0), Cursor::parse)
            .map_err(Fault::from)
            .and_then(|after| self.page(filter, after, limit));
        scanned.map_err(|fault| fault.during("list tasks"))
    }

    fn stats(&self) -> store::Result<Stats> {
        let stats = self.read(|state| Ok(state.book.ledger.stats()));
        stats.map_err(|fault| fault.during("count tasks"))
    }

    fn mark(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        let mark = self.read(|state| Ok(state.book.ledger.mark(key).cloned()));
        mark.map_err(|fault| fault.during("read a mark"))
    }

    fn marks(&self, prefix: &str) -> store::Result<Vec<(String, Vec<u8>)>> {
        let marks = self.read(|state| {
            let marks = state.book.ledger.marks(prefix);
            Ok(marks
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect())
        });
        marks.map_err(|fault| fault.during("list marks"))
    }

    fn check(&self) -> store::Result<Vec<String>> {
        let checked = self.here().and_then(|()| check::check(self));
        checked.map_err(|fault| fault.during("check itself"))
    }
}

/// A part of a page, and the last task looked at if there may be more.
type Glance = (Vec<(Sequence, Listed)>, Option<Sequence>);

impl FileStore {
    /// Looks at some tasks at a time, and lets others have the lock in between.
    fn page(&self, filter: &Filter, mut after: Sequence, limit: usize) -> Result<Page> {
        let mut found: Vec<(Sequence, Listed)> = Vec::new();
        loop {
            // One more than asked for tells whether there is a next page.
            let wanted = limit.saturating_add(1) - found.len();
            let (mut some, next) = self.glance(filter, after, wanted)?;
            found.append(&mut some);
            match next {
                Some(next) if found.len() <= limit => after = next,
                _ => break,
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last();
        let last = last.map(|(sequence, _)| Cursor(sequence.to_string()));
        Ok(Page {
            tasks: found.into_iter().map(|(_, listed)| listed).collect(),
            next: last.filter(|_| has_more),
        })
    }

    fn glance(&self, filter: &Filter, after: Sequence, wanted: usize) -> Result<Glance> {
        self.read(|state| {
            let kind = filter.kind.as_ref();
            let is_of_kind = |body: &body::Body| kind.is_none_or(|kind| *body.kind() == *kind);
            let ledger = &state.book.ledger;
            let glance = ledger.glance(filter, (after, wanted), is_of_kind);
            let found = glance.found.into_iter();
            let listed =
                found.map(|(sequence, entry)| Ok((sequence, listed(entry, &mut state.journal)?)));
            Ok((listed.collect::<Result<_>>()?, glance.next))
        })
    }
}

fn listed(entry: &Entry<body::Body>, journal: &mut Journal) -> Result<Listed> {
    let claim = entry.claim.as_ref();
    Ok(Listed {
        record: body::record(entry, journal)?,
        holder: claim.map(|claim| (*claim.consumer).clone()),
        claimed_at: claim.map(|claim| claim.claimed_at),
    })
}
