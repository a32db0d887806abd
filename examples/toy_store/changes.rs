//! What each change of a batch does to the book, and what a claim does.

use votive::id::{Incarnation, TaskId};
use votive::store::lifecycle::{self, Fate, Turn};
use votive::store::{Amendment, Applied, Batch, Change, Kind, Settlement};
use votive::task::{OnDuplicate, Record, State, StateSet};
use votive::time::Timestamp;

use crate::book::{Book, Entry, Holding, Judged, Sequence};

impl Book {
    /// Makes all changes, in order. After an error the book is to be thrown away.
    pub(crate) fn perform(
        &mut self,
        batch: &Batch,
        now: Timestamp,
        judged: bool,
    ) -> Judged<Applied> {
        let mut applied = Applied::default();
        for change in &batch.changes {
            lifecycle::check(change)?;
            match change {
                Change::Insert(record) => {
                    applied.merged.extend(self.insert(record, now, judged)?);
                }
                Change::Settle(settlement) => self.settle(settlement, now)?,
                Change::Amend {
                    task,
                    expect,
                    amendment,
                } => {
                    let expect = lifecycle::expected(*expect, judged);
                    let amended = self.amend(*task, expect, amendment, now);
                    // Progress pins nothing, so a staged one may come too late, and matters no more.
                    if !(judged && matches!(amendment, Amendment::Progress(_))) {
                        amended?;
                    }
                }
                Change::Arrive { task, done } => self.arrive(*task, *done, now)?,
                Change::Mark { key, expect, value } => {
                    self.set(key, expect.as_ref(), value.as_ref())?;
                }
                Change::Room { queue, pending_max } if !judged => {
                    lifecycle::check_room(queue, self.pending_count(queue), *pending_max)?;
                }
                Change::Room { .. } => {}
                _ => return Err(Kind::Unsupported),
            }
        }
        self.drop_old(now);
        Ok(applied)
    }

    /// Inserts a task; returns the pair of ids if it merged instead. Batches that were judged may share a
    /// key: the first takes it, the others merge into it.
    fn insert(
        &mut self,
        record: &Record,
        now: Timestamp,
        judged: bool,
    ) -> Judged<Option<(TaskId, TaskId)>> {
        let id = record.id;
        if self.find(id).is_some() || self.is_staged(id) {
            return Err(Kind::TaskExists(id));
        }
        let key = lifecycle::wanted_key(record);
        if let Some(unique) = key {
            let holder = self.key_holder(&unique.key);
            let is_pinned = holder.is_some_and(|(_, holder)| holder.pinned);
            let holder = holder.map(|(_, holder)| holder.record.id);
            let resting = self.resting.get(&unique.key);
            let resting = resting
                .filter(|(_, until)| *until > now)
                .map(|(task, _)| *task);
            match (holder.or(resting), unique.on_duplicate) {
                (_, OnDuplicate::Refuse) if judged => {}
                (Some(holder), OnDuplicate::Refuse) => {
                    let key = unique.key.clone();
                    return Err(Kind::NotUnique { key, holder });
                }
                (Some(_), _) if is_pinned && !judged => return Err(Kind::Conflict),
                (Some(holder), _) => {
                    if self.find(holder).is_some() {
                        self.aliases.insert(id, holder);
                    }
                    return Ok(Some((id, holder)));
                }
                (None, _) if !judged && self.is_reserved_key(&unique.key) => {
                    return Err(Kind::Conflict);
                }
                (None, _) => {}
            }
        }
        let mut entry = Entry {
            unmet: record.options.waits_for.iter().copied().collect(),
            claim: None,
            pinned: false,
            holds_key: key.is_some(),
            record: record.clone(),
        };
        lifecycle::publish(&mut entry.record, self.is_busy(record), now)?;
        if key.is_some() {
            self.rest(&entry.record, now);
        }
        self.last += 1;
        self.tasks.insert(self.last, entry);
        self.go_on(self.last, now)?;
        Ok(None)
    }

    fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Judged<()> {
        let task = settlement.task;
        let (sequence, entry) = self.find(task).ok_or(Kind::ClaimLost(task))?;
        let token = entry.claim.as_ref().map(|claim| claim.token);
        if token != Some(settlement.token) {
            return Err(Kind::ClaimLost(task));
        }
        if entry.pinned {
            return Err(Kind::Pinned(task));
        }
        let fate = self.change(sequence, |entry| {
            entry.claim = None;
            lifecycle::settle(&mut entry.record, settlement, now)
        })?;
        let ended = self.tasks.get(&sequence).map(|entry| entry.record.clone());
        if let Some(record) = ended.filter(|record| record.state.is_ended()) {
            self.rest(&record, now);
        }
        self.follow(sequence, fate, now)
    }

    fn amend(
        &mut self,
        task: TaskId,
        expect: StateSet,
        amendment: &Amendment,
        now: Timestamp,
    ) -> Judged<()> {
        let found = "missing";
        let missing = Kind::StateChanged { task, found };
        let (sequence, entry) = self.find(task).ok_or(missing)?;
        let is_progress = matches!(amendment, Amendment::Progress(_));
        let key = entry.key().filter(|_| entry.holds_key);
        if entry.pinned && entry.record.state == State::Claimed && !is_progress {
            return Err(Kind::Pinned(task));
        }
        if !is_progress && (entry.pinned || key.is_some_and(|key| self.is_reserved_key(key))) {
            return Err(Kind::Conflict);
        }
        let is_busy = self.is_busy(&entry.record);
        let fate = self.change(sequence, |entry| {
            if matches!(amendment, Amendment::Revive) {
                entry.unmet.clear();
            }
            lifecycle::amend(&mut entry.record, expect, amendment, is_busy, now)
        })?;
        if matches!(amendment, Amendment::Cancel | Amendment::Remove) {
            self.resting.retain(|_, (rester, _)| *rester != task);
        }
        self.follow(sequence, fate, now)
    }

    fn arrive(&mut self, task: TaskId, done: TaskId, now: Timestamp) -> Judged<()> {
        let Some((sequence, _)) = self.find(task) else {
            return Ok(());
        };
        let mut has_waited = false;
        self.change(sequence, |entry| {
            has_waited = entry.unmet.remove(&done);
            Ok(())
        })?;
        if has_waited {
            self.go_on(sequence, now)?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, expect: Option<&Vec<u8>>, value: Option<&Vec<u8>>) -> Judged<()> {
        if self.is_reserved_mark(key) {
            return Err(Kind::Conflict);
        }
        if self.marks.get(key) != expect {
            return Err(Kind::MarkChanged(key.to_owned()));
        }
        match value {
            Some(value) => drop(self.marks.insert(key.to_owned(), value.clone())),
            None => drop(self.marks.remove(key)),
        }
        Ok(())
    }

    /// Has the unique key of a task rest, if it is to, and forgets the rests that are over.
    fn rest(&mut self, record: &Record, now: Timestamp) {
        self.resting.retain(|_, (_, until)| *until > now);
        if let (Some(unique), Some(until)) =
            (&record.options.unique, lifecycle::rests_until(record))
        {
            let rest = self
                .resting
                .entry(unique.key.clone())
                .or_insert((record.id, now));
            if rest.1 < until {
                *rest = (record.id, until);
            }
        }
    }

    /// Changes a task, then lets it give up its unique key, or take it again if it comes back and that is free.
    fn change<T>(
        &mut self,
        sequence: Sequence,
        change: impl FnOnce(&mut Entry) -> Judged<T>,
    ) -> Judged<T> {
        let entry = self.tasks.get(&sequence).ok_or(Kind::Other)?;
        let key = entry.key().cloned();
        let is_free = key
            .as_ref()
            .is_some_and(|key| self.key_holder(key).is_none() && !self.is_reserved_key(key));
        let entry = self.tasks.get_mut(&sequence).ok_or(Kind::Other)?;
        let held = lifecycle::holds_key(&entry.record);
        let result = change(entry)?;
        let holds = lifecycle::holds_key(&entry.record);
        entry.holds_key = holds && (entry.holds_key || (is_free && !held));
        Ok(result)
    }

    /// Does what follows from a change: deletes a task that leaves, and passes its group on.
    fn follow(&mut self, sequence: Sequence, fate: Fate, now: Timestamp) -> Judged<()> {
        let entry = self.tasks.get(&sequence);
        let group = entry.and_then(|entry| entry.record.options.group.clone());
        if fate == Fate::Leaves {
            self.remove(sequence);
        }
        group.map_or(Ok(()), |group| self.pass_on(&group, now))
    }

    fn remove(&mut self, sequence: Sequence) {
        if let Some(entry) = self.tasks.remove(&sequence) {
            self.aliases.retain(|_, holder| *holder != entry.record.id);
        }
    }

    /// Gives the places of a group to those of its tasks that are first.
    fn pass_on(&mut self, group: &str, now: Timestamp) -> Judged<()> {
        while let Some((first, last)) = self.next_of_group(group, now) {
            if let Some(last) = last {
                self.change(last, |entry| lifecycle::give_way(&mut entry.record))?;
            }
            self.change(first, |entry| lifecycle::unblock(&mut entry.record, now))?;
        }
        Ok(())
    }

    /// Who goes on next in a group, and who gives way to it.
    fn next_of_group(&self, group: &str, now: Timestamp) -> Option<(Sequence, Option<Sequence>)> {
        let place = |(sequence, entry): &(Sequence, &Entry)| (entry.rank(), *sequence);
        let waiting = self
            .members(group)
            .filter(|(_, entry)| entry.waits_for_group());
        let first = waiting.min_by_key(place)?;
        let holders = || self.members(group).filter(|(_, entry)| entry.holds_place());
        let last = match lifecycle::turn(&first.1.record, holders().count(), now) {
            Turn::GoesOn => None,
            Turn::Waits => return None,
            Turn::Replaces => {
                let is_ready = |entry: &Entry| entry.record.state == State::Ready && !entry.pinned;
                let ready = holders().filter(|(_, entry)| is_ready(entry));
                let last = ready
                    .max_by_key(place)
                    .filter(|last| place(last) > place(&first));
                Some(last?.0)
            }
        };
        Some((first.0, last))
    }

    /// Lets a task go on that waits for nothing any more, and the first of its group if it has one.
    pub(crate) fn go_on(&mut self, sequence: Sequence, now: Timestamp) -> Judged<()> {
        let Some(entry) = self.tasks.get(&sequence) else {
            return Ok(());
        };
        match entry.record.options.group.clone() {
            Some(group) => self.pass_on(&group, now),
            None if entry.waits_for_group() => {
                self.change(sequence, |entry| lifecycle::unblock(&mut entry.record, now))
            }
            None => Ok(()),
        }
    }

    /// What a staged batch was judged by stays.
    fn drop_old(&mut self, now: Timestamp) {
        let is_past = |at: Timestamp| at <= now;
        let is_old = |entry: &Entry| {
            !entry.pinned && lifecycle::kept_until(&entry.record).is_some_and(is_past)
        };
        let old = self.tasks.iter().filter(|(_, entry)| is_old(entry));
        let old: Vec<Sequence> = old.map(|(sequence, _)| *sequence).collect();
        for sequence in old {
            self.remove(sequence);
        }
    }
}

impl Book {
    /// Lets the scheduled tasks of a queue go on whose time has come, the first due first.
    pub(crate) fn promote(&mut self, queue: &str, now: Timestamp) -> Judged<()> {
        let due = self.tasks.iter();
        let due = due.filter(|(_, entry)| entry.record.queue == *queue && entry.is_due(now));
        let mut due: Vec<_> = due
            .map(|(sequence, entry)| (entry.record.not_before, *sequence))
            .collect();
        due.sort_unstable();
        for (_, sequence) in due {
            let entry = self.tasks.get(&sequence).ok_or(Kind::Other)?;
            let is_busy = self.is_busy(&entry.record);
            self.change(sequence, |entry| {
                lifecycle::due(&mut entry.record, is_busy, now)
            })?;
            self.go_on(sequence, now)?;
        }
        Ok(())
    }

    /// The first tasks of a queue that may be claimed.
    pub(crate) fn first(
        &self,
        queue: &str,
        count: usize,
        is_dead: impl Fn(Incarnation) -> bool,
    ) -> Vec<Sequence> {
        let of_queue = self
            .tasks
            .iter()
            .filter(|(_, entry)| entry.record.queue == *queue);
        let claimable = of_queue.filter(|(_, entry)| entry.is_claimable(&is_dead));
        let mut first: Vec<_> = claimable
            .map(|(sequence, entry)| (entry.rank(), *sequence))
            .collect();
        first.sort_unstable();
        first
            .into_iter()
            .take(count)
            .map(|(_, sequence)| sequence)
            .collect()
    }

    /// Gives a task to a consumer; returns its record, and whether it was taken from another.
    pub(crate) fn give(&mut self, sequence: Sequence, to: Holding) -> Judged<(Record, bool)> {
        self.change(sequence, |entry| {
            let reclaimed = entry.claim.is_some();
            if reclaimed {
                lifecycle::reclaim(&mut entry.record)?;
            }
            lifecycle::claim(&mut entry.record)?;
            entry.claim = Some(to);
            Ok((entry.record.clone(), reclaimed))
        })
    }
}
