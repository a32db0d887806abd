//! A batch that becomes visible: each change made, and what follows from it.

use super::refuse::{
    claimed, is_verdict, missing, not_unique, refuse_busy, refuse_full, refuse_holder,
    refuse_pinned, refuse_reserved,
};
use super::{Reservation, Result, RowOf, Tables, arrive, keep, pass_on, rest, unblock};
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::{Amendment, Applied, Change, Kind, Settlement, Verdict};
use crate::task::{OnDuplicate, Record, State, StateSet, Unique};
use crate::time::Timestamp;

/// Where and when a batch is performed.
pub(in crate::store) struct Performer<T> {
    pub(in crate::store) tables: T,
    /// Whose pins and reservations are its own. It was judged when it was staged: nothing may refuse it
    /// any more.
    pub(in crate::store) txn: Option<TxnId>,
    pub(in crate::store) now: Timestamp,
    applied: Applied,
    /// Tasks that were pinned until now and wait: what held them back may be gone meanwhile.
    waiting: Vec<TaskId>,
}

impl<T: Tables> Performer<T> {
    /// Performs a batch at once: judges each change as it comes.
    pub(in crate::store) fn at_once(tables: T, now: Timestamp) -> Self {
        Self {
            tables,
            txn: None,
            now,
            applied: Applied::default(),
            waiting: Vec::new(),
        }
    }

    /// Performs a batch that was staged for `txn`.
    pub(in crate::store) fn staged(tables: T, txn: TxnId, now: Timestamp) -> Self {
        Self {
            txn: Some(txn),
            ..Self::at_once(tables, now)
        }
    }

    /// Whether the batch was judged before.
    pub(in crate::store) fn is_judged(&self) -> bool {
        self.txn.is_some()
    }

    /// Lets go of what the batch pinned when it was staged. One change of a task gives its place in a group to others,
    /// which the batch may be about to change itself: they must not be passed over for that.
    pub(in crate::store) fn unpin(&mut self, changes: &[Change]) -> Result<(), T::Fault> {
        if !self.is_judged() {
            return Ok(());
        }
        let mut amended = changes.iter().filter_map(Change::amended);
        amended.try_for_each(|task| self.unpin_in_group(task))
    }

    fn unpin_in_group(&mut self, task: TaskId) -> Result<(), T::Fault> {
        match self.tables.follow(task)? {
            Some(mut row) if row.pinned == self.txn && row.record.options.group.is_some() => {
                self.tables.unpin(&mut row)
            }
            _ => Ok(()),
        }
    }

    /// Makes one change. After an error the caller rolls back.
    pub(in crate::store) fn change(&mut self, change: Change) -> Result<(), T::Fault> {
        match change {
            Change::Insert(record) => self.insert(*record),
            Change::Settle(settlement) => self.settle(&settlement),
            Change::Amend {
                task,
                expect,
                amendment,
            } => self.amend(task, expect, &amendment),
            Change::Arrive { task, done } => arrive(&mut self.tables, task, done, self.now),
            Change::Mark { key, expect, value } => {
                self.mark(&key, expect.as_deref(), value.as_deref())
            }
            Change::Room { .. } if self.is_judged() => Ok(()),
            Change::Room { queue, pending_max } => {
                refuse_full(&mut self.tables, &queue, (0, pending_max))
            }
        }
    }

    /// Lets go on what all changes together no longer hold back. Returns what was done.
    pub(in crate::store) fn end(&mut self) -> Result<Applied, T::Fault> {
        for task in std::mem::take(&mut self.waiting) {
            if let Some(row) = self.tables.find(task)? {
                unblock(&mut self.tables, row, self.now)?;
            }
        }
        Ok(std::mem::take(&mut self.applied))
    }

    fn insert(&mut self, mut record: Record) -> Result<(), T::Fault> {
        self.tables.admit(record.id, self.is_judged())?;
        let wants_key = lifecycle::wanted_key(&record).is_some();
        if let Some(unique) = lifecycle::wanted_key(&record) {
            if let Some(holder) = self.holder_to_merge_into(unique)? {
                return self.merge(record.id, holder);
            }
            self.refuse_reserved(Reservation::UniqueKey, &unique.key)?;
        }
        let group_busy = self.tables.is_group_busy(&record)?;
        lifecycle::publish(&mut record, group_busy, self.now)?;
        self.tables.insert(&record, self.is_judged())?;
        if wants_key {
            rest(&mut self.tables, &record, self.now)?;
        }
        match &record.options.group {
            Some(group) if group_busy => pass_on(&mut self.tables, group, self.now),
            _ => Ok(()),
        }
    }

    /// Returns the task that a new one merges into, if any; an error if it is refused instead.
    fn holder_to_merge_into(&mut self, unique: &Unique) -> Result<Option<TaskId>, T::Fault> {
        if self.is_judged() && unique.on_duplicate == OnDuplicate::Refuse {
            return Ok(None);
        }
        if let Some(holder) = self.tables.key_holder(&unique.key)? {
            if !self.is_judged() {
                refuse_holder(unique, &holder)?;
            }
            return Ok(Some(holder.record.id));
        }
        let resting = self.tables.resting(&unique.key, self.now)?;
        match (resting, unique.on_duplicate) {
            (Some(task), OnDuplicate::Refuse) => Err(not_unique(unique, task).into()),
            (resting, _) => Ok(resting),
        }
    }

    fn merge(&mut self, task: TaskId, holder: TaskId) -> Result<(), T::Fault> {
        if !self.is_judged() {
            self.tables.refuse_known(task)?;
        }
        // One for whose sake a key rests may be gone; then there is nothing to be another name of.
        if self.tables.find(holder)?.is_some() {
            self.tables.merge(task, holder)?;
        }
        self.applied.merged.push((task, holder));
        Ok(())
    }

    /// Ends a claim.
    pub(in crate::store) fn settle(&mut self, settlement: &Settlement) -> Result<(), T::Fault> {
        if settlement.verdict == Verdict::Done
            && self.tables.finish_plain(settlement, self.txn, self.now)?
        {
            return Ok(());
        }
        let row = self.tables.find(settlement.task)?;
        let mut row = claimed(row, settlement)?;
        refuse_pinned(&row, self.txn)?;
        let before = row.record.state;
        let fate = lifecycle::settle(&mut row.record, settlement, self.now)?;
        row.claim = None;
        row.pinned = None;
        keep(&mut self.tables, before, &row, fate, self.now)
    }

    fn amend(
        &mut self,
        task: TaskId,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<(), T::Fault> {
        let amended = self.try_amend(task, expect, amendment);
        // What a task said of how far it was pins nothing, and means nothing once it has ended.
        let is_idle = self.is_judged() && matches!(amendment, Amendment::Progress(_));
        if is_idle && is_verdict(&amended) {
            return Ok(());
        }
        amended
    }

    fn try_amend(
        &mut self,
        task: TaskId,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<(), T::Fault> {
        let row = self.tables.follow(task)?;
        let row = row.ok_or_else(|| missing(task))?;
        if !self.is_judged() && !matches!(amendment, Amendment::Progress(_)) {
            refuse_busy(&mut self.tables, &row)?;
        }
        self.amend_row(row, expect, amendment)
    }

    fn amend_row(
        &mut self,
        mut row: RowOf<T>,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<(), T::Fault> {
        let before = row.record.state;
        let group_busy = self.tables.is_group_busy(&row.record)?;
        let expect = lifecycle::expected(expect, self.is_judged());
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        match amendment {
            Amendment::Progress(_) => {}
            Amendment::Revive => {
                self.tables.drop_prerequisites(&row.record)?;
                row.pinned = None;
            }
            _ => row.pinned = None,
        }
        if self.is_judged() && row.record.state == State::Waiting {
            self.waiting.push(row.record.id);
        }
        keep(&mut self.tables, before, &row, fate, self.now)
    }

    fn mark(
        &mut self,
        key: &str,
        expect: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), T::Fault> {
        if !self.is_judged() {
            self.refuse_reserved(Reservation::Mark, key)?;
            if self.tables.mark(key)?.as_deref() != expect {
                return Err(Kind::MarkChanged(key.to_owned()).into());
            }
        }
        self.tables.set_mark(key, value)
    }

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<(), T::Fault> {
        if self.is_judged() {
            return Ok(());
        }
        refuse_reserved(&mut self.tables, (what, name), None)
    }
}
