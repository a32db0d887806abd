//! The store's tables, as the rules of a batch see them.

use super::error::{Fault, Result};
use super::groups::{self, Heir};
use super::keys;
use super::row::{Bytes, Sql, TaskRow};
use super::statements::Statements;
use super::tasks;
use crate::id::{TaskId, TxnId};
use crate::store::Settlement;
use crate::store::rules::{self, Reservation, Tables};
use crate::task::Record;
use crate::time::Timestamp;

impl rules::Fault for Fault {
    fn is_verdict(&self) -> bool {
        self.is_verdict()
    }

    fn is_unreadable(&self) -> bool {
        self.is_unreadable()
    }
}

impl Tables for &Statements<'_> {
    type Kept = ();
    type Fault = Fault;

    fn find(&mut self, task: TaskId) -> Result<Option<TaskRow>> {
        tasks::find(self, task, Bytes::Left)
    }

    fn follow(&mut self, task: TaskId) -> Result<Option<TaskRow>> {
        tasks::follow(self, task, Bytes::Left)
    }

    fn refuse_known(&mut self, task: TaskId) -> Result<()> {
        tasks::refuse_known(self, task)
    }

    fn announce(&mut self, task: TaskId, txn: TxnId) -> Result<()> {
        tasks::refuse_known(self, task)?;
        tasks::stage(self, task, txn)
    }

    fn admit(&mut self, task: TaskId, judged: bool) -> Result<()> {
        if judged {
            return tasks::unstage(self, task);
        }
        tasks::refuse_reserved_id(self, task)
    }

    fn insert(&mut self, record: &Record, _judged: bool) -> Result<()> {
        tasks::insert(self, record)
    }

    fn finish_plain(
        &mut self,
        settlement: &Settlement,
        txn: Option<TxnId>,
        now: Timestamp,
    ) -> Result<bool> {
        // What a staged batch has pinned may have to go on before others of its group.
        if txn.is_some() {
            return tasks::finish_plain(self, settlement, txn);
        }
        // Tasks that end together are mostly alike.
        if self.last_had_group.get() && finish_member(self, settlement, now)? {
            return Ok(true);
        }
        let has_group = !tasks::finish_plain(self, settlement, txn)?;
        let was_tried = self.last_had_group.replace(has_group);
        Ok(!has_group || !was_tried && finish_member(self, settlement, now)?)
    }

    fn update(&mut self, row: &TaskRow) -> Result<()> {
        tasks::update(self, row)
    }

    fn delete(&mut self, row: &TaskRow) -> Result<()> {
        tasks::delete(self, row)
    }

    fn pin(&mut self, row: &mut TaskRow, txn: TxnId) -> Result<()> {
        tasks::pin(self, row.seq, Some(txn))
    }

    fn unpin(&mut self, row: &mut TaskRow) -> Result<()> {
        row.pinned = None;
        tasks::pin(self, row.seq, None)
    }

    fn merge(&mut self, task: TaskId, holder: TaskId) -> Result<()> {
        tasks::merge(self, task, holder)
    }

    fn is_group_busy(&mut self, record: &Record) -> Result<bool> {
        groups::is_busy(self, record)
    }

    fn count_holders(&mut self, group: &str, limit: u32) -> Result<usize> {
        groups::count_holders(self, group, limit)
    }

    fn first_waiting(&mut self, group: &str) -> Result<Option<TaskRow>> {
        groups::first_waiting(self, group)
    }

    fn last_ready_behind(&mut self, group: &str, first: &TaskRow) -> Result<Option<TaskRow>> {
        groups::last_ready_behind(self, group, first)
    }

    fn meet(&mut self, task: TaskId, done: TaskId) -> Result<bool> {
        tasks::meet(self, task, done)
    }

    fn has_prerequisites(&mut self, task: TaskId) -> Result<bool> {
        tasks::has_prerequisites(self, task)
    }

    fn unblock_unread(&mut self, task: TaskId, now: Timestamp) -> Result<()> {
        let find = "SELECT seq FROM votive_task WHERE id = ?1";
        let seq = self.ask(find, [Sql(task)], |row| row.get(0))?;
        groups::go_on_unread(self, seq, now)
    }

    fn drop_prerequisites(&mut self, record: &Record) -> Result<()> {
        tasks::drop_prerequisites(self, record)
    }

    fn key_holder(&mut self, key: &str) -> Result<Option<TaskRow>> {
        keys::holder(self, key)
    }

    fn holds_key(&mut self, task: TaskId, key: &str) -> Result<bool> {
        keys::is_held_by(self, task, key)
    }

    fn take_key(&mut self, record: &Record) -> Result<()> {
        keys::take(self, record)
    }

    fn free_key(&mut self, record: &Record) -> Result<()> {
        keys::free(self, record)
    }

    fn resting(&mut self, key: &str, now: Timestamp) -> Result<Option<TaskId>> {
        keys::resting(self, key, now)
    }

    fn rest(&mut self, record: &Record, until: Timestamp, now: Timestamp) -> Result<()> {
        keys::rest(self, record, until, now)
    }

    fn end_rest(&mut self, record: &Record) -> Result<()> {
        keys::end_rest(self, record)
    }

    fn reserve(&mut self, what: Reservation, name: &str, txn: TxnId) -> Result<()> {
        tasks::reserve(self, what, name, txn)
    }

    fn is_reserved(&mut self, what: Reservation, name: &str, txn: Option<TxnId>) -> Result<bool> {
        tasks::is_reserved(self, what, name, txn)
    }

    fn pending_count(&mut self, queue: &str, limit: u64) -> Result<u64> {
        tasks::pending_count(self, queue, limit)
    }

    fn mark(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        tasks::mark(self, key)
    }

    fn set_mark(&mut self, key: &str, value: Option<&[u8]>) -> Result<()> {
        tasks::set_mark(self, key, value)
    }
}

/// Ends the claim of a task on which nothing but its group hangs, and has the next of the group go on.
fn finish_member(
    connection: &Statements<'_>,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let heir = groups::heir(connection, settlement.task, now)?;
    if matches!(heir, Heir::Unusual) || !groups::finish(connection, settlement)? {
        return Ok(false);
    }
    if let Heir::First(seq) = heir {
        groups::go_on(connection, seq)?;
    }
    Ok(true)
}
