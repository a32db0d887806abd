//! A batch that is about to be staged: judged, so that performing it later cannot be refused.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{
    Performer, claimed, lock_names, lock_tasks, not_unique, refuse_full, refuse_holder,
};
use super::error::Result;
use super::keys::{self, Reservation};
use super::names::Names;
use super::session::Session;
use super::tasks;
use crate::id::{TaskId, TxnId};
use crate::store::{Amendment, Batch, Change, Kind, Settlement, lifecycle};
use crate::task::{OnDuplicate, Record, Unique};
use crate::time::Timestamp;

/// Judges a batch, pins what it changes and reserves what it names. After an error the caller rolls back.
pub(super) fn judge(
    session: &mut dyn Session,
    txn: TxnId,
    batch: &Batch,
    now: Timestamp,
) -> Result<()> {
    lock_names(session, batch)?;
    let settled: Vec<_> = batch.settlements().map(|each| each.task).collect();
    if batch.is_entangled() {
        lock_tasks(session, &settled, Names::default())?;
        try_out(session, batch, now)?;
        return lock(session, txn, batch);
    }
    stage(session, txn, batch)?;
    lock_tasks(session, &settled, Names::default())?;
    let judge = Judge {
        session,
        txn,
        keys: BTreeMap::new(),
        marks: BTreeMap::new(),
    };
    judge.judge(batch)
}

/// Makes all changes, as they would be made now, and takes them back. The locks that were taken before are
/// still held then.
fn try_out(session: &mut dyn Session, batch: &Batch, now: Timestamp) -> Result<()> {
    session.later("SAVEPOINT votive_judge", Vec::new())?;
    Performer::at_once(session, now).perform_only(batch.clone())?;
    session.later("ROLLBACK TO SAVEPOINT votive_judge", Vec::new())?;
    session.later("RELEASE SAVEPOINT votive_judge", Vec::new())
}

/// Pins and reserves what a batch was judged by.
fn lock(session: &mut dyn Session, txn: TxnId, batch: &Batch) -> Result<()> {
    stage(session, txn, batch)?;
    for change in &batch.changes {
        match change {
            Change::Insert(record) => {
                if let Some(unique) = lifecycle::wanted_key(record) {
                    keys::reserve(session, Reservation::UniqueKey, &unique.key, txn)?;
                }
            }
            Change::Settle(Settlement { task, .. }) => pin(session, txn, *task)?,
            Change::Amend {
                amendment: Amendment::Progress(_),
                ..
            } => {}
            Change::Amend { task, .. } => pin(session, txn, *task)?,
            Change::Mark { key, .. } => keys::reserve(session, Reservation::Mark, key, txn)?,
            Change::Arrive { .. } | Change::Room { .. } => {}
        }
    }
    Ok(())
}

fn pin(session: &mut dyn Session, txn: TxnId, task: TaskId) -> Result<()> {
    match tasks::follow(session, task)? {
        Some(mut row) if row.pinned.is_none() => tasks::pin(session, &mut row, txn),
        _ => Ok(()),
    }
}

/// Announces all tasks that a batch will insert.
fn stage(session: &mut dyn Session, txn: TxnId, batch: &Batch) -> Result<()> {
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
    match tasks::stage(session, &ids, txn)? {
        Some(taken) => Err(Kind::TaskExists(taken).into()),
        None => Ok(()),
    }
}

/// Judges changes of which none decides about another.
struct Judge<'s> {
    session: &'s mut dyn Session,
    txn: TxnId,
    keys: BTreeMap<String, TaskId>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
}

impl Judge<'_> {
    fn judge(mut self, batch: &Batch) -> Result<()> {
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
                refuse_full(self.session, queue, (coming, *pending_max))
            }
            Change::Arrive { .. } | Change::Amend { .. } => Ok(()),
        })
    }

    fn insert(&mut self, record: &Record) -> Result<()> {
        match lifecycle::wanted_key(record) {
            Some(unique) => {
                self.judge_key(unique, record.id)?;
                let what = Reservation::UniqueKey;
                keys::reserve(self.session, what, &unique.key, self.txn)
            }
            None => Ok(()),
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
            return refuse_holder(unique, &holder, None);
        }
        self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        self.keys.insert(unique.key.clone(), task);
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<()> {
        let task = settlement.task;
        let mut row = claimed(tasks::find(self.session, task)?, settlement)?;
        match row.pinned {
            None => tasks::pin(self.session, &mut row, self.txn),
            // The batch has settled it before.
            Some(txn) if txn == self.txn => Err(Kind::ClaimLost(task).into()),
            Some(_) => Err(Kind::Pinned(task).into()),
        }
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

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<()> {
        if keys::is_reserved(self.session, what, name, Some(self.txn))? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}
