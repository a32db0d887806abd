//! What staged batches were judged by, and nobody else may change.

use std::collections::{HashMap, HashSet};

use crate::id::TaskId;
use crate::store::{Batch, Change, lifecycle};
use crate::task::Record;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Reserved {
    pub(super) ids: HashSet<TaskId>,
    /// By how many batches: several may be about to merge into the same visible task.
    pub(super) keys: HashMap<String, usize>,
    pub(super) marks: HashSet<String>,
}

impl Reserved {
    pub(super) fn add(&mut self, batch: &Batch) {
        let records = || batch.inserts();
        self.ids.extend(records().map(|record| record.id));
        for key in records().filter_map(unique_key) {
            *self.keys.entry(key.clone()).or_default() += 1;
        }
        self.marks.extend(marked(batch).cloned());
    }

    pub(super) fn remove(&mut self, batch: &Batch) {
        for record in batch.inserts() {
            self.ids.remove(&record.id);
            if let Some(key) = unique_key(record)
                && let Some(count) = self.keys.get_mut(key)
            {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(key);
                }
            }
        }
        for key in marked(batch) {
            self.marks.remove(key);
        }
    }
}

fn unique_key(record: &Record) -> Option<&String> {
    lifecycle::wanted_key(record).map(|unique| &unique.key)
}

fn marked(batch: &Batch) -> impl Iterator<Item = &String> {
    batch.changes.iter().filter_map(|change| match change {
        Change::Mark { key, .. } => Some(key),
        _ => None,
    })
}
