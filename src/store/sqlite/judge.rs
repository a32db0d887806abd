//! A batch that is about to be staged: judged, so that performing it later cannot be refused.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::batch::{Performer, claimed, not_unique, refuse_full, refuse_holder};
use super::error::Result;
use super::row::Bytes;
use super::tasks::{self, Reservation};
use crate::id::{TaskId, TxnId};
use crate::store::{Amendment, Batch, Change, Kind, Settlement, lifecycle};
use crate::task::{OnDuplicate, Record, Unique};
use crate::time::Timestamp;

/// Judges a batch, pins what it changes and reserves what it names. After an error the caller rolls back.
pub(super) fn judge(
    connection: &Connection,
    txn: TxnId,
    batch: &Batch,
    now: Timestamp,
) -> Result<()> {
    if batch.is_entangled() {
        try_out(connection, batch, now)?;
        return lock(connection, txn, batch);
    }
    let judge = Judge {
        connection,
        txn,
        keys: BTreeMap::new(),
        marks: BTreeMap::new(),
    };
    judge.judge(batch)
}

/// Makes all changes, as they would be made now, and takes them back.
fn try_out(connection: &Connection, batch: &Batch, now: Timestamp) -> Result<()> {
    let execute = |sql| connection.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT votive_judge")?;
    Performer::at_once(connection, now).make(batch.clone())?;
    execute("ROLLBACK TO votive_judge")?;
    execute("RELEASE votive_judge")?;
    Ok(())
}

/// Pins and reserves what a batch was judged by.
fn lock(connection: &Connection, txn: TxnId, batch: &Batch) -> Result<()> {
    batch.changes.iter().try_for_each(|change| match change {
        Change::Insert(record) => {
            tasks::stage(connection, record.id, txn)?;
            match lifecycle::wanted_key(record) {
                Some(unique) => {
                    tasks::reserve(connection, Reservation::UniqueKey, &unique.key, txn)
                }
                None => Ok(()),
            }
        }
        Change::Settle(Settlement { task, .. }) => pin(connection, txn, *task),
        Change::Amend {
            amendment: Amendment::Progress(_),
            ..
        } => Ok(()),
        Change::Amend { task, .. } => pin(connection, txn, *task),
        Change::Mark { key, .. } => tasks::reserve(connection, Reservation::Mark, key, txn),
        Change::Arrive { .. } | Change::Room { .. } => Ok(()),
    })
}

fn pin(connection: &Connection, txn: TxnId, task: TaskId) -> Result<()> {
    match tasks::follow(connection, task, Bytes::Left)? {
        Some(row) => tasks::pin(connection, row.seq, Some(txn)),
        None => Ok(()),
    }
}

/// Judges changes of which none decides about another.
struct Judge<'c> {
    connection: &'c Connection,
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
                refuse_full(self.connection, queue, (coming, *pending_max))
            }
            Change::Arrive { .. } | Change::Amend { .. } => Ok(()),
        })
    }

    fn insert(&mut self, record: &Record) -> Result<()> {
        tasks::refuse_known(self.connection, record.id)?;
        tasks::stage(self.connection, record.id, self.txn)?;
        match lifecycle::wanted_key(record) {
            Some(unique) => {
                self.judge_key(unique, record.id)?;
                let what = Reservation::UniqueKey;
                tasks::reserve(self.connection, what, &unique.key, self.txn)
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
        if let Some(holder) = tasks::key_holder(self.connection, &unique.key)? {
            return refuse_holder(unique, &holder, None);
        }
        self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        self.keys.insert(unique.key.clone(), task);
        Ok(())
    }

    fn settle(&self, settlement: &Settlement) -> Result<()> {
        let task = settlement.task;
        let row = claimed(tasks::find(self.connection, task, Bytes::Left)?, settlement)?;
        match row.pinned {
            None => tasks::pin(self.connection, row.seq, Some(self.txn)),
            // The batch has settled it before.
            Some(txn) if txn == self.txn => Err(Kind::ClaimLost(task).into()),
            Some(_) => Err(Kind::Pinned(task).into()),
        }
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

    fn refuse_reserved(&self, what: Reservation, name: &str) -> Result<()> {
        if tasks::is_reserved(self.connection, what, name, Some(self.txn))? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}
