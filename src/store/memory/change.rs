//! What each change of a batch does to the content.

use super::Judged;
use super::content::{Content, Entry};
use super::index::Sequence;
use crate::id::TaskId;
use crate::store::lifecycle::{self, Fate};
use crate::store::{Amendment, Applied, Change, Kind, Settlement};
use crate::task::{OnDuplicate, Record, State, StateSet};
use crate::time::Timestamp;

/// How many tasks past their retention one batch drops.
const LEAVING_MAX: usize = 16;

impl Content {
    /// Makes all changes, in order, or none.
    pub(super) fn execute(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        now: Timestamp,
    ) -> Judged<Applied> {
        let result = self.attempt(changes, now);
        match result {
            Ok(_) => self.commit(),
            Err(_) => self.rollback(),
        }
        result
    }

    /// Makes the changes, and leaves it to the caller to commit or roll back.
    pub(super) fn attempt(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        now: Timestamp,
    ) -> Judged<Applied> {
        self.begin();
        let mut applied = Applied::default();
        for change in changes {
            self.make(change, &mut applied, now)?;
        }
        Ok(applied)
    }

    fn make(&mut self, change: Change, applied: &mut Applied, now: Timestamp) -> Judged<()> {
        lifecycle::check(&change)?;
        match change {
            Change::Insert(record) => {
                applied.merged.extend(self.insert_or_merge(record, now)?);
                Ok(())
            }
            Change::Settle(settlement) => self.settle(&settlement, now),
            Change::Amend {
                task,
                expect,
                amendment,
            } => match self.amend(task, expect, &amendment, now) {
                // How far a task was pins nothing, and means nothing once it has ended.
                Err(_) if self.is_judged && matches!(amendment, Amendment::Progress(_)) => Ok(()),
                amended => amended,
            },
            Change::Arrive { task, done } => self.arrive(task, done, now),
            Change::Mark { key, expect, value } => {
                self.compare_and_set(key, expect.as_ref(), value)
            }
        }
    }

    /// Inserts a task, or returns which task it merged into.
    fn insert_or_merge(
        &mut self,
        mut record: Box<Record>,
        now: Timestamp,
    ) -> Judged<Option<(TaskId, TaskId)>> {
        let id = record.id;
        if self.find(id).is_some() || self.reserved.ids.contains(&id) {
            return Err(Kind::TaskExists(id));
        }
        if let Some((sequence, holder)) = self.holder_to_merge_into(&record)? {
            self.merge(id, sequence);
            return Ok(Some((id, holder)));
        }
        let is_busy = self.index.is_busy(&record);
        lifecycle::publish(&mut record, is_busy, now)?;
        self.insert(Entry::new(record));
        Ok(None)
    }

    fn holder_to_merge_into(&self, record: &Record) -> Judged<Option<(Sequence, TaskId)>> {
        let Some(unique) = &record.options.unique else {
            return Ok(None);
        };
        let holder = self.index.keys.get(&unique.key);
        let holder = holder.and_then(|sequence| Some((*sequence, self.entries.get(sequence)?)));
        match (holder, unique.on_duplicate) {
            (None, _) if self.reserved.keys.contains_key(&unique.key) => Err(Kind::Conflict),
            (None, _) => Ok(None),
            (Some((_, entry)), OnDuplicate::Refuse) => Err(Kind::NotUnique {
                key: unique.key.clone(),
                holder: entry.record.id,
            }),
            (Some((_, entry)), OnDuplicate::Merge) if entry.pinned => Err(Kind::Conflict),
            (Some((sequence, entry)), OnDuplicate::Merge) => Ok(Some((sequence, entry.record.id))),
        }
    }

    fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Judged<()> {
        let task = settlement.task;
        let (sequence, entry) = self.find(task).ok_or(Kind::ClaimLost(task))?;
        let claim = entry.claim.as_ref();
        if claim.is_none_or(|claim| claim.token != settlement.token) {
            return Err(Kind::ClaimLost(task));
        }
        if entry.pinned {
            return Err(Kind::Pinned(task));
        }
        if lifecycle::leaves(&entry.record, &settlement.verdict) {
            // It goes as it is: a copy to undo with would only be thrown away.
            return self.follow(sequence, Fate::Leaves, now);
        }
        let fate = self.update(sequence, |entry| {
            let fate = lifecycle::settle(&mut entry.record, settlement, now)?;
            entry.claim = None;
            Ok(fate)
        })?;
        self.follow(sequence, fate, now)
    }

    fn amend(
        &mut self,
        task: TaskId,
        expect: StateSet,
        amendment: &Amendment,
        now: Timestamp,
    ) -> Judged<()> {
        let missing = Kind::StateChanged {
            task,
            found: "missing",
        };
        let (sequence, entry) = self.find(task).ok_or(missing)?;
        if !matches!(amendment, Amendment::Progress(_)) {
            self.refuse_staged(entry)?;
        }
        let is_busy = self.index.is_busy_for(sequence, &entry.record);
        let fate = self.update(sequence, |entry| {
            let fate = lifecycle::amend(&mut entry.record, expect, amendment, is_busy, now)?;
            if matches!(amendment, Amendment::Revive) {
                entry.unmet.clear();
            }
            Ok(fate)
        })?;
        self.follow(sequence, fate, now)
    }

    /// Refuses to touch what a staged batch was judged by.
    fn refuse_staged(&self, entry: &Entry) -> Judged<()> {
        if entry.pinned && entry.record.state == State::Claimed {
            return Err(Kind::Pinned(entry.record.id));
        }
        let key = entry.held_key();
        if entry.pinned || key.is_some_and(|key| self.reserved.keys.contains_key(key)) {
            return Err(Kind::Conflict);
        }
        Ok(())
    }

    fn arrive(&mut self, task: TaskId, done: TaskId, now: Timestamp) -> Judged<()> {
        let Some((sequence, _)) = self.find(task) else {
            return Ok(());
        };
        self.update(sequence, |entry| {
            entry.unmet.remove(&done);
            Ok(())
        })?;
        self.go_on(sequence, now)
    }

    fn compare_and_set(
        &mut self,
        key: String,
        expect: Option<&Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Judged<()> {
        if self.reserved.marks.contains(&key) {
            return Err(Kind::Conflict);
        }
        if self.marks.get(&key) != expect {
            return Err(Kind::MarkChanged(key));
        }
        self.set_mark(key, value);
        Ok(())
    }

    /// Does what follows from a change of a task: deletes it if it leaves, and passes its group on.
    fn follow(&mut self, sequence: Sequence, fate: Fate, now: Timestamp) -> Judged<()> {
        let entry = self.entries.get(&sequence);
        let group = entry.and_then(|entry| entry.record.options.group.clone());
        if fate == Fate::Leaves {
            self.remove(sequence);
        }
        group.map_or(Ok(()), |group| self.pass_on(&group, now))
    }

    /// Lets the next of those that wait for a group go on, until one holds it.
    fn pass_on(&mut self, group: &str, now: Timestamp) -> Judged<()> {
        while !self.index.group_holders.contains_key(group)
            && let Some(waiters) = self.index.group_waiters.get(group)
            && let Some((_, sequence)) = waiters.first().copied()
        {
            self.update(sequence, |entry| lifecycle::unblock(&mut entry.record, now))?;
        }
        Ok(())
    }

    /// Lets a task go on if nothing holds it back any more.
    pub(super) fn go_on(&mut self, sequence: Sequence, now: Timestamp) -> Judged<()> {
        let is_free = self
            .entries
            .get(&sequence)
            .is_some_and(|entry| entry.waits_for_group() && !self.index.is_busy(&entry.record));
        if is_free {
            self.update(sequence, |entry| lifecycle::unblock(&mut entry.record, now))?;
        }
        Ok(())
    }

    /// Lets a scheduled task whose time came go on.
    pub(super) fn let_due_go_on(&mut self, sequence: Sequence, now: Timestamp) -> Judged<()> {
        let entry = self.entries.get(&sequence);
        let is_busy = entry.is_some_and(|entry| self.index.is_busy(&entry.record));
        self.update(sequence, |entry| {
            lifecycle::due(&mut entry.record, is_busy, now)
        })
    }

    /// Drops some of the tasks that are past their retention.
    pub(super) fn drop_expired(&mut self, now: Timestamp) {
        for _ in 0..LEAVING_MAX {
            match self.index.leaving.first().copied() {
                Some((at, sequence)) if at <= now => self.remove(sequence),
                _ => return,
            }
        }
    }
}
