//! The store's tables, as the rules of a batch see them.

use super::error::{Fault, Result};
use super::groups;
use super::insert;
use super::keys;
use super::row::TaskRow;
use super::session::Session;
use super::tasks;
use crate::id::{TaskId, TxnId};
use crate::store::rules::{self, Reservation};
use crate::task::Record;
use crate::time::Timestamp;

/// The tables, by way of whoever executes statements.
pub(super) type Tables<'s> = &'s mut (dyn Session + 's);

impl rules::Fault for Fault {
    fn is_verdict(&self) -> bool {
        self.is_verdict()
    }

    fn is_unreadable(&self) -> bool {
        self.is_unreadable()
    }
}

impl rules::Tables for &mut (dyn Session + '_) {
    type Kept = super::row::Kept;
    type Fault = Fault;

    fn find(&mut self, task: TaskId) -> Result<Option<TaskRow>> {
        tasks::find(*self, task)
    }

    fn follow(&mut self, task: TaskId) -> Result<Option<TaskRow>> {
        tasks::follow(*self, task)
    }

    fn refuse_known(&mut self, task: TaskId) -> Result<()> {
        tasks::refuse_known(*self, task)
    }

    /// All tasks of a batch are announced before it is judged.
    fn announce(&mut self, _task: TaskId, _txn: TxnId) -> Result<()> {
        Ok(())
    }

    /// An id that is known is refused when the task is inserted.
    fn admit(&mut self, task: TaskId, judged: bool) -> Result<()> {
        if judged {
            return tasks::unstage(*self, &[task]);
        }
        Ok(())
    }

    fn insert(&mut self, record: &Record, judged: bool) -> Result<()> {
        insert::insert(*self, std::slice::from_ref(record), judged)?;
        insert::insert_rest(*self, record)
    }

    fn update(&mut self, row: &TaskRow) -> Result<()> {
        tasks::update(*self, row)
    }

    fn delete(&mut self, row: &TaskRow) -> Result<()> {
        tasks::delete(*self, row)
    }

    fn pin(&mut self, row: &mut TaskRow, txn: TxnId) -> Result<()> {
        tasks::pin(*self, row, txn)
    }

    fn unpin(&mut self, row: &mut TaskRow) -> Result<()> {
        tasks::unpin(*self, row)
    }

    fn merge(&mut self, task: TaskId, holder: TaskId) -> Result<()> {
        keys::merge(*self, task, holder)
    }

    fn is_group_busy(&mut self, record: &Record) -> Result<bool> {
        groups::is_busy(*self, record)
    }

    fn count_holders(&mut self, group: &str, limit: u32) -> Result<usize> {
        groups::count_holders(*self, group, limit)
    }

    fn first_waiting(&mut self, group: &str) -> Result<Option<TaskRow>> {
        groups::first_waiting(*self, group)
    }

    fn last_ready_behind(&mut self, group: &str, first: &TaskRow) -> Result<Option<TaskRow>> {
        groups::last_ready_behind(*self, group, first)
    }

    fn meet(&mut self, task: TaskId, done: TaskId) -> Result<bool> {
        tasks::meet(*self, task, done)
    }

    fn has_prerequisites(&mut self, task: TaskId) -> Result<bool> {
        tasks::has_prerequisites(*self, task)
    }

    fn drop_prerequisites(&mut self, record: &Record) -> Result<()> {
        tasks::drop_prerequisites(*self, record)
    }

    fn key_holder(&mut self, key: &str) -> Result<Option<TaskRow>> {
        keys::key_holder(*self, key)
    }

    fn holds_key(&mut self, task: TaskId, key: &str) -> Result<bool> {
        keys::holds_key(*self, task, key)
    }

    fn take_key(&mut self, record: &Record) -> Result<()> {
        keys::take_key(*self, record)
    }

    /// What has become of a task says that it holds its key no more.
    fn free_key(&mut self, _record: &Record) -> Result<()> {
        Ok(())
    }

    fn lose_key(&mut self, record: &Record) -> Result<()> {
        keys::lose_key(*self, record)
    }

    fn resting(&mut self, key: &str, now: Timestamp) -> Result<Option<TaskId>> {
        keys::resting(*self, key, now)
    }

    fn rest(&mut self, record: &Record, until: Timestamp, now: Timestamp) -> Result<()> {
        keys::rest(*self, record, until, now)
    }

    fn end_rest(&mut self, record: &Record) -> Result<()> {
        keys::end_rest(*self, record)
    }

    fn reserve(&mut self, what: Reservation, name: &str, txn: TxnId) -> Result<()> {
        keys::reserve(*self, what, name, txn)
    }

    fn is_reserved(&mut self, what: Reservation, name: &str, txn: Option<TxnId>) -> Result<bool> {
        keys::is_reserved(*self, what, name, txn)
    }

    /// Exact for all who ask, because each holds the lock of the queue's name until its transaction has
    /// ended.
    fn pending_count(&mut self, queue: &str, limit: u64) -> Result<u64> {
        tasks::pending_count(*self, queue, limit)
    }

    fn mark(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        tasks::mark(*self, key)
    }

    fn set_mark(&mut self, key: &str, value: Option<&[u8]>) -> Result<()> {
        tasks::set_mark(*self, key, value)
    }
}
