//! The world of the model: the store with its log, the databases, and the processes.
#![cfg(test)]

use votive::queue::decision::Action as Verdict;
use votive::register::{Answer, Decision, Standing};

use super::{CommitPoint, Flaw};
use crate::rules::Stored;

/// What the store has of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Batch {
    Absent,
    Staged,
    Visible,
    Done,
}

/// What a database has of the transaction; each of these is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Absent,
    Prepared,
    Committed,
    RolledBack,
}

/// The store: what one flush makes durable together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(super) record: Option<Decision>,
    pub(super) standing: Standing,
    pub(super) batch: Batch,
    /// Whether the transaction was ever decided to commit: what is true, whoever remembers it.
    pub(super) decided: bool,
}

/// How far the process that owns the transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Prepares this database next.
    Preparing(usize),
    /// All databases have promised; stages next.
    Staging,
    /// The batch is staged, or there is nothing to stage: decides next.
    Voted,
    /// Has sent the deciding message and got no answer.
    Asking,
    /// Has told its caller so.
    Committed,
    /// Has told its caller so.
    Refused,
    Dead,
}

/// One run of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Recoverer<const D: usize> {
    Idle,
    /// Has found this database prepared.
    FoundPrepared(usize),
    /// Knows what to do in this database, and has not done it yet.
    Knows(usize, Verdict),
    /// Has found the batch staged.
    FoundStaged,
    /// Knows what to do with the batch, and has not done it yet.
    KnowsBatch(Verdict),
    /// Knows that it is committed, and has committed these databases.
    Finishing([bool; D]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World<const D: usize> {
    pub(super) log: Stored<Log>,
    pub(super) parts: [Part; D],
    pub(super) owner: Owner,
    /// Prepare messages that are still under way.
    pub(super) late: [bool; D],
    /// A staging message that is still under way.
    pub(super) late_stage: bool,
    /// A deciding message that is under way without anybody waiting for it.
    pub(super) orphan: bool,
    pub(super) was_resent: bool,
    pub(super) recoverers: [Recoverer<D>; 2],
    /// How often the task was settled, durably; counts up to 2.
    pub(super) settled: u8,
}

impl<const D: usize> World<D> {
    pub(super) fn new() -> Self {
        let log = Log {
            record: None,
            standing: Standing::Open,
            batch: Batch::Absent,
            decided: false,
        };
        Self {
            log: Stored::new(log),
            parts: [Part::Absent; D],
            owner: if D == 0 {
                Owner::Voted
            } else {
                Owner::Preparing(0)
            },
            late: [false; D],
            late_stage: false,
            orphan: false,
            was_resent: false,
            recoverers: [Recoverer::Idle; 2],
            settled: 0,
        }
    }

    pub(super) fn is_visible(&self) -> bool {
        matches!(self.log.seen.batch, Batch::Visible | Batch::Done)
    }

    pub(super) fn publish(&mut self) {
        if self.log.seen.batch == Batch::Staged {
            self.log.seen.batch = Batch::Visible;
        }
    }

    pub(super) fn discard(&mut self) {
        if self.log.seen.batch == Batch::Staged {
            self.log.seen.batch = Batch::Absent;
        }
    }

    pub(super) fn finish(&mut self, database: usize, verdict: Verdict) {
        if self.parts[database] == Part::Prepared {
            match verdict {
                Verdict::Publish => self.parts[database] = Part::Committed,
                Verdict::Discard => self.parts[database] = Part::RolledBack,
                Verdict::Wait => {}
            }
        }
    }
}

/// What must hold, or must be reachable.
impl<const D: usize> World<D> {
    pub(super) fn all_committed(&self) -> bool {
        self.parts == [Part::Committed; D]
    }

    pub(super) fn visible_is_true(&self) -> bool {
        !self.is_visible() || self.all_committed()
    }

    pub(super) fn databases_obey(&self) -> bool {
        self.log.seen.decided || !self.parts.contains(&Part::Committed)
    }

    pub(super) fn refused_is_true(&self) -> bool {
        self.owner != Owner::Refused || !self.log.seen.decided
    }

    pub(super) fn committed_is_true(&self) -> bool {
        self.owner != Owner::Committed || self.log.seen.decided
    }

    pub(super) fn all_run(&self) -> bool {
        let log = &self.log.seen;
        let is_bare = log.record.is_none() && log.standing == Standing::Gone;
        self.settled == 1 && self.all_committed() && is_bare && self.log.is_flushed()
    }
}

/// What the protocol asks of the store.
impl<const D: usize> CommitPoint<D> {
    /// The staging message arrives; one that was decided meanwhile is refused.
    pub(super) fn stage(world: &mut World<D>) {
        let log = &mut world.log.seen;
        if log.record.is_none() && log.batch == Batch::Absent {
            log.batch = Batch::Staged;
        }
    }

    /// The deciding message arrives: the outcome, and in the same step the batch where it is not staged,
    /// refused for an incarnation that is gone. Returns whether the transaction is committed.
    pub(super) fn arrive(&self, world: &mut World<D>) -> bool {
        let log = &mut world.log.seen;
        let is_gone = log.standing == Standing::Gone && !self.has(Flaw::NoIncarnationKey);
        if is_gone || log.record.is_some() {
            return log.record == Some(Decision::Committed);
        }
        log.record = Some(Decision::Committed);
        log.decided = true;
        if D == 0 {
            log.batch = Batch::Visible;
        }
        true
    }

    /// The register's `decide(txn, Aborted)`.
    pub(super) fn decide(&self, world: &mut World<D>) -> Answer {
        let log = &mut world.log.seen;
        let may_insert = log.standing != Standing::Gone || self.has(Flaw::NoIncarnationKey);
        if log.record.is_none() && may_insert {
            log.record = Some(Decision::Aborted);
        }
        self.answer(world)
    }

    fn answer(&self, world: &mut World<D>) -> Answer {
        if !self.has(Flaw::DecideUnflushed) {
            world.log.flush();
        }
        Answer {
            decision: world.log.seen.record,
            standing: world.log.seen.standing,
        }
    }

    /// Looks without inserting, and takes "no record" for an abort.
    fn select(&self, world: &mut World<D>) -> Answer {
        let mut answer = self.answer(world);
        answer.decision = answer.decision.or(Some(Decision::Aborted));
        answer
    }

    pub(super) fn ask_as_holder(&self, world: &mut World<D>) -> Answer {
        if self.has(Flaw::RecoverySelects) {
            self.select(world)
        } else {
            self.decide(world)
        }
    }

    pub(super) fn ask_as_owner(&self, world: &mut World<D>) {
        let decision = if self.has(Flaw::OwnerSelects) {
            self.select(world).decision
        } else {
            (self.rules.as_owner)(self.decide(world))
        };
        world.owner = match decision {
            Some(Decision::Committed) => Owner::Committed,
            Some(Decision::Aborted) => Owner::Refused,
            None => Owner::Asking,
        };
    }
}
