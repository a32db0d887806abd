//! A batch in a transaction: judged when it is staged, performed when it becomes visible.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::error::Result;
use super::groups;
use super::row::{Bytes, TaskRow};
use super::tasks::{self, Reservation};
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle::{self, Fate};
use crate::store::{Amendment, Applied, Batch, Change, Kind, Settlement};
use crate::task::{OnDuplicate, Record, State, StateSet, Unique};
use crate::time::Timestamp;

/// Checks what can be judged without looking at the store.
pub(super) fn check(batch: &Batch) -> Result<()> {
    Ok(batch.changes.iter().try_for_each(lifecycle::check)?)
}

/// Whether a batch is one task on which nothing hangs: one statement writes it, all or nothing.
pub(crate) fn is_one_insert(batch: &Batch) -> bool {
    let [Change::Insert(record)] = batch.changes.as_slice() else {
        return false;
    };
    let options = &record.options;
    let alone = options.about.is_empty() && options.waits_for.is_empty();
    alone && options.unique.is_none() && !tasks::has_history(record)
}

/// Where and when a batch is performed.
pub(super) struct Performer<'c> {
    connection: &'c Connection,
    /// Whose pins and reservations are its own.
    txn: Option<TxnId>,
    /// Whether it was judged before, when it was staged: then nothing may refuse it any more.
    judged: bool,
    now: Timestamp,
    applied: Applied,
    /// Tasks that were pinned until now and wait: what held them back may be gone meanwhile.
    waiting: Vec<TaskId>,
}

impl<'c> Performer<'c> {
    /// Performs a batch at once: judges each change as it comes.
    pub(super) fn at_once(connection: &'c Connection, now: Timestamp) -> Self {
        Self {
            connection,
            txn: None,
            judged: false,
            now,
            applied: Applied::default(),
            waiting: Vec::new(),
        }
    }

    /// Performs a batch that was staged for `txn`.
    pub(super) fn staged(connection: &'c Connection, txn: TxnId, now: Timestamp) -> Self {
        Self {
            txn: Some(txn),
            judged: true,
            ..Self::at_once(connection, now)
        }
    }

    /// Makes all changes, and clears up. After an error the caller rolls back.
    pub(super) fn perform(self, batch: Batch) -> Result<Applied> {
        let (connection, now) = (self.connection, self.now);
        let applied = self.make(batch)?;
        tasks::drop_expired(connection, now)?;
        Ok(applied)
    }

    /// Makes all changes. After an error the caller rolls back.
    pub(super) fn make(mut self, batch: Batch) -> Result<Applied> {
        for change in batch.changes {
            self.change(change)?;
        }
        for task in self.waiting {
            if let Some(row) = tasks::find(self.connection, task, Bytes::Left)? {
                tasks::unblock(self.connection, row, self.now)?;
            }
        }
        Ok(self.applied)
    }

    fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Insert(record) => self.insert(*record),
            Change::Settle(settlement) => self.settle(&settlement),
            Change::Amend {
                task,
                expect,
                amendment,
            } => self.amend(task, expect, &amendment),
            Change::Arrive { task, done } => tasks::arrive(self.connection, task, done, self.now),
            Change::Mark { key, expect, value } => {
                self.mark(&key, expect.as_deref(), value.as_deref())
            }
            Change::Room { queue, pending_max } => self.room(&queue, pending_max),
        }
    }

    fn insert(&mut self, mut record: Record) -> Result<()> {
        if self.judged {
            tasks::unstage(self.connection, record.id)?;
        } else {
            tasks::refuse_reserved_id(self.connection, record.id)?;
        }
        if let Some(unique) = lifecycle::wanted_key(&record) {
            match tasks::key_holder(self.connection, &unique.key)? {
                Some(holder) if self.merges(unique, &holder)? => {
                    return self.merge(record.id, holder.record.id);
                }
                _ => self.refuse_reserved(Reservation::UniqueKey, &unique.key)?,
            }
        }
        let group_busy = groups::is_busy(self.connection, &record)?;
        lifecycle::publish(&mut record, group_busy, self.now)?;
        tasks::insert(self.connection, &record)?;
        match &record.options.group {
            Some(group) if group_busy => groups::pass_on(self.connection, group, self.now),
            _ => Ok(()),
        }
    }

    /// Whether a task merges into the holder of its key; an error if it is refused instead.
    fn merges(&self, unique: &Unique, holder: &TaskRow) -> Result<bool> {
        if self.judged {
            return Ok(unique.on_duplicate == OnDuplicate::Merge);
        }
        refuse_holder(unique, holder, self.txn)?;
        Ok(true)
    }

    fn merge(&mut self, id: TaskId, holder: TaskId) -> Result<()> {
        if !self.judged {
            tasks::refuse_known(self.connection, id)?;
        }
        tasks::merge(self.connection, id, holder)?;
        self.applied.merged.push((id, holder));
        Ok(())
    }

    fn settle(&self, settlement: &Settlement) -> Result<()> {
        let row = tasks::find(self.connection, settlement.task, Bytes::Left)?;
        let mut row = claimed(row, settlement)?;
        refuse_pinned(&row, self.txn)?;
        let before = row.record.state;
        let fate = lifecycle::settle(&mut row.record, settlement, self.now)?;
        row.claim = None;
        row.pinned = None;
        tasks::keep(self.connection, before, &row, fate, self.now)
    }

    fn amend(&mut self, task: TaskId, expect: StateSet, amendment: &Amendment) -> Result<()> {
        let row = tasks::follow(self.connection, task, Bytes::Left)?;
        let amended = row.ok_or_else(|| missing(task)).and_then(|row| {
            if !matches!(amendment, Amendment::Progress(_)) {
                refuse_busy(self.connection, &row, self.txn)?;
            }
            self.amend_row(row, expect, amendment)
        });
        match amended {
            // What a task said of how far it was pins nothing, and means nothing once it has ended.
            Err(_) if self.judged && matches!(amendment, Amendment::Progress(_)) => Ok(()),
            amended => amended,
        }
    }

    fn amend_row(
        &mut self,
        mut row: TaskRow,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<()> {
        let before = row.record.state;
        let group_busy = groups::is_busy(self.connection, &row.record)?;
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        match amendment {
            Amendment::Progress(_) => {}
            Amendment::Revive => {
                tasks::drop_prerequisites(self.connection, &row.record)?;
                row.pinned = None;
            }
            _ => row.pinned = None,
        }
        if self.judged && row.record.state == State::Waiting {
            self.waiting.push(row.record.id);
        }
        tasks::keep(self.connection, before, &row, fate, self.now)
    }

    fn mark(&self, key: &str, expect: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        if !self.judged {
            self.refuse_reserved(Reservation::Mark, key)?;
            if tasks::mark(self.connection, key)?.as_deref() != expect {
                return Err(Kind::MarkChanged(key.to_owned()).into());
            }
        }
        tasks::set_mark(self.connection, key, value)
    }

    fn room(&self, queue: &str, pending_max: u64) -> Result<()> {
        if self.judged {
            return Ok(());
        }
        refuse_full(self.connection, queue, (0, pending_max))
    }

    fn refuse_reserved(&self, what: Reservation, name: &str) -> Result<()> {
        if !self.judged && tasks::is_reserved(self.connection, what, name, None)? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}

/// Judges a batch that is about to be staged, pins what it changes and reserves what it names, so that
/// performing it later cannot be refused.
pub(super) struct Judge<'c> {
    connection: &'c Connection,
    txn: TxnId,
    now: Timestamp,
    /// Rows as the changes so far leave them; `None` is deleted.
    rows: BTreeMap<TaskId, Option<TaskRow>>,
    /// Whether what is inserted may be amended by the same batch.
    amends: bool,
    keys: BTreeMap<String, TaskId>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
}

impl<'c> Judge<'c> {
    pub(super) fn new(connection: &'c Connection, txn: TxnId, now: Timestamp) -> Self {
        Self {
            connection,
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
                refuse_full(self.connection, queue, (coming, *pending_max))
            }
        })
    }

    fn insert(&mut self, record: &Record) -> Result<()> {
        tasks::refuse_known(self.connection, record.id)?;
        tasks::stage(self.connection, record.id, self.txn)?;
        if let Some(unique) = lifecycle::wanted_key(record) {
            self.judge_key(unique, record.id)?;
            let what = Reservation::UniqueKey;
            tasks::reserve(self.connection, what, &unique.key, self.txn)?;
        }
        if self.amends {
            self.remember(record.clone())?;
        }
        Ok(())
    }

    fn remember(&mut self, mut record: Record) -> Result<()> {
        let group_busy = groups::is_busy(self.connection, &record)?;
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
        }
    }

    fn judge_key(&mut self, unique: &Unique, task: TaskId) -> Result<()> {
        if let Some(holder) = self.keys.get(&unique.key) {
            return match unique.on_duplicate {
                OnDuplicate::Refuse => Err(not_unique(unique, *holder)),
                OnDuplicate::Merge => Ok(()),
            };
        }
        if let Some(holder) = tasks::key_holder(self.connection, &unique.key)? {
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
        refuse_busy(self.connection, &row, Some(self.txn))?;
        let group_busy = groups::is_busy(self.connection, &row.record)?;
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        self.leave(task, row, fate)
    }

    fn mark(&mut self, key: &str, expect: Option<&Vec<u8>>, value: Option<&Vec<u8>>) -> Result<()> {
        self.refuse_reserved(Reservation::Mark, key)?;
        let found = match self.marks.get(key) {
            Some(found) => found.clone(),
            None => tasks::mark(self.connection, key)?,
        };
        if found.as_ref() != expect {
            return Err(Kind::MarkChanged(key.to_owned()).into());
        }
        self.marks.insert(key.to_owned(), value.cloned());
        tasks::reserve(self.connection, Reservation::Mark, key, self.txn)
    }

    fn row(&self, task: TaskId) -> Result<Option<TaskRow>> {
        match self.rows.get(&task) {
            Some(row) => Ok(row.clone()),
            None => tasks::follow(self.connection, task, Bytes::Left),
        }
    }

    /// Remembers what a change leaves of the task that was called `task`.
    fn leave(&mut self, task: TaskId, mut row: TaskRow, fate: Fate) -> Result<()> {
        if row.pinned.is_none() {
            tasks::pin(self.connection, row.seq, Some(self.txn))?;
            row.pinned = Some(self.txn);
        }
        let left = (fate == Fate::Stays).then_some(row);
        self.rows.insert(task, left);
        Ok(())
    }

    fn refuse_reserved(&self, what: Reservation, name: &str) -> Result<()> {
        if tasks::is_reserved(self.connection, what, name, Some(self.txn))? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}

/// Refuses a queue in which more tasks are pending than may be, with so many that are to come.
fn refuse_full(connection: &Connection, queue: &str, (coming, max): (u64, u64)) -> Result<()> {
    let pending = tasks::pending_count(connection, queue, max.saturating_add(1))?;
    Ok(lifecycle::check_room(
        queue,
        pending.saturating_add(coming),
        max,
    )?)
}

/// Returns the row if the settlement's claim is the present one.
fn claimed(row: Option<TaskRow>, settlement: &Settlement) -> Result<TaskRow> {
    let lost = || Kind::ClaimLost(settlement.task);
    let row = row.ok_or_else(lost)?;
    let token = row.claim.as_ref().map(|claim| claim.token);
    if token == Some(settlement.token) {
        Ok(row)
    } else {
        Err(lost().into())
    }
}

/// Refuses to merge into the holder of a key if the new task must not, or if the holder may be about to
/// leave.
fn refuse_holder(unique: &Unique, holder: &TaskRow, txn: Option<TxnId>) -> Result<()> {
    if unique.on_duplicate == OnDuplicate::Refuse {
        return Err(not_unique(unique, holder.record.id));
    }
    if holder.pinned.is_some() && holder.pinned != txn {
        return Err(Kind::Conflict.into());
    }
    Ok(())
}

/// Refuses to amend what a staged batch was judged by: its task, or the holder of its key.
fn refuse_busy(connection: &Connection, row: &TaskRow, txn: Option<TxnId>) -> Result<()> {
    match row.pinned {
        Some(pinned) if Some(pinned) == txn => return Ok(()),
        Some(_) if row.claim.is_some() => return Err(Kind::Pinned(row.record.id).into()),
        Some(_) => return Err(Kind::Conflict.into()),
        None => {}
    }
    match &row.record.options.unique {
        Some(unique)
            if tasks::holds_key(connection, row.record.id, &unique.key)?
                && tasks::is_reserved(connection, Reservation::UniqueKey, &unique.key, txn)? =>
        {
            Err(Kind::Conflict.into())
        }
        _ => Ok(()),
    }
}

fn refuse_pinned(row: &TaskRow, txn: Option<TxnId>) -> Result<()> {
    match row.pinned {
        Some(pinned) if Some(pinned) != txn => Err(Kind::Pinned(row.record.id).into()),
        _ => Ok(()),
    }
}

fn not_unique(unique: &Unique, holder: TaskId) -> super::error::Fault {
    let key = unique.key.clone();
    Kind::NotUnique { key, holder }.into()
}

fn missing(task: TaskId) -> super::error::Fault {
    Kind::StateChanged {
        task,
        found: "missing",
    }
    .into()
}
