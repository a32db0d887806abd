//! The rules of a batch where tasks are rows of tables: what SQLite and Postgres have in common.
//!
//! The tables belong to the caller's transaction, so nothing here takes back what it has done: after an
//! error the caller rolls back. Owns two invariants: a unique key is held by at most one task, which is
//! pending; and no more tasks of a group are Ready or Claimed than those of them allow, where of those that
//! wait for nothing but the group the first by rank and sequence goes on before any other.

mod judge;
mod keep;
mod perform;
mod refuse;

pub(super) use judge::Judge;
pub(super) use keep::{arrive, keep, let_go, pass_on, rest, unblock};
pub(super) use perform::Performer;

use std::fmt::Debug;

use crate::id::{ConsumerId, TaskId, Token, TxnId};
use crate::store::lifecycle;
use crate::store::{Batch, Kind, Listed, Settlement};
use crate::task::Record;
use crate::time::Timestamp;

/// The result of what was done to tables.
pub(super) type Result<T, F> = std::result::Result<T, F>;

/// What went wrong.
pub(super) trait Fault: From<Kind> + Debug {
    /// Whether it was judged here and not by the database.
    fn is_verdict(&self) -> bool;

    /// Whether a task is damaged, or was written by a newer version.
    fn is_unreadable(&self) -> bool;
}

/// What staged transactions can reserve by name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reservation {
    UniqueKey = 0,
    Mark = 1,
}

/// A visible task, as the tables have it.
#[derive(Debug, Clone)]
pub(super) struct TaskRow<K> {
    pub(super) seq: i64,
    /// Without the payload's bytes unless they were asked for.
    pub(super) record: Record,
    pub(super) rank: i64,
    pub(super) pinned: Option<TxnId>,
    pub(super) claim: Option<ClaimColumns>,
    /// What other tables have of it, where there are such.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite has none")
    )]
    pub(super) kept: K,
}

/// Who has claimed a task, and since when.
#[derive(Debug, Clone)]
pub(super) struct ClaimColumns {
    pub(super) token: Token,
    pub(super) name: String,
    pub(super) at: Timestamp,
}

impl<K> TaskRow<K> {
    /// Turns it into what a listing shows.
    pub(super) fn listed(self) -> Listed {
        let claimed_at = self.claim.as_ref().map(|claim| claim.at);
        let holder = self.claim.map(|claim| ConsumerId {
            incarnation: claim.token.incarnation,
            name: claim.name,
        });
        Listed {
            record: self.record,
            holder,
            claimed_at,
        }
    }
}

/// A row of these tables.
pub(super) type RowOf<T> = TaskRow<<T as Tables>::Kept>;

/// Tables of tasks, inside a transaction.
pub(super) trait Tables {
    /// What other tables than that of the tasks have of one.
    type Kept;
    /// What may go wrong.
    type Fault: Fault;

    /// Finds a visible task by its own id.
    fn find(&mut self, task: TaskId) -> Result<Option<RowOf<Self>>, Self::Fault>;

    /// Finds a visible task by its own id, or by that of a task that merged into it.
    fn follow(&mut self, task: TaskId) -> Result<Option<RowOf<Self>>, Self::Fault>;

    /// Refuses an id that a task, an alias, or a task that is staged has already.
    fn refuse_known(&mut self, task: TaskId) -> Result<(), Self::Fault>;

    /// Announces a task that `txn` will insert when it is published; refuses an id that is known.
    fn announce(&mut self, task: TaskId, txn: TxnId) -> Result<(), Self::Fault>;

    /// Takes back what was announced for a task that is about to be published, if it was `judged` then;
    /// otherwise it may refuse an id that is known, as [`insert`](Self::insert) does in any case.
    fn admit(&mut self, task: TaskId, judged: bool) -> Result<(), Self::Fault>;

    /// Inserts a task that was just published, with all that hangs on it. Refuses an id that is known,
    /// unless the task was `judged` when it was announced.
    fn insert(&mut self, record: &Record, judged: bool) -> Result<(), Self::Fault>;

    /// Ends the claim of a task that is done and leaves with nothing that hangs on it but perhaps its place in a group,
    /// where that is seen at a glance. `false`, and nothing is changed, if it is not: also where the claim is lost or
    /// pinned.
    fn finish_plain(
        &mut self,
        _settlement: &Settlement,
        _txn: Option<TxnId>,
        _now: Timestamp,
    ) -> Result<bool, Self::Fault> {
        Ok(false)
    }

    /// Writes what has become of a task.
    fn update(&mut self, row: &RowOf<Self>) -> Result<(), Self::Fault>;

    /// Deletes a task with all that hangs on it, but for its unique key.
    fn delete(&mut self, row: &RowOf<Self>) -> Result<(), Self::Fault>;

    /// Pins a task for a staged transaction.
    fn pin(&mut self, row: &mut RowOf<Self>, txn: TxnId) -> Result<(), Self::Fault>;

    /// Unpins a task of which nothing has changed, and leaves it where it waits.
    fn unpin(&mut self, row: &mut RowOf<Self>) -> Result<(), Self::Fault>;

    /// Has the id of a merged task lead to the one that stays.
    fn merge(&mut self, task: TaskId, holder: TaskId) -> Result<(), Self::Fault>;

    /// Whether a task that goes on now has to wait for its group, if it has one: other tasks hold its places,
    /// or some wait for nothing but the group, and may be before it.
    fn is_group_busy(&mut self, record: &Record) -> Result<bool, Self::Fault>;

    /// Counts the tasks of a group that are Ready or Claimed, up to `limit`.
    fn count_holders(&mut self, group: &str, limit: u32) -> Result<usize, Self::Fault>;

    /// Returns the first that waits for nothing but the group.
    fn first_waiting(&mut self, group: &str) -> Result<Option<RowOf<Self>>, Self::Fault>;

    /// Returns the last task of a group that is Ready and not pinned, if it comes after `first`.
    fn last_ready_behind(
        &mut self,
        group: &str,
        first: &RowOf<Self>,
    ) -> Result<Option<RowOf<Self>>, Self::Fault>;

    /// Notes that a prerequisite of a task is met; `false` if it did not wait for that.
    fn meet(&mut self, task: TaskId, done: TaskId) -> Result<bool, Self::Fault>;

    /// Whether a task waits for another.
    fn has_prerequisites(&mut self, task: TaskId) -> Result<bool, Self::Fault>;

    /// Has a task that cannot be read go on if it waits for nothing any more, where that can be told all the same.
    fn unblock_unread(&mut self, _task: TaskId, _now: Timestamp) -> Result<(), Self::Fault> {
        Ok(())
    }

    /// Has a task wait for no other any more.
    fn drop_prerequisites(&mut self, record: &Record) -> Result<(), Self::Fault>;

    /// Returns the pending task that holds a unique key.
    fn key_holder(&mut self, key: &str) -> Result<Option<RowOf<Self>>, Self::Fault>;

    /// Whether this task holds the key: one that came back may go on without.
    fn holds_key(&mut self, task: TaskId, key: &str) -> Result<bool, Self::Fault>;

    /// Takes the key of a task that may hold it, if nobody else holds it.
    fn take_key(&mut self, record: &Record) -> Result<(), Self::Fault>;

    /// Frees the task's key, if the task holds it.
    fn free_key(&mut self, record: &Record) -> Result<(), Self::Fault>;

    /// Has a task that comes back go on without its key: one that does not take it again has lost it, where nothing
    /// else says so.
    fn lose_key(&mut self, _record: &Record) -> Result<(), Self::Fault> {
        Ok(())
    }

    /// Returns the task for whose sake a unique key rests at `now`; it may be gone.
    fn resting(&mut self, key: &str, now: Timestamp) -> Result<Option<TaskId>, Self::Fault>;

    /// Has the key of a task rest until then, unless it rests for longer already; and drops a few of the
    /// rests that are over at `now`.
    fn rest(
        &mut self,
        record: &Record,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Self::Fault>;

    /// Ends the rest of the key of a task, if it rests for its sake.
    fn end_rest(&mut self, record: &Record) -> Result<(), Self::Fault>;

    /// Reserves a name for a staged transaction.
    fn reserve(&mut self, what: Reservation, name: &str, txn: TxnId) -> Result<(), Self::Fault>;

    /// Whether a staged transaction other than `txn` has reserved a name.
    fn is_reserved(
        &mut self,
        what: Reservation,
        name: &str,
        txn: Option<TxnId>,
    ) -> Result<bool, Self::Fault>;

    /// Counts the pending tasks of a queue, up to about `limit`.
    fn pending_count(&mut self, queue: &str, limit: u64) -> Result<u64, Self::Fault>;

    /// Reads a mark.
    fn mark(&mut self, key: &str) -> Result<Option<Vec<u8>>, Self::Fault>;

    /// Writes a mark, or removes it.
    fn set_mark(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Self::Fault>;
}

/// How many bytes the payloads of a batch may have together. Half of what the databases take as one value, and a
/// quarter of what the driver of Postgres can encode: what it cannot would be missing among what is sent with it.
const BATCH_SIZE_MAX: usize = 1 << 29;

/// Checks what can be judged without looking at the store.
pub(super) fn check(batch: &Batch) -> Result<(), Kind> {
    batch.changes.iter().try_for_each(lifecycle::check)?;
    let size: usize = batch
        .inserts()
        .map(|record| record.payload.bytes.len())
        .sum();
    if size <= BATCH_SIZE_MAX {
        return Ok(());
    }
    let what = format!(
        "the payloads of a transaction have {size} bytes, and may have {BATCH_SIZE_MAX}: enqueue them in several"
    );
    Err(Kind::Invalid(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::store::Change;
    use crate::task::{Format, Payload};

    #[test]
    fn a_batch_that_a_database_could_not_take_is_refused_with_the_remedy() {
        let now = Timestamp::from_micros(7);
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: vec![7; 1 << 20].into(),
        };
        let insert = |_| {
            let record = Record::new(TaskId::new(now), "default", "kind", payload.clone(), now);
            Change::Insert(Box::new(record))
        };
        let batch = |count: usize| Batch::new((0..count).map(insert).collect());
        check(&batch(BATCH_SIZE_MAX >> 20)).unwrap();
        let refused = check(&batch((BATCH_SIZE_MAX >> 20) + 1)).unwrap_err();
        assert!(refused.to_string().contains("in several"), "{refused}");
    }
}
