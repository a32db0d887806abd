//! A batch that is about to be staged: judged, so that performing it later cannot be refused.

use std::collections::BTreeMap;

use super::refuse::{
    claimed, missing, not_unique, refuse_busy, refuse_full, refuse_holder, refuse_pinned,
    refuse_reserved,
};
use super::{Reservation, Result, RowOf, Tables, TaskRow};
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle::{self, Fate};
use crate::store::{Amendment, Batch, Change, Kind, Settlement};
use crate::task::{OnDuplicate, Record, StateSet, Unique};
use crate::time::Timestamp;

/// Judges a batch, pins what it changes and reserves what it names.
pub(in crate::store) struct Judge<T: Tables> {
    tables: T,
    txn: TxnId,
    now: Timestamp,
    /// Rows as the changes so far leave them; `None` is deleted.
    rows: BTreeMap<TaskId, Option<RowOf<T>>>,
    /// Whether what is inserted may be amended by the same batch.
    amends: bool,
    keys: BTreeMap<String, TaskId>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
}

impl<T: Tables> Judge<T> {
    pub(in crate::store) fn new(tables: T, txn: TxnId, now: Timestamp) -> Self {
        Self {
            tables,
            txn,
            now,
            rows: BTreeMap::new(),
            amends: false,
            keys: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    /// Judges all changes. After an error the caller rolls back.
    pub(in crate::store) fn judge(mut self, batch: &Batch) -> Result<(), T::Fault> {
        let is_amendment = |change: &Change| matches!(change, Change::Amend { .. });
        self.amends = batch.changes.iter().any(is_amendment);
        batch.changes.iter().try_for_each(|change| match change {
            Change::Insert(record) => self.insert(record),
            Change::Settle(settlement) => self.settle(settlement),
            Change::Amend {
                task,
                expect,
                amendment,
            } => self.amend(*task, *expect, amendment),
            Change::Arrive { .. } => Ok(()),
            Change::Mark { key, expect, value } => self.mark(key, expect.as_ref(), value.as_ref()),
            Change::Room { queue, pending_max } => {
                // What is to come is not in the table yet; one that is going to merge counts too.
                let coming = batch.inserts().filter(|record| record.queue == **queue);
                let coming = coming.count() as u64;
                refuse_full(&mut self.tables, queue, (coming, *pending_max))
            }
        })
    }

    fn insert(&mut self, record: &Record) -> Result<(), T::Fault> {
        self.tables.announce(record.id, self.txn)?;
        if let Some(unique) = lifecycle::wanted_key(record) {
            self.judge_key(unique, record.id)?;
            let what = Reservation::UniqueKey;
            self.tables.reserve(what, &unique.key, self.txn)?;
        }
        if self.amends {
            self.remember(record.clone())?;
        }
        Ok(())
    }

    fn remember(&mut self, mut record: Record) -> Result<(), T::Fault> {
        let group_busy = self.tables.is_group_busy(&record)?;
        lifecycle::publish(&mut record, group_busy, self.now)?;
        self.rows.insert(record.id, Some(self.new_row(record)));
        Ok(())
    }

    /// A row that is not yet in the table, and belongs to nobody else.
    fn new_row(&self, record: Record) -> RowOf<T> {
        TaskRow {
            seq: 0,
            rank: 0,
            record,
            pinned: Some(self.txn),
            claim: None,
            kept: T::Kept::default(),
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
            return Ok(refuse_holder(unique, &holder, Some(self.txn))?);
        }
        self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        self.keys.insert(unique.key.clone(), task);
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), T::Fault> {
        let row = self.row(settlement.task)?;
        let mut row = claimed(row, settlement)?;
        refuse_pinned(&row, Some(self.txn))?;
        let fate = lifecycle::settle(&mut row.record, settlement, self.now)?;
        row.claim = None;
        self.leave(settlement.task, row, fate)
    }

    fn amend(
        &mut self,
        task: TaskId,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<(), T::Fault> {
        let mut row = self.row(task)?.ok_or_else(|| missing(task))?;
        if matches!(amendment, Amendment::Progress(_)) {
            return Ok(());
        }
        refuse_busy(&mut self.tables, &row, Some(self.txn))?;
        let group_busy = self.tables.is_group_busy(&row.record)?;
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        self.leave(task, row, fate)
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
        self.tables.reserve(Reservation::Mark, key, self.txn)
    }

    fn row(&mut self, task: TaskId) -> Result<Option<RowOf<T>>, T::Fault> {
        match self.rows.get(&task) {
            Some(row) => Ok(row.clone()),
            None => self.tables.follow(task),
        }
    }

    /// Remembers what a change leaves of the task that was called `task`.
    fn leave(&mut self, task: TaskId, mut row: RowOf<T>, fate: Fate) -> Result<(), T::Fault> {
        if row.pinned.is_none() {
            self.tables.pin(&mut row, self.txn)?;
            row.pinned = Some(self.txn);
        }
        let left = (fate == Fate::Stays).then_some(row);
        self.rows.insert(task, left);
        Ok(())
    }

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<(), T::Fault> {
        refuse_reserved(&mut self.tables, (what, name), Some(self.txn))
    }
}
