//! What ought to be in one store: a list of tasks, looked through from end to end.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, Token, TxnId};
use votive::store::{Amendment, Arrival, Change, Settlement, Verdict};
use votive::task::{Counts, OnDuplicate, Options, Record, State, StateSet};
use votive::time::Timestamp;

/// What one step of priority is worth to a task that says nothing of it.
const AGEING: Duration = Duration::from_secs(300);

/// A visible task. Its record says Ready whether its time has come or not, unless it is in a group: what has
/// no place there is Scheduled or Waiting.
#[derive(Debug, Clone)]
struct Task {
    record: Record,
    holds_key: bool,
    claim: Option<(ConsumerId, Token)>,
    /// The tasks that merged into it.
    aliases: Vec<TaskId>,
}

/// One store: the visible tasks in the order in which they became so, and what is staged.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    tasks: Vec<Task>,
    staged: BTreeMap<TxnId, Vec<Change>>,
}

/// A visible task, as it is compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) record: Record,
    pub(crate) holder: Option<ConsumerId>,
}

impl Shelf {
    /// Keeps changes that could be made now, and nobody else may make impossible.
    pub(crate) fn stage(&mut self, txn: TxnId, changes: Vec<Change>, now: Timestamp) -> bool {
        let before = self.tasks.clone();
        let accepted = self.apply(&changes, now).is_some();
        self.tasks = before;
        if accepted {
            self.staged.insert(txn, changes);
        }
        accepted
    }

    pub(crate) fn end(&mut self, txn: TxnId, committed: bool, now: Timestamp) {
        let Some(changes) = self.staged.remove(&txn) else {
            return;
        };
        if committed {
            self.apply(&changes, now)
                .expect("what was staged can be published");
        }
        for task in changes.iter().filter_map(pinned) {
            if let Some(number) = self.find(task) {
                self.fill_group_of(&self.tasks[number].record.options.clone(), now);
            }
        }
    }

    pub(crate) fn staged(&self) -> Vec<TxnId> {
        self.staged.keys().copied().collect()
    }

    fn apply(&mut self, changes: &[Change], now: Timestamp) -> Option<()> {
        changes.iter().try_for_each(|change| match change {
            Change::Insert(record) => self.insert((**record).clone(), now),
            Change::Settle(settlement) => self.settle(settlement, now),
            Change::Amend {
                task, amendment, ..
            } => self.amend(*task, amendment, now),
            other => panic!("no program does this: {other:?}"),
        })
    }

    fn insert(&mut self, mut record: Record, now: Timestamp) -> Option<()> {
        let delay = record.options.delay;
        let delayed = delay.map(|delay| now.saturating_add(delay));
        record.not_before = record.not_before.max(delayed);
        record.published_at = Some(now);
        record.state = State::Ready;
        if let Some(unique) = &record.options.unique {
            match self.holder(&unique.key) {
                Some(_) if unique.on_duplicate == OnDuplicate::Refuse => return None,
                Some(holder) if self.is_pinned(holder) => return None,
                Some(holder) => {
                    self.tasks[holder].aliases.push(record.id);
                    return Some(());
                }
                None if self.is_reserved(&unique.key) => return None,
                None => {}
            }
        }
        self.tasks.push(Task {
            holds_key: record.options.unique.is_some(),
            record,
            claim: None,
            aliases: Vec::new(),
        });
        self.go_on(self.tasks.len() - 1, now);
        Some(())
    }

    fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Option<()> {
        let number = self.find(settlement.task)?;
        let is_pinned = self.is_pinned(number);
        let task = &mut self.tasks[number];
        let is_mine = |(_, token): &(_, Token)| *token == settlement.token;
        task.claim.take_if(|claim| is_mine(claim) && !is_pinned)?;
        task.record.counts = settlement.counts;
        task.record.state = State::Ready;
        let account = settlement.account.clone();
        task.record.account = account.or(task.record.account.take());
        match &settlement.verdict {
            Verdict::Done => {
                let options = self.tasks.remove(number).record.options;
                self.fill_group_of(&options, now);
                return Some(());
            }
            Verdict::Retry { at } => task.record.not_before = Some(*at),
            Verdict::Bury { reason } => {
                task.record.state = State::Dead;
                task.record.dead = Some(*reason);
                task.record.ended_at = Some(now);
            }
            Verdict::Release { at } => task.record.not_before = at.or(task.record.not_before),
            other => panic!("no program says this: {other:?}"),
        }
        // Whoever comes back at once keeps its place.
        let is_early = task.record.not_before > Some(now);
        if task.record.state == State::Ready && is_early && task.record.options.group.is_some() {
            task.record.state = State::Scheduled;
        }
        self.see_to_key(number);
        self.fill_group_of(&self.tasks[number].record.options.clone(), now);
        Some(())
    }

    fn amend(&mut self, task: TaskId, amendment: &Amendment, now: Timestamp) -> Option<()> {
        let number = self.find(task)?;
        if self.is_pinned(number) || self.held_key(number).is_some_and(|k| self.is_reserved(k)) {
            return None;
        }
        let record = &mut self.tasks[number].record;
        let is_pending = StateSet::PENDING.contains(record.state);
        let is_ended = StateSet::ENDED.contains(record.state);
        match amendment {
            Amendment::Cancel if is_pending => {
                record.state = State::Cancelled;
                record.ended_at = Some(now);
            }
            Amendment::Revive if is_ended => {
                record.state = State::Ready;
                record.not_before = record.not_before.max(Some(now));
                record.counts = Counts::default();
                record.dead = None;
                record.ended_at = None;
                self.go_on(number, now);
            }
            Amendment::Reschedule(at) if is_pending => {
                record.not_before = *at;
                if record.state != State::Waiting {
                    self.go_on(number, now);
                }
            }
            Amendment::Move(queue) if is_pending || is_ended => record.queue = queue.into(),
            Amendment::Remove if is_pending || is_ended => {
                let options = self.tasks.remove(number).record.options;
                self.fill_group_of(&options, now);
                return Some(());
            }
            _ => return None,
        }
        self.see_to_key(number);
        self.fill_group_of(&self.tasks[number].record.options.clone(), now);
        Some(())
    }

    /// Says where a task of a group goes that nothing but its time and its group may hold back, and has the
    /// group go on.
    fn go_on(&mut self, number: usize, now: Timestamp) {
        let Record {
            options,
            not_before,
            ..
        } = self.tasks[number].record.clone();
        if options.group.is_none() {
            return;
        }
        let others: Vec<usize> = self
            .members(&options)
            .filter(|other| *other != number)
            .collect();
        let holders = others.iter().filter(|other| self.holds_place(**other));
        let is_full = holders.count() >= options.group_limit.unwrap_or(1) as usize;
        let is_busy = is_full || others.iter().any(|other| self.waits(*other));
        self.tasks[number].record.state = match () {
            () if not_before > Some(now) => State::Scheduled,
            () if is_busy => State::Waiting,
            () => State::Ready,
        };
        self.fill_group_of(&options, now);
    }

    /// Gives the places of a group to those of its tasks that come first.
    fn fill_group_of(&mut self, options: &Options, now: Timestamp) {
        while let Some((first, last)) = self.next_of_group(options, now) {
            if let Some(last) = last {
                self.tasks[last].record.state = State::Waiting;
            }
            let record = &mut self.tasks[first].record;
            record.state = if record.not_before > Some(now) {
                State::Scheduled
            } else {
                State::Ready
            };
        }
    }

    /// Who goes on next in a group, and who gives way to it.
    fn next_of_group(&self, options: &Options, now: Timestamp) -> Option<(usize, Option<usize>)> {
        let place = |number: &usize| (rank(&self.tasks[*number].record), *number);
        let waiting = self.members(options).filter(|number| self.waits(*number));
        let first = waiting.min_by_key(place)?;
        let Record {
            options,
            not_before,
            ..
        } = &self.tasks[first].record;
        let limit = options.group_limit.unwrap_or(1) as usize;
        let holders = || {
            self.members(options)
                .filter(|other| self.holds_place(*other))
        };
        let is_ready = |number: &usize| {
            self.tasks[*number].record.state == State::Ready && !self.is_pinned(*number)
        };
        let last = holders()
            .filter(|holder| is_ready(holder) && place(holder) > place(&first))
            .max_by_key(place);
        match holders().count() {
            _ if *not_before > Some(now) => Some((first, None)),
            count if count < limit => Some((first, None)),
            count if count == limit => Some((first, Some(last?))),
            _ => None,
        }
    }

    /// The tasks of the group that such a task is in.
    fn members(&self, options: &Options) -> impl Iterator<Item = usize> {
        let is_member = |number: &usize| {
            let of = &self.tasks[*number].record.options.group;
            of.is_some() && *of == options.group
        };
        (0..self.tasks.len())
            .filter(is_member)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn holds_place(&self, number: usize) -> bool {
        let state = self.tasks[number].record.state;
        matches!(state, State::Ready | State::Claimed)
    }

    fn waits(&self, number: usize) -> bool {
        self.tasks[number].record.state == State::Waiting && !self.is_pinned(number)
    }

    /// A task holds its key while it waits to be run; one that comes back takes it if it is free.
    fn see_to_key(&mut self, number: usize) {
        let task = &self.tasks[number];
        let unique = task.record.options.unique.as_ref();
        let holds_key = StateSet::PENDING.contains(task.record.state)
            && unique.is_some_and(|unique| {
                let is_free = self.holder(&unique.key).is_none() && !self.is_reserved(&unique.key);
                task.holds_key || is_free
            });
        self.tasks[number].holds_key = holds_key;
    }

    fn find(&self, id: TaskId) -> Option<usize> {
        let is_it = |task: &Task| task.record.id == id || task.aliases.contains(&id);
        self.tasks.iter().position(is_it)
    }

    fn held_key(&self, number: usize) -> Option<&str> {
        let task = &self.tasks[number];
        let unique = task.record.options.unique.as_ref();
        unique.filter(|_| task.holds_key).map(|unique| &*unique.key)
    }

    fn holder(&self, key: &str) -> Option<usize> {
        (0..self.tasks.len()).find(|number| self.held_key(*number) == Some(key))
    }

    fn is_reserved(&self, key: &str) -> bool {
        self.staged.values().flatten().any(|change| match change {
            Change::Insert(record) => {
                let unique = record.options.unique.as_ref();
                unique.is_some_and(|unique| unique.key == key)
            }
            _ => false,
        })
    }

    /// Whether what becomes of the task is staged.
    fn is_pinned(&self, number: usize) -> bool {
        let mut pins = self.staged.values().flatten().filter_map(pinned);
        pins.any(|task| self.find(task) == Some(number))
    }

    /// Gives out the first tasks of a queue; returns how each came.
    pub(crate) fn claim(
        &mut self,
        (queue, count): (&str, usize),
        living: &[Incarnation],
        now: Timestamp,
    ) -> Vec<(Record, Arrival)> {
        self.promote(queue, now);
        let mut line: Vec<usize> = (0..self.tasks.len())
            .filter(|number| self.is_claimable(*number, queue, living, now))
            .collect();
        line.sort_by_key(|number| rank(&self.tasks[*number].record));
        line.truncate(count);
        line.into_iter().map(|number| self.give(number)).collect()
    }

    /// Lets those tasks of groups go on whose time came: a store does so when it is asked for tasks.
    fn promote(&mut self, queue: &str, now: Timestamp) {
        let is_due = |number: &usize| {
            let record = &self.tasks[*number].record;
            let is_due = record.state == State::Scheduled && record.not_before <= Some(now);
            is_due && record.queue == *queue && !self.is_pinned(*number)
        };
        let mut due: Vec<usize> = (0..self.tasks.len()).filter(is_due).collect();
        due.sort_by_key(|number| self.tasks[*number].record.not_before);
        for number in due {
            self.go_on(number, now);
        }
    }

    fn is_claimable(
        &self,
        number: usize,
        queue: &str,
        living: &[Incarnation],
        now: Timestamp,
    ) -> bool {
        let Task { record, claim, .. } = &self.tasks[number];
        let is_free = match claim {
            Some((holder, _)) => !living.contains(&holder.incarnation),
            None => record.state == State::Ready && record.not_before <= Some(now),
        };
        is_free && record.queue == queue && !self.is_pinned(number)
    }

    fn give(&mut self, number: usize) -> (Record, Arrival) {
        let record = &mut self.tasks[number].record;
        let arrival = match record.state {
            State::Claimed => Arrival::Reclaimed,
            _ => Arrival::Fresh,
        };
        record.counts.reclaims += u32::from(arrival == Arrival::Reclaimed);
        record.state = State::Claimed;
        let given = record.clone();
        self.see_to_key(number);
        (given, arrival)
    }

    /// Notes who got a task.
    pub(crate) fn hold(&mut self, task: TaskId, holder: &ConsumerId, token: Token) {
        if let Some(number) = self.find(task) {
            self.tasks[number].claim = Some((holder.clone(), token));
        }
    }

    pub(crate) fn shown(&self, now: Timestamp) -> Vec<Shown> {
        let shown = self.tasks.iter().map(|task| Shown {
            record: ripened(task.record.clone(), now),
            holder: task.claim.as_ref().map(|(holder, _)| holder.clone()),
        });
        shown.collect()
    }

    /// Every task that merged into another, with the one that stays.
    pub(crate) fn merged(&self) -> impl Iterator<Item = (TaskId, TaskId)> {
        let tasks = self.tasks.iter();
        tasks.flat_map(|task| task.aliases.iter().map(|alias| (*alias, task.record.id)))
    }
}

/// The task that a staged change keeps as it is.
fn pinned(change: &Change) -> Option<TaskId> {
    match change {
        Change::Settle(Settlement { task, .. }) | Change::Amend { task, .. } => Some(*task),
        _ => None,
    }
}

/// The place in the line; among equals, who became visible first comes first.
fn rank(record: &Record) -> i64 {
    let since = record.published_at.max(record.not_before);
    let since = since.expect("a visible task was published");
    let ageing = record.options.ageing.unwrap_or(AGEING).as_micros();
    since.as_micros() + ageing as i64 * i64::from(record.options.priority)
}

/// A task that waits for its time is Ready once it has come; a store may notice that later.
pub(crate) fn ripened(mut record: Record, now: Timestamp) -> Record {
    if matches!(record.state, State::Ready | State::Scheduled) {
        record.state = if record.not_before > Some(now) {
            State::Scheduled
        } else {
            State::Ready
        };
    }
    record
}
