//! A batch that is about to be staged: judged, so that performing it later cannot be refused.

use std::collections::BTreeMap;

use super::refuse::{claimed, not_unique, refuse_full, refuse_holder, refuse_reserved};
use super::{Reservation, Result, Tables};
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::{Batch, Change, Kind, Settlement};
use crate::task::{OnDuplicate, Record, Unique};
use crate::time::Timestamp;

/// Judges a batch, pins what it changes and reserves what it names.
///
/// A batch that is [entangled](Batch::is_entangled) is judged by making it and taking that back, and then
/// only [locked](Self::lock).
pub(in crate::store) struct Judge<T: Tables> {
    tables: T,
    txn: TxnId,
    now: Timestamp,
    keys: BTreeMap<String, TaskId>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
}

impl<T: Tables> Judge<T> {
    pub(in crate::store) fn new(tables: T, txn: TxnId, now: Timestamp) -> Self {
        Self {
            tables,
            txn,
            now,
            keys: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    /// Judges changes of which none decides about another. After an error the caller rolls back.
    pub(in crate::store) fn judge(mut self, batch: &Batch) -> Result<(), T::Fault> {
        let mut coming = BTreeMap::<&str, u64>::new();
        batch.changes.iter().try_for_each(|change| match change {
            Change::Insert(record) => {
                if !record.state.is_ended() {
                    *coming.entry(&record.queue).or_default() += 1;
                }
                self.insert(record)
            }
            Change::Settle(settlement) => self.settle(settlement),
            Change::Mark { key, expect, value } => self.mark(key, expect.as_ref(), value.as_ref()),
            Change::Room { queue, pending_max } => {
                // What is to come is not in the table yet.
                let coming = coming.get(&**queue).copied().unwrap_or_default();
                refuse_full(&mut self.tables, queue, (coming, *pending_max))
            }
            Change::Arrive { .. } | Change::Amend { .. } => Ok(()),
        })
    }

    /// Pins and reserves what a batch was judged by.
    pub(in crate::store) fn lock(mut self, batch: &Batch) -> Result<(), T::Fault> {
        for record in batch.inserts() {
            self.tables.announce(record.id, self.txn)?;
            if let Some(unique) = lifecycle::wanted_key(record) {
                self.reserve(Reservation::UniqueKey, &unique.key)?;
            }
        }
        for change in &batch.changes {
            if let Change::Mark { key, .. } = change {
                self.reserve(Reservation::Mark, key)?;
            }
        }
        batch.pinned().try_for_each(|task| self.pin(task))
    }

    fn pin(&mut self, task: TaskId) -> Result<(), T::Fault> {
        match self.tables.follow(task)? {
            Some(mut row) if row.pinned.is_none() => self.tables.pin(&mut row, self.txn),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, record: &Record) -> Result<(), T::Fault> {
        self.tables.announce(record.id, self.txn)?;
        match lifecycle::wanted_key(record) {
            Some(unique) => {
                self.judge_key(unique, record.id)?;
                self.reserve(Reservation::UniqueKey, &unique.key)
            }
            None => Ok(()),
        }
    }

    fn judge_key(&mut self, unique: &Unique, task: TaskId) -> Result<(), T::Fault> {
        if let Some(holder) = self.keys.get(&unique.key) {
            return match unique.on_duplicate {
                OnDuplicate::Refuse => Err(not_unique(unique, *holder).into()),
                OnDuplicate::Merge => Ok(()),
            };
        }
        if let Some(holder) = self.tables.key_holder(&unique.key)? {
            return Ok(refuse_holder(unique, &holder)?);
        }
        if let Some(task) = self.tables.resting(&unique.key, self.now)? {
            return match unique.on_duplicate {
                OnDuplicate::Refuse => Err(not_unique(unique, task).into()),
                OnDuplicate::Merge => Ok(()),
            };
        }
        self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        self.keys.insert(unique.key.clone(), task);
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), T::Fault> {
        let task = settlement.task;
        let mut row = claimed(self.tables.find(task)?, settlement)?;
        match row.pinned {
            None => self.tables.pin(&mut row, self.txn),
            // The batch has settled it before.
            Some(txn) if txn == self.txn => Err(Kind::ClaimLost(task).into()),
            Some(_) => Err(Kind::Pinned(task).into()),
        }
    }

    fn mark(
        &mut self,
        key: &str,
        expect: Option<&Vec<u8>>,
        value: Option<&Vec<u8>>,
    ) -> Result<(), T::Fault> {
        self.refuse_reserved(Reservation::Mark, key)?;
        let found = match self.marks.get(key) {
            Some(found) => found.clone(),
            None => self.tables.mark(key)?,
        };
        if found.as_ref() != expect {
            return Err(Kind::MarkChanged(key.to_owned()).into());
        }
        self.marks.insert(key.to_owned(), value.cloned());
        self.reserve(Reservation::Mark, key)
    }

    fn reserve(&mut self, what: Reservation, name: &str) -> Result<(), T::Fault> {
        self.tables.reserve(what, name, self.txn)
    }

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<(), T::Fault> {
        refuse_reserved(&mut self.tables, (what, name), Some(self.txn))
    }
}
