//! What one transaction would do, and how it ought to end.
#![cfg(test)]

use votive::store::Change;
use votive::txn::Outcome;

use crate::program::{Act, Flaw, List, QUEUES, Whose};
use crate::shelf::Said;

/// What a transaction would do if it committed.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// In which store, and what.
    pub(crate) changes: Vec<(usize, Change)>,
    members: Vec<(Whose, Flaw)>,
    /// The rows for the database.
    rows: Vec<(Whose, u64)>,
    pub(crate) hooks: Vec<(List, Act)>,
    pub(crate) is_doomed: bool,
}

/// A point to go back to. Hooks and doom are not undone.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    changes: usize,
    members: usize,
    rows: usize,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    Refused,
    Doomed,
    Undecided,
    /// As it was asked to.
    Aborted,
}

/// A hook that ran: its number, its list and what it was told.
pub(crate) type Ran = (usize, List, Option<Outcome>);

impl Draft {
    pub(crate) fn point(&self) -> Point {
        Point {
            changes: self.changes.len(),
            members: self.members.len(),
            rows: self.rows.len(),
        }
    }

    pub(crate) fn rollback(&mut self, point: Point) {
        self.changes.truncate(point.changes);
        self.members.truncate(point.members);
        self.rows.truncate(point.rows);
    }

    pub(crate) fn write(&mut self, (whose, flaw): (Whose, Flaw), row: u64) {
        if self.members.iter().all(|(joined, _)| *joined != whose) {
            self.members.push((whose, flaw));
        }
        self.rows.push((whose, row));
    }

    /// The changes in one store; last, each queue with a capacity that tasks are for is asked for room.
    pub(crate) fn changes_of(&self, store: usize, said: &[Said]) -> Vec<Change> {
        let changes = self.changes.iter().filter(|(of, _)| *of == store);
        let changes: Vec<_> = changes.map(|(_, change)| change.clone()).collect();
        let is_for = |queue: &str| {
            let mut changes = changes.iter();
            changes.any(|change| matches!(change, Change::Insert(new) if new.queue == *queue))
        };
        let rooms = QUEUES.into_iter().zip(said).filter_map(|(queue, said)| {
            let pending_max = said.capacity.filter(|_| is_for(queue))?;
            let queue = queue.to_owned();
            Some(Change::Room { queue, pending_max })
        });
        let rooms: Vec<_> = rooms.collect();
        changes.into_iter().chain(rooms).collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = u64> {
        let rows = self.rows.iter();
        rows.filter(|(whose, _)| *whose == Whose::Database)
            .map(|(_, row)| *row)
    }

    /// The before-commit hooks that run: all up to one that fails, unless it is doomed already.
    fn first_hooks(&self) -> Vec<(usize, Act)> {
        if self.is_doomed {
            return Vec::new();
        }
        let hooks = self.hooks.iter().enumerate();
        let first = hooks.filter(|(_, (list, _))| *list == List::BeforeCommit);
        let mut first: Vec<_> = first.map(|(number, (_, act))| (number, *act)).collect();
        let failing = first.iter().position(|(_, act)| *act == Act::Fail);
        first.truncate(failing.map_or(first.len(), |failing| failing + 1));
        first
    }

    /// Runs the before-commit hooks; what they enqueue is in `enqueued`. Returns how they end it.
    pub(crate) fn run_first_hooks(&mut self, enqueued: Vec<Change>) -> Option<Fate> {
        let acts: Vec<Act> = self.first_hooks().into_iter().map(|(_, act)| act).collect();
        self.changes
            .extend(enqueued.into_iter().map(|change| (0, change)));
        if acts.contains(&Act::Fail) {
            return Some(Fate::Refused);
        }
        let is_doomed = self.is_doomed || acts.contains(&Act::Doom);
        is_doomed.then_some(Fate::Doomed)
    }

    /// Whether a participant beside the stores refuses.
    pub(crate) fn is_refused(&self, is_away: bool) -> bool {
        self.members.iter().any(|(whose, flaw)| match flaw {
            Flaw::Prepare | Flaw::Vote => true,
            Flaw::LostBefore | Flaw::LostAfter if *whose == Whose::Cache => true,
            _ => is_away && *whose == Whose::Database,
        })
    }

    /// Whether the answer of the database gets lost, and then whether it has committed.
    pub(crate) fn lost(&self) -> Option<bool> {
        self.members.iter().find_map(|(_, flaw)| match flaw {
            Flaw::LostBefore => Some(false),
            Flaw::LostAfter => Some(true),
            _ => None,
        })
    }

    /// How many participants have yet to finish when it has committed.
    pub(crate) fn pending_count(&self) -> usize {
        let unfinished = |(_, flaw): &&(Whose, Flaw)| *flaw == Flaw::Finish;
        self.members.iter().filter(unfinished).count()
    }

    /// The hooks that run, in order.
    pub(crate) fn ran(&self, fate: Fate) -> Vec<Ran> {
        let mut ran: Vec<Ran> = Vec::new();
        if fate != Fate::Aborted {
            let first = self.first_hooks().into_iter();
            ran.extend(first.map(|(number, _)| (number, List::BeforeCommit, None)));
        }
        let is_undone = matches!(fate, Fate::Refused | Fate::Doomed | Fate::Aborted);
        if is_undone {
            ran.extend(self.listed(List::BeforeAbort, None));
        }
        let outcome = match fate {
            Fate::Committed => Some(Outcome::Committed),
            Fate::Undecided => Some(Outcome::Undecided),
            Fate::Refused | Fate::Doomed => Some(Outcome::Refused),
            Fate::Aborted => None,
        };
        if outcome.is_some() {
            ran.extend(self.listed(List::AfterCommit, outcome));
        }
        if is_undone {
            ran.extend(self.listed(List::AfterAbort, None));
        }
        ran
    }

    fn listed(&self, list: List, told: Option<Outcome>) -> impl Iterator<Item = Ran> {
        let hooks = self.hooks.iter().enumerate();
        hooks
            .filter(move |(_, (of, _))| *of == list)
            .map(move |(number, _)| (number, list, told))
    }
}
