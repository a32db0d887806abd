//! A batch that is about to be staged: judged, so that performing it later cannot be refused.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{
    claimed, lock_names, lock_tasks, missing, not_unique, refuse_busy, refuse_full, refuse_holder,
    refuse_pinned,
};
use super::error::Result;
use super::groups;
use super::keys::{self, Reservation};
use super::names::Names;
use super::row::{Kept, TaskRow};
use super::session::Session;
use super::tasks;
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle::{self, Fate};
use crate::store::{Amendment, Batch, Change, Kind, Settlement};
use crate::task::{OnDuplicate, Record, StateSet, Unique};
use crate::time::Timestamp;

/// Judges a batch, pins what it changes and reserves what it names.
pub(super) struct Judge<'s> {
    session: &'s mut dyn Session,
    txn: TxnId,
    now: Timestamp,
    /// Rows as the changes so far leave them; `None` is deleted.
    rows: BTreeMap<TaskId, Option<TaskRow>>,
    /// Whether what is inserted may be amended by the same batch.
    amends: bool,
    keys: BTreeMap<String, TaskId>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
}

impl<'s> Judge<'s> {
    pub(super) fn new(session: &'s mut dyn Session, txn: TxnId, now: Timestamp) -> Self {
        Self {
            session,
            txn,
            now,
            rows: BTreeMap::new(),
            amends: false,
            keys: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    /// Judges all changes. After an error the caller rolls back.
    pub(super) fn judge(mut self, batch: &Batch) -> Result<()> {
        let is_amendment = |change: &Change| matches!(change, Change::Amend { .. });
        self.amends = batch.changes.iter().any(is_amendment);
        lock_names(self.session, batch)?;
        self.stage(batch)?;
        let settled: Vec<_> = batch
            .settlements()
            .map(|settlement| settlement.task)
            .collect();
        lock_tasks(self.session, &settled, Names::default())?;
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
                refuse_full(self.session, queue, (coming, *pending_max))
            }
        })
    }

    /// Announces all tasks that the batch will insert.
    fn stage(&mut self, batch: &Batch) -> Result<()> {
        let mut ids = BTreeSet::new();
        for record in batch.inserts() {
            if !ids.insert(record.id) {
                return Err(Kind::TaskExists(record.id).into());
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = ids.into_iter().collect();
        match tasks::stage(self.session, &ids, self.txn)? {
            Some(taken) => Err(Kind::TaskExists(taken).into()),
            None => Ok(()),
        }
    }

    fn insert(&mut self, record: &Record) -> Result<()> {
        if let Some(unique) = lifecycle::wanted_key(record) {
            self.judge_key(unique, record.id)?;
            let what = Reservation::UniqueKey;
            keys::reserve(self.session, what, &unique.key, self.txn)?;
        }
        if self.amends {
            self.remember(record.clone())?;
        }
        Ok(())
    }

    fn remember(&mut self, mut record: Record) -> Result<()> {
        let group_busy = groups::is_busy(self.session, &record)?;
        lifecycle::publish(&mut record, group_busy, self.now)?;
        self.rows.insert(record.id, Some(self.new_row(record)));
        Ok(())
    }

    /// A row that is not yet in the table, and belongs to nobody else.
    fn new_row(&self, record: Record) -> TaskRow {
        TaskRow {
            seq: 0,
            rank: 0,
            record,
            pinned: Some(self.txn),
            claim: None,
            kept: Kept::nowhere(),
        }
    }

    fn judge_key(&mut self, unique: &Unique, task: TaskId) -> Result<()> {
        if let Some(holder) = self.keys.get(&unique.key) {
            return match unique.on_duplicate {
                OnDuplicate::Refuse => Err(not_unique(unique, *holder)),
                OnDuplicate::Merge => Ok(()),
            };
        }
        if let Some(holder) = keys::key_holder(self.session, &unique.key)? {
            return refuse_holder(unique, &holder, Some(self.txn));
        }
        self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        self.keys.insert(unique.key.clone(), task);
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<()> {
        let row = self.row(settlement.task)?;
        let mut row = claimed(row, settlement)?;
        refuse_pinned(&row, Some(self.txn))?;
        let fate = lifecycle::settle(&mut row.record, settlement, self.now)?;
        row.claim = None;
        self.leave(settlement.task, row, fate)
    }

    fn amend(&mut self, task: TaskId, expect: StateSet, amendment: &Amendment) -> Result<()> {
        let mut row = self.row(task)?.ok_or_else(|| missing(task))?;
        if matches!(amendment, Amendment::Progress(_)) {
            return Ok(());
        }
        refuse_busy(self.session, &row, Some(self.txn))?;
        let group_busy = groups::is_busy(self.session, &row.record)?;
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        self.leave(task, row, fate)
    }

    fn mark(&mut self, key: &str, expect: Option<&Vec<u8>>, value: Option<&Vec<u8>>) -> Result<()> {
        self.refuse_reserved(Reservation::Mark, key)?;
        let found = match self.marks.get(key) {
            Some(found) => found.clone(),
            None => tasks::mark(self.session, key)?,
        };
        if found.as_ref() != expect {
            return Err(Kind::MarkChanged(key.to_owned()).into());
        }
        self.marks.insert(key.to_owned(), value.cloned());
        keys::reserve(self.session, Reservation::Mark, key, self.txn)
    }

    fn row(&mut self, task: TaskId) -> Result<Option<TaskRow>> {
        match self.rows.get(&task) {
            Some(row) => Ok(row.clone()),
            None => tasks::follow(self.session, task),
        }
    }

    /// Remembers what a change leaves of the task that was called `task`.
    fn leave(&mut self, task: TaskId, mut row: TaskRow, fate: Fate) -> Result<()> {
        if row.pinned.is_none() {
            tasks::pin(self.session, &mut row, self.txn)?;
        }
        let left = (fate == Fate::Stays).then_some(row);
        self.rows.insert(task, left);
        Ok(())
    }

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<()> {
        if keys::is_reserved(self.session, what, name, Some(self.txn))? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}
