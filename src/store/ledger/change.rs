//! What each change of a batch does to the content.

use std::sync::Arc;

use super::Judged;
use super::content::Content;
use super::entry::{Entry, Keeper};
use super::groups::Group;
use super::index::{Place, Sequence};
use super::resting::Rest;
use crate::id::TaskId;
use crate::store::life::Life;
use crate::store::lifecycle::{self, Fate, Turn};
use crate::store::{Amendment, Applied, Batch, Change, Kind, Settlement, Verdict};
use crate::task::{OnDuplicate, Options, Record, State, StateSet};
use crate::time::Timestamp;

/// How many tasks past their retention one batch drops.
const LEAVING_MAX: usize = 16;

/// Makes the changes of one batch.
pub(super) struct Scribe<'a, B> {
    pub(super) content: &'a mut Content<B>,
    pub(super) keeper: &'a mut dyn Keeper<B>,
    pub(super) now: Timestamp,
    /// Whether the batch was judged before: then nothing refuses it any more.
    pub(super) is_judged: bool,
}

impl<B: Clone> Scribe<'_, B> {
    /// Makes all changes, in order, or none.
    pub(super) fn execute(&mut self, batch: &Batch) -> Judged<Applied> {
        let noted = self.content.begin();
        let result = self.attempt(batch);
        match result {
            Ok(_) => self.content.commit(),
            Err(_) => self.content.rollback(noted),
        }
        result
    }

    /// Judges the changes: makes them, and undoes them again.
    pub(super) fn judge(&mut self, batch: &Batch) -> Judged<()> {
        let noted = self.content.begin();
        let judgement = self.attempt(batch);
        self.content.rollback(noted);
        judgement.map(drop)
    }

    fn attempt(&mut self, batch: &Batch) -> Judged<Applied> {
        let mut applied = Applied::default();
        for change in &batch.changes {
            self.make(change, &mut applied)?;
        }
        Ok(applied)
    }

    fn make(&mut self, change: &Change, applied: &mut Applied) -> Judged<()> {
        lifecycle::check(change)?;
        match change {
            Change::Insert(record) => {
                applied.merged.extend(self.insert_or_merge(record)?);
                Ok(())
            }
            Change::Settle(settlement) => self.settle(settlement),
            Change::Amend {
                task,
                expect,
                amendment,
            } => match self.amend(*task, *expect, amendment) {
                // How far a task was pins nothing, and means nothing once it has ended.
                Err(_) if self.is_judged && matches!(amendment, Amendment::Progress(_)) => Ok(()),
                amended => amended,
            },
            Change::Arrive { task, done } => self.arrive(*task, *done),
            Change::Mark { key, expect, value } => {
                self.compare_and_set(key, expect.as_ref(), value.as_ref())
            }
            Change::Room { queue, pending_max } => self.refuse_full(queue, *pending_max),
        }
    }

    /// Inserts a task, or returns which task it merged into.
    fn insert_or_merge(&mut self, record: &Record) -> Judged<Option<(TaskId, TaskId)>> {
        let id = record.id;
        if self.content.find(id).is_some() || self.content.reserved.ids.contains(&id) {
            return Err(Kind::TaskExists(id));
        }
        if let Some(holder) = self.holder_to_merge_into(record)? {
            // One for whose sake a key rests may be gone; then there is nothing to be another name of.
            if let Some((sequence, _)) = self.content.find(holder) {
                self.content.merge(id, sequence);
            }
            return Ok(Some((id, holder)));
        }
        let is_busy = self.content.index.is_busy(None, &record.options);
        let entry = Entry::publish(record, is_busy, self.now, self.keeper)?;
        if lifecycle::wanted_key(record).is_some() {
            self.rest(&entry.life, &entry.options);
        }
        let sequence = self.content.insert(entry);
        if is_busy {
            self.content.go_on(sequence, self.now)?;
        }
        Ok(None)
    }

    /// Has the key of a task rest, if it is to.
    fn rest(&mut self, life: &Life, options: &Options) {
        if let (Some(unique), Some(until)) = (&options.unique, life.rests_until(options)) {
            let task = life.id;
            self.content
                .rest(&unique.key, Rest { task, until }, self.now);
        }
    }

    fn holder_to_merge_into(&self, record: &Record) -> Judged<Option<TaskId>> {
        let Some(unique) = lifecycle::wanted_key(record) else {
            return Ok(None);
        };
        let content = &*self.content;
        let key = &unique.key;
        let holder = content.holder_of(key);
        let found = holder
            .map(Entry::id)
            .or_else(|| content.resting.at(key, self.now));
        match (found, unique.on_duplicate) {
            (Some(found), OnDuplicate::Merge) => {
                if !self.is_judged && holder.is_some_and(|holder| holder.pinned) {
                    return Err(Kind::Conflict);
                }
                Ok(Some(found))
            }
            // Whoever got the key since the batch was judged did not keep to its reservation, or only has it rest.
            (_, OnDuplicate::Refuse) if self.is_judged => Ok(None),
            (Some(holder), OnDuplicate::Refuse) => Err(Kind::NotUnique {
                key: key.clone(),
                holder,
            }),
            // Batches that were judged share the key: the first takes it, the others merge into it.
            (None, _) if !self.is_judged && content.reserved.keys.contains_key(key) => {
                Err(Kind::Conflict)
            }
            (None, _) => Ok(None),
        }
    }

    fn settle(&mut self, settlement: &Settlement) -> Judged<()> {
        let task = settlement.task;
        let (sequence, entry) = self.content.find(task).ok_or(Kind::ClaimLost(task))?;
        let claim = entry.claim.as_ref();
        if claim.is_none_or(|claim| claim.token() != settlement.token) {
            return Err(Kind::ClaimLost(task));
        }
        if entry.pinned {
            return Err(Kind::Pinned(task));
        }
        if settlement.verdict == Verdict::Done && entry.options.retention.is_none() {
            let mut life = entry.life;
            let limits = has_limits(entry).then(|| Arc::clone(&entry.options));
            if let Some(options) = limits.as_ref().filter(|options| options.unique.is_some())
                && life.settle(options, settlement, self.now)? == Fate::Leaves
            {
                self.rest(&life, options);
            }
            // It goes as it is: a copy to undo with would only be thrown away.
            self.content.remove(sequence);
            return limits.map_or(Ok(()), |options| self.pass_on(&options));
        }
        let (keeper, now) = (&mut *self.keeper, self.now);
        let fate = self.content.update(sequence, |entry| {
            let fate = entry.life.settle(&entry.options, settlement, now)?;
            if let Some(account) = &settlement.account {
                keeper.account(&mut entry.body, account);
            }
            entry.claim = None;
            Ok(fate)
        })?;
        let entry = self.content.entries.get(sequence);
        let ended =
            entry.filter(|entry| entry.state().is_ended() && entry.options.unique.is_some());
        if let Some((life, options)) = ended.map(|entry| (entry.life, Arc::clone(&entry.options))) {
            self.rest(&life, &options);
        }
        self.follow(sequence, fate)
    }

    fn amend(&mut self, task: TaskId, expect: StateSet, amendment: &Amendment) -> Judged<()> {
        let missing = Kind::StateChanged {
            task,
            found: "missing",
        };
        let (sequence, entry) = self.content.find(task).ok_or(missing)?;
        if !matches!(amendment, Amendment::Progress(_)) {
            self.refuse_staged(entry)?;
        }
        let is_busy = self.content.index.is_busy(Some(sequence), &entry.options);
        let expect = lifecycle::expected(expect, self.is_judged);
        let (keeper, now) = (&mut *self.keeper, self.now);
        let fate = self.content.update(sequence, |entry| {
            entry.life.expect(expect)?;
            let life = &mut entry.life;
            let fate = life.amend(&entry.options, amendment, is_busy, now)?;
            match amendment {
                Amendment::Move(queue) => entry.queue = queue.into(),
                Amendment::Progress(text) => keeper.progress(&mut entry.body, Some(text)),
                Amendment::Revive => {
                    entry.meet_all();
                    keeper.progress(&mut entry.body, None);
                }
                _ => {}
            }
            Ok(fate)
        })?;
        if matches!(amendment, Amendment::Cancel | Amendment::Remove) {
            self.end_rest(sequence);
        }
        self.follow(sequence, fate)
    }

    /// Ends the rest of the key of a task that nobody wants any more.
    fn end_rest(&mut self, sequence: Sequence) {
        let entry = self.content.entries.get(sequence);
        if let Some((key, task)) = entry.and_then(|entry| Some((entry.key()?.clone(), entry.id())))
        {
            self.content.end_rest(&key, task);
        }
    }

    /// Refuses to touch what a staged batch was judged by.
    fn refuse_staged(&self, entry: &Entry<B>) -> Judged<()> {
        if entry.pinned && entry.state() == State::Claimed {
            return Err(Kind::Pinned(entry.id()));
        }
        let reserved = &self.content.reserved;
        let key = entry.held_key();
        if entry.pinned || key.is_some_and(|key| reserved.keys.contains_key(key)) {
            return Err(Kind::Conflict);
        }
        Ok(())
    }

    fn arrive(&mut self, task: TaskId, done: TaskId) -> Judged<()> {
        let Some((sequence, _)) = self.content.find(task) else {
            return Ok(());
        };
        let mut has_waited = false;
        self.content.update(sequence, |entry| {
            has_waited = entry.meet(done);
            Ok(())
        })?;
        if has_waited {
            self.content.go_on(sequence, self.now)
        } else {
            Ok(())
        }
    }

    fn compare_and_set(
        &mut self,
        key: &String,
        expect: Option<&Vec<u8>>,
        value: Option<&Vec<u8>>,
    ) -> Judged<()> {
        if self.content.reserved.marks.contains(key) {
            return Err(Kind::Conflict);
        }
        if self.content.marks.get(key) != expect {
            return Err(Kind::MarkChanged(key.clone()));
        }
        self.content.set_mark(key, value);
        Ok(())
    }

    fn refuse_full(&self, queue: &str, pending_max: u64) -> Judged<()> {
        let line = self.content.index.lines.get(queue);
        match line {
            Some(line) if !self.is_judged => {
                lifecycle::check_room(queue, line.pending_count(), pending_max)
            }
            _ => Ok(()),
        }
    }

    /// Does what follows from a change of a task: deletes it if it leaves, and passes its group on.
    fn follow(&mut self, sequence: Sequence, fate: Fate) -> Judged<()> {
        let entry = self.content.entries.get(sequence);
        let limits = entry.filter(|entry| has_limits(entry));
        let limits = limits.map(|entry| Arc::clone(&entry.options));
        if fate == Fate::Leaves {
            self.content.remove(sequence);
        }
        limits.map_or(Ok(()), |options| self.pass_on(&options))
    }

    fn pass_on(&mut self, options: &Options) -> Judged<()> {
        let group = options.group.as_ref();
        group.map_or(Ok(()), |group| self.content.pass_on(group, self.now))
    }
}

/// Whether others may be kept from something while there is the task.
fn has_limits<B>(entry: &Entry<B>) -> bool {
    entry.options.group.is_some() || entry.options.unique.is_some()
}

/// What happens when a place of a group is passed on.
struct Passing {
    goes_on: Sequence,
    gives_way: Option<Sequence>,
}

impl<B: Clone> Content<B> {
    /// Gives the places of a group to those of its tasks that are first: lets the next go on for as long as
    /// there is a place, or one that has it and is not claimed yet can give it to somebody more urgent.
    fn pass_on(&mut self, group: &str, now: Timestamp) -> Judged<()> {
        while let Some(passing) = self.passing(group, now) {
            if let Some(sequence) = passing.gives_way {
                self.update(sequence, |entry| entry.life.give_way())?;
            }
            self.update(passing.goes_on, |entry| entry.life.unblock(now))?;
        }
        Ok(())
    }

    /// Says who goes on next in a group, and who gives way; `None` if nobody goes on.
    fn passing(&self, name: &str, now: Timestamp) -> Option<Passing> {
        let group = self.index.groups.get(name)?;
        let first = *group.waiting.first()?;
        let entry = self.entries.get(first.1)?;
        let gives_way = match entry.life.turn(&entry.options, group.holders.len(), now) {
            Turn::GoesOn => None,
            Turn::Replaces => Some(self.last_ready_behind(group, first)?),
            Turn::Waits => return None,
        };
        Some(Passing {
            goes_on: first.1,
            gives_way,
        })
    }

    /// The last of those that are Ready in a group, if it is behind `place`.
    fn last_ready_behind(&self, group: &Group, place: Place) -> Option<Sequence> {
        let behind = group.holders.iter().rev();
        let behind = behind.take_while(|holder| **holder > place);
        let mut sequences = behind.map(|(_, sequence)| *sequence);
        sequences.find(|sequence| {
            let entry = self.entries.get(*sequence);
            entry.is_some_and(|entry| entry.state() == State::Ready && !entry.pinned)
        })
    }

    /// Lets a task go on if nothing holds it back any more.
    pub(super) fn go_on(&mut self, sequence: Sequence, now: Timestamp) -> Judged<()> {
        let Some(entry) = self.entries.get(sequence) else {
            return Ok(());
        };
        if entry.options.group.is_some() {
            let options = Arc::clone(&entry.options);
            let group = options.group.as_ref();
            return group.map_or(Ok(()), |group| self.pass_on(group, now));
        }
        if entry.waits_for_nothing() {
            return self.update(sequence, |entry| entry.life.unblock(now));
        }
        Ok(())
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
