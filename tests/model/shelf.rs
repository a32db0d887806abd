//! What ought to be in one store: a list of tasks, looked through from end to end.
#![cfg(test)]

mod keys;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, Token, TxnId};
use votive::store::{Amendment, Arrival, Change, Settlement, Verdict};
use votive::task::{Counts, Record, State, StateSet};
use votive::time::Timestamp;

use self::keys::Want;
use crate::program::QUEUES;

/// What one step of priority is worth to a task that says nothing of it.
const AGEING: Duration = Duration::from_secs(300);

/// How many tasks past their retention one write drops.
const DROPPED_MAX: usize = 16;

/// A visible task.
#[derive(Debug, Clone)]
struct Task {
    record: Record,
    holds_key: bool,
    claim: Option<(ConsumerId, Token)>,
    /// The tasks that merged into it.
    aliases: Vec<TaskId>,
}

/// What an operator says of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) is_paused: bool,
    pub(crate) capacity: Option<u64>,
    /// Whether tasks of the first kind go first.
    pub(crate) has_top: bool,
}

/// One store: the visible tasks in the order in which they became so, and what is staged.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    tasks: Vec<Task>,
    /// By key: for whose sake it rests, and until when.
    rests: BTreeMap<String, (TaskId, Timestamp)>,
    staged: BTreeMap<TxnId, Vec<Change>>,
    /// By queue.
    pub(crate) said: [Said; QUEUES.len()],
}

/// Whether changes are judged, or were and are made whatever is so by now.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Judge,
    Make,
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
        let before = (self.tasks.clone(), self.rests.clone());
        let accepted = self.apply(&changes, Mode::Judge, now).is_some();
        (self.tasks, self.rests) = before;
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
            self.apply(&changes, Mode::Make, now)
                .expect("what was staged can be published");
        }
        for task in changes.iter().filter_map(pinned) {
            self.let_go_on(task, now);
        }
        if committed {
            self.drop_expired(now);
        }
    }

    pub(crate) fn staged(&self) -> Vec<TxnId> {
        self.staged.keys().copied().collect()
    }

    /// Notes what an operator says of a queue.
    pub(crate) fn say(&mut self, queue: usize, said: Said, now: Timestamp) {
        if self.said[queue] != said {
            self.said[queue] = said;
            self.drop_expired(now);
        }
    }

    /// Keeps an operator's word of a transaction, before it is carried out: a commit like any other.
    pub(crate) fn keep_word(&mut self, now: Timestamp) {
        self.drop_expired(now);
    }

    fn apply(&mut self, changes: &[Change], mode: Mode, now: Timestamp) -> Option<()> {
        changes.iter().try_for_each(|change| match change {
            Change::Insert(record) => self.insert((**record).clone(), mode, now),
            Change::Settle(settlement) => self.settle(settlement, now),
            Change::Amend {
                task,
                amendment: Amendment::Progress(text),
                ..
            } => match self.find(*task) {
                Some(number) => {
                    self.tasks[number].record.progress = Some(text.clone());
                    Some(())
                }
                None => (mode == Mode::Make).then_some(()),
            },
            Change::Amend {
                task, amendment, ..
            } => self.amend(*task, amendment, now),
            Change::Room { queue, pending_max } => {
                let is_full = self.pending_count(queue) > *pending_max;
                (mode == Mode::Make || !is_full).then_some(())
            }
            other => panic!("no program does this: {other:?}"),
        })
    }

    fn pending_count(&self, queue: &str) -> u64 {
        let is_pending = |task: &&Task| {
            task.record.queue == queue && StateSet::PENDING.contains(task.record.state)
        };
        self.tasks.iter().filter(is_pending).count() as u64
    }

    fn insert(&mut self, mut record: Record, mode: Mode, now: Timestamp) -> Option<()> {
        let delay = record.options.delay;
        let delayed = delay.map(|delay| now.saturating_add(delay));
        record.not_before = record.not_before.max(delayed);
        record.published_at = Some(now);
        record.state = pending(record.not_before, self.is_busy(&record), now);
        let unique = record.options.unique.as_ref();
        match unique.map(|unique| self.judge_key(unique, mode, now)) {
            None | Some(Want::Granted) => {}
            Some(Want::Refused) => return None,
            Some(Want::Merges(into)) => {
                if let Some(number) = self.find(into) {
                    self.tasks[number].aliases.push(record.id);
                }
                return Some(());
            }
        }
        self.rest(&record, now);
        let group = record.options.group.clone();
        self.tasks.push(Task {
            holds_key: record.options.unique.is_some(),
            record,
            claim: None,
            aliases: Vec::new(),
        });
        self.fill(group.as_deref(), now);
        Some(())
    }

    fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Option<()> {
        let number = self.find(settlement.task)?;
        let is_pinned = self.is_pinned(number);
        let task = &mut self.tasks[number];
        let is_mine = |(_, token): &(_, Token)| *token == settlement.token;
        task.claim.take_if(|claim| is_mine(claim) && !is_pinned)?;
        task.record.counts = settlement.counts;
        let account = settlement.account.clone();
        task.record.account = account.or(task.record.account.take());
        let back = |record: &mut Record, not_before| {
            record.not_before = not_before;
            record.state = pending(not_before, false, now);
        };
        match &settlement.verdict {
            Verdict::Done => {
                task.record.state = State::Done;
                task.record.ended_at = Some(now);
            }
            Verdict::Retry { at } => back(&mut task.record, Some(*at)),
            Verdict::Bury { reason } => {
                task.record.state = State::Dead;
                task.record.dead = Some(*reason);
                task.record.ended_at = Some(now);
            }
            Verdict::Release { at } => {
                let not_before = at.or(task.record.not_before);
                back(&mut task.record, not_before);
            }
            other => panic!("no program says this: {other:?}"),
        }
        self.see_to_key(number, State::Claimed);
        let record = self.tasks[number].record.clone();
        if record.state.is_ended() {
            self.rest(&record, now);
        }
        let leaves = record.state == State::Done && record.options.retention.is_none();
        self.follow(number, leaves, now);
        Some(())
    }

    fn amend(&mut self, task: TaskId, amendment: &Amendment, now: Timestamp) -> Option<()> {
        let number = self.find(task)?;
        if self.is_pinned(number) || self.held_key(number).is_some_and(|k| self.is_reserved(k)) {
            return None;
        }
        let is_busy = self.is_busy(&self.tasks[number].record);
        let record = &mut self.tasks[number].record;
        let before = record.state;
        let is_pending = StateSet::PENDING.contains(before);
        match amendment {
            Amendment::Cancel if is_pending => {
                record.state = State::Cancelled;
                record.ended_at = Some(now);
            }
            Amendment::Revive if before.is_ended() => {
                record.not_before = record.not_before.max(Some(now));
                record.state = pending(record.not_before, is_busy, now);
                record.counts = Counts::default();
                record.dead = None;
                record.ended_at = None;
                record.progress = None;
            }
            Amendment::Reschedule(at) if is_pending => {
                record.not_before = *at;
                if before != State::Waiting {
                    record.state = pending(*at, is_busy, now);
                }
            }
            Amendment::Move(queue) if before != State::Claimed => record.queue = queue.into(),
            Amendment::Remove if before != State::Claimed => {}
            _ => return None,
        }
        self.see_to_key(number, before);
        if matches!(amendment, Amendment::Cancel | Amendment::Remove) {
            self.end_rest(number);
        }
        self.follow(number, *amendment == Amendment::Remove, now);
        Some(())
    }

    /// Has a task that leaves be gone, and lets the next of its group go on.
    fn follow(&mut self, number: usize, leaves: bool, now: Timestamp) {
        let group = self.tasks[number].record.options.group.clone();
        if leaves {
            self.tasks.remove(number);
        }
        self.fill(group.as_deref(), now);
    }

    /// Gives the places of a group to those of its tasks that come first.
    fn fill(&mut self, group: Option<&str>, now: Timestamp) {
        while let Some((first, last)) = self.next_of_group(group, now) {
            if let Some(last) = last {
                self.tasks[last].record.state = State::Waiting;
            }
            let record = &mut self.tasks[first].record;
            record.state = pending(record.not_before, false, now);
        }
    }

    /// Who goes on next in a group, and who gives way to it.
    fn next_of_group(&self, group: Option<&str>, now: Timestamp) -> Option<(usize, Option<usize>)> {
        let group = group?;
        let place = |number: &usize| (rank(&self.tasks[*number].record), *number);
        let is_member = |number: &usize| {
            let options = &self.tasks[*number].record.options;
            options.group.as_deref() == Some(group)
        };
        let members = || (0..self.tasks.len()).filter(is_member);
        let first = members()
            .filter(|number| self.waits(*number))
            .min_by_key(place)?;
        let record = &self.tasks[first].record;
        if record.not_before > Some(now) {
            return Some((first, None));
        }
        let holders = || members().filter(|number| holds_group(&self.tasks[*number].record));
        let is_ready = |number: &usize| {
            self.tasks[*number].record.state == State::Ready && !self.is_pinned(*number)
        };
        let ready = holders().filter(|holder| is_ready(holder) && place(holder) > place(&first));
        match holders().count().cmp(&limit(record)) {
            Ordering::Less => Some((first, None)),
            Ordering::Equal => Some((first, Some(ready.max_by_key(place)?))),
            Ordering::Greater => None,
        }
    }

    /// Whether nothing but its group holds a task back, and no staged batch settles its fate.
    fn waits(&self, number: usize) -> bool {
        self.tasks[number].record.state == State::Waiting && !self.is_pinned(number)
    }

    /// Lets the group of a task go on that was pinned while a place became free.
    fn let_go_on(&mut self, task: TaskId, now: Timestamp) {
        if let Some(number) = self.find(task) {
            let group = self.tasks[number].record.options.group.clone();
            self.fill(group.as_deref(), now);
        }
    }

    /// Whether a task that goes on now has to wait for its group: others have its places, or some wait, and may
    /// be before it.
    fn is_busy(&self, record: &Record) -> bool {
        let group = &record.options.group;
        let others = || {
            (0..self.tasks.len()).filter(|number| {
                let other = &self.tasks[*number].record;
                other.id != record.id && other.options.group == *group
            })
        };
        let holders = others().filter(|number| holds_group(&self.tasks[*number].record));
        let is_full = holders.count() >= limit(record);
        group.is_some() && (is_full || others().any(|number| self.waits(number)))
    }

    /// Drops some of the tasks that are past their retention, the oldest first.
    fn drop_expired(&mut self, now: Timestamp) {
        let tasks = self.tasks.iter().enumerate();
        let expired = tasks.filter_map(|(number, task)| Some((kept_until(&task.record)?, number)));
        let mut expired: Vec<_> = expired.filter(|(until, _)| *until <= now).collect();
        expired.sort_unstable();
        expired.truncate(DROPPED_MAX);
        let mut numbers: Vec<_> = expired.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().rev() {
            self.tasks.remove(number);
        }
    }

    fn find(&self, id: TaskId) -> Option<usize> {
        let is_it = |task: &Task| task.record.id == id || task.aliases.contains(&id);
        self.tasks.iter().position(is_it)
    }

    /// Whether what becomes of the task is staged.
    fn is_pinned(&self, number: usize) -> bool {
        let mut staged = self.staged.values().flatten().filter_map(pinned);
        staged.any(|task| self.find(task) == Some(number))
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
            .filter(|number| self.is_claimable(*number, queue, living))
            .collect();
        line.sort_by_key(|number| rank(&self.tasks[*number].record));
        line.truncate(count);
        line.into_iter()
            .map(|number| self.give(number, now))
            .collect()
    }

    /// Lets go on the tasks of a queue whose time has come, those first that have waited longest.
    fn promote(&mut self, queue: &str, now: Timestamp) {
        let is_due = |number: &usize| {
            let record = &self.tasks[*number].record;
            let is_scheduled = record.queue == queue && record.state == State::Scheduled;
            is_scheduled && record.not_before <= Some(now) && !self.is_pinned(*number)
        };
        let mut due: Vec<_> = (0..self.tasks.len()).filter(is_due).collect();
        due.sort_by_key(|number| self.tasks[*number].record.not_before);
        for number in due {
            let is_busy = self.is_busy(&self.tasks[number].record);
            let record = &mut self.tasks[number].record;
            record.state = pending(record.not_before, is_busy, now);
            let group = record.options.group.clone();
            self.fill(group.as_deref(), now);
        }
    }

    fn is_claimable(&self, number: usize, queue: &str, living: &[Incarnation]) -> bool {
        let Task { record, claim, .. } = &self.tasks[number];
        let is_free = match claim {
            Some((holder, _)) => !living.contains(&holder.incarnation),
            None => record.state == State::Ready,
        };
        is_free && record.queue == queue && !self.is_pinned(number)
    }

    fn give(&mut self, number: usize, now: Timestamp) -> (Record, Arrival) {
        let record = &mut self.tasks[number].record;
        let before = record.state;
        let is_reclaimed = before == State::Claimed;
        record.counts.reclaims += u32::from(is_reclaimed);
        record.state = State::Claimed;
        let given = record.clone();
        let arrival = match given.options.expires_at {
            Some(at) if at <= now => Arrival::Expired,
            _ if is_reclaimed => Arrival::Reclaimed,
            _ => Arrival::Fresh,
        };
        self.see_to_key(number, before);
        (given, arrival)
    }

    /// Notes who got a task.
    pub(crate) fn hold(&mut self, task: TaskId, holder: &ConsumerId, token: Token) {
        if let Some(number) = self.find(task) {
            self.tasks[number].claim = Some((holder.clone(), token));
        }
    }

    pub(crate) fn shown(&self) -> Vec<Shown> {
        let shown = self.tasks.iter().map(|task| Shown {
            record: task.record.clone(),
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

/// The task that a staged change keeps from others.
fn pinned(change: &Change) -> Option<TaskId> {
    match change {
        Change::Amend {
            amendment: Amendment::Progress(_),
            ..
        } => None,
        Change::Settle(Settlement { task, .. }) | Change::Amend { task, .. } => Some(*task),
        _ => None,
    }
}

/// Where a task goes that nothing but time and its group can hold back.
fn pending(not_before: Option<Timestamp>, is_busy: bool, now: Timestamp) -> State {
    match is_busy {
        _ if not_before > Some(now) => State::Scheduled,
        true => State::Waiting,
        false => State::Ready,
    }
}

fn limit(record: &Record) -> usize {
    record.options.group_limit.unwrap_or(1) as usize
}

fn holds_group(record: &Record) -> bool {
    matches!(record.state, State::Ready | State::Claimed)
}

/// Until when a task that is done is kept.
fn kept_until(record: &Record) -> Option<Timestamp> {
    let ended_at = record.ended_at.filter(|_| record.state == State::Done)?;
    Some(ended_at.saturating_add(record.options.retention?))
}

/// The place in the line; among equals, who became visible first comes first.
fn rank(record: &Record) -> i64 {
    let since = record.published_at.max(record.not_before);
    let since = since.expect("a visible task was published");
    let ageing = record.options.ageing.unwrap_or(AGEING).as_micros();
    let ageing = i64::try_from(ageing).expect("a step is worth a month at most");
    since.as_micros() + ageing * i64::from(record.options.priority)
}
