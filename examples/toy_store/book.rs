//! What is in the store, and what a batch does to it. Pure: no file, no clock, no lock.
//!
//! A batch is tried on a copy of the book, and the copy takes the book's place if nothing refused it. That
//! costs as much as the book is long, and makes *all or nothing* true by construction.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use votive::id::{ConsumerId, Incarnation, ResourceId, TaskId, Token, TxnId};
use votive::register::{Decision, IncarnationRow, OutcomeRow};
use votive::store::{self, Amendment, Applied, Batch, Change, Kind, Listed, lifecycle};
use votive::task::{Record, State, StateSet};
use votive::time::Timestamp;

/// What came of a change, or why it was refused.
pub(crate) type Judged<T> = Result<T, Kind>;

/// The place of a task in the order of publishing.
pub(crate) type Sequence = u64;

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) last: Sequence,
    pub(crate) tasks: BTreeMap<Sequence, Entry>,
    /// Ids of merged tasks, to the task that stays.
    pub(crate) aliases: BTreeMap<TaskId, TaskId>,
    pub(crate) marks: BTreeMap<String, Vec<u8>>,
    /// For whose sake a unique key rests, and until when.
    pub(crate) resting: BTreeMap<String, (TaskId, Timestamp)>,
    pub(crate) staged: BTreeMap<TxnId, Staged>,
    /// Staged transactions that have ended, and whether they were published.
    pub(crate) ended: BTreeMap<TxnId, bool>,
    pub(crate) outcomes: BTreeMap<TxnId, (Decision, Vec<ResourceId>)>,
    /// When each was enrolled, and whether it is closed.
    pub(crate) incarnations: BTreeMap<Incarnation, (Timestamp, bool)>,
}

/// A visible task.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    /// Prerequisites that have not arrived.
    pub(crate) unmet: BTreeSet<TaskId>,
    pub(crate) claim: Option<Holding>,
    /// Whether a staged batch settles or amends it: nothing else may move it.
    pub(crate) pinned: bool,
    pub(crate) holds_key: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) consumer: ConsumerId,
    pub(crate) token: Token,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Staged {
    pub(crate) register: ResourceId,
    pub(crate) batch: Batch,
    pub(crate) since: Timestamp,
}

impl Entry {
    pub(crate) fn rank(&self) -> i64 {
        let at = self.record.published_at.unwrap_or(self.record.enqueued_at);
        store::rank(&self.record, at)
    }

    pub(crate) fn key(&self) -> Option<&String> {
        self.record
            .options
            .unique
            .as_ref()
            .map(|unique| &unique.key)
    }

    /// Whether nothing but its group holds it back.
    pub(crate) fn waits_for_group(&self) -> bool {
        self.record.state == State::Waiting && self.unmet.is_empty() && !self.pinned
    }

    /// Whether it holds a place of its group, if it has one.
    pub(crate) fn holds_place(&self) -> bool {
        matches!(self.record.state, State::Ready | State::Claimed)
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.record.options.group.as_deref() == Some(group)
    }

    /// Whether it may be claimed, given who is dead.
    pub(crate) fn is_claimable(&self, is_dead: impl Fn(Incarnation) -> bool) -> bool {
        let is_orphan = |holding: &Holding| is_dead(holding.consumer.incarnation);
        !self.pinned
            && match self.record.state {
                State::Ready => true,
                State::Claimed => self.claim.as_ref().is_some_and(is_orphan),
                _ => false,
            }
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let at = self.record.not_before;
        self.record.state == State::Scheduled && !self.pinned && at.is_none_or(|at| at <= now)
    }

    pub(crate) fn listed(&self) -> Listed {
        Listed {
            record: self.record.clone(),
            holder: self.claim.as_ref().map(|claim| claim.consumer.clone()),
            claimed_at: self.claim.as_ref().map(|claim| claim.at),
        }
    }
}

impl Book {
    /// Finds a task by its id, or by that of one that merged into it.
    pub(crate) fn find(&self, id: TaskId) -> Option<(Sequence, &Entry)> {
        let id = self.aliases.get(&id).copied().unwrap_or(id);
        let mut tasks = self.tasks.iter();
        let (sequence, entry) = tasks.find(|(_, entry)| entry.record.id == id)?;
        Some((*sequence, entry))
    }

    pub(crate) fn key_holder(&self, key: &str) -> Option<(Sequence, &Entry)> {
        let holds = |entry: &Entry| entry.holds_key && entry.key().is_some_and(|held| held == key);
        let mut tasks = self.tasks.iter();
        let (sequence, entry) = tasks.find(|(_, entry)| holds(entry))?;
        Some((*sequence, entry))
    }

    /// Whether a task that goes on now has to wait for its group.
    pub(crate) fn is_busy(&self, record: &Record) -> bool {
        let Some(group) = &record.options.group else {
            return false;
        };
        let others = self.members(group);
        let others = others.filter(|(_, entry)| entry.record.id != record.id);
        let (waiting, others): (Vec<_>, Vec<_>) =
            others.partition(|(_, entry)| entry.waits_for_group());
        let holders = others.iter().filter(|(_, entry)| entry.holds_place());
        !waiting.is_empty() || holders.count() >= record.options.places() as usize
    }

    pub(crate) fn members(&self, group: &str) -> impl Iterator<Item = (Sequence, &Entry)> {
        let members = self
            .tasks
            .iter()
            .filter(move |(_, entry)| entry.is_in(group));
        members.map(|(sequence, entry)| (*sequence, entry))
    }

    pub(crate) fn pending_count(&self, queue: &str) -> u64 {
        let pending = self.tasks.values().filter(|entry| {
            entry.record.queue == *queue && StateSet::PENDING.contains(entry.record.state)
        });
        pending.count() as u64
    }

    fn staged_changes(&self) -> impl Iterator<Item = &Change> {
        self.staged
            .values()
            .flat_map(|staged| &staged.batch.changes)
    }

    pub(crate) fn is_staged(&self, task: TaskId) -> bool {
        let mut staged = self
            .staged
            .values()
            .flat_map(|staged| staged.batch.inserts());
        staged.any(|record| record.id == task)
    }

    pub(crate) fn is_reserved_key(&self, key: &str) -> bool {
        let mut staged = self
            .staged
            .values()
            .flat_map(|staged| staged.batch.inserts());
        staged.any(|record| lifecycle::wanted_key(record).is_some_and(|unique| unique.key == key))
    }

    pub(crate) fn is_reserved_mark(&self, name: &str) -> bool {
        self.staged_changes()
            .any(|change| matches!(change, Change::Mark { key, .. } if key == name))
    }

    pub(crate) fn outcome_rows(&self) -> impl Iterator<Item = OutcomeRow> {
        self.outcomes
            .iter()
            .map(|(txn, (decision, stores))| OutcomeRow {
                txn: *txn,
                decision: *decision,
                stores: stores.clone(),
            })
    }

    pub(crate) fn incarnation_rows(&self) -> impl Iterator<Item = IncarnationRow> {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        self.incarnations
            .iter()
            .map(move |(incarnation, (started_at, closed))| IncarnationRow {
                incarnation: *incarnation,
                host: host.clone(),
                started_at: *started_at,
                closed: *closed,
            })
    }

    /// What is wrong, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for entry in self.tasks.values() {
            let (id, state) = (entry.record.id, entry.record.state);
            if (state == State::Claimed) != entry.claim.is_some() {
                faults.push(format!(
                    "{id} is {state}, but that is not what its claim says"
                ));
            }
            if entry.holds_key && !StateSet::PENDING.contains(state) {
                faults.push(format!("{id} is {state} and holds a key"));
            }
        }
        faults
    }
}

impl Book {
    pub(crate) fn stage(&mut self, txn: TxnId, staged: Staged) -> Judged<()> {
        match self.staged.get(&txn) {
            Some(known) if known.batch == staged.batch => return Ok(()),
            Some(_) => return Err(Kind::StagedOtherwise(txn)),
            None => self.refuse_decided(txn)?,
        }
        // Judged by doing it on a copy. What it was judged by is pinned, and reserved by being staged.
        self.clone().perform(&staged.batch, staged.since, false)?;
        self.pin(&staged.batch, true);
        self.staged.insert(txn, staged);
        Ok(())
    }

    /// Makes a staged batch visible; `None` if it is not staged.
    pub(crate) fn publish(&mut self, txn: TxnId, now: Timestamp) -> Judged<Option<Applied>> {
        let Some(staged) = self.staged.remove(&txn) else {
            return Ok(None);
        };
        self.pin(&staged.batch, false);
        let applied = self.perform(&staged.batch, now, true)?;
        self.ended.insert(txn, true);
        self.let_go_on(&staged.batch, now)?;
        Ok(Some(applied))
    }

    pub(crate) fn discard(&mut self, txn: TxnId, now: Timestamp) -> Judged<()> {
        if let Some(staged) = self.staged.remove(&txn) {
            self.pin(&staged.batch, false);
            self.ended.insert(txn, false);
            self.let_go_on(&staged.batch, now)?;
        }
        Ok(())
    }

    pub(crate) fn apply(
        &mut self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Judged<Applied> {
        self.refuse_decided(txn)?;
        match self.incarnations.get(&txn.incarnation) {
            Some((_, false)) => {}
            _ => return Err(Kind::IncarnationGone(txn.incarnation)),
        }
        let applied = self.perform(batch, now, false)?;
        let outcome = (Decision::Committed, prepared.to_vec());
        self.outcomes.insert(txn, outcome);
        Ok(applied)
    }

    fn refuse_decided(&self, txn: TxnId) -> Judged<()> {
        if self.ended.contains_key(&txn) || self.outcomes.contains_key(&txn) {
            return Err(Kind::Decided(txn));
        }
        Ok(())
    }

    fn pinned_by(&self, batch: &Batch) -> Vec<Sequence> {
        let ids = batch.changes.iter().filter_map(|change| match change {
            Change::Settle(settlement) => Some(settlement.task),
            Change::Amend {
                amendment: Amendment::Progress(_),
                ..
            } => None,
            Change::Amend { task, .. } => Some(*task),
            _ => None,
        });
        ids.filter_map(|id| self.find(id))
            .map(|(sequence, _)| sequence)
            .collect()
    }

    fn pin(&mut self, batch: &Batch, pinned: bool) {
        for sequence in self.pinned_by(batch) {
            if let Some(entry) = self.tasks.get_mut(&sequence) {
                entry.pinned = pinned;
            }
        }
    }

    /// Lets go on what could not while the batch was staged.
    fn let_go_on(&mut self, batch: &Batch, now: Timestamp) -> Judged<()> {
        let mut sequences = self.pinned_by(batch).into_iter();
        sequences.try_for_each(|sequence| self.go_on(sequence, now))
    }
}
