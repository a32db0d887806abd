//! The world of the model: stores, the register, the processes, and what each can do by itself.
#![cfg(test)]

use votive::queue::decision::Action as Verdict;
use votive::register::{Decision, Standing};

use crate::rules::Stored;

/// What a store has of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Batch {
    Absent,
    Staged,
    Visible,
    Done,
    Discarded,
}

/// The application's database: the outcome records, what the application itself wrote, and the
/// incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register<const T: usize> {
    pub(super) records: [Option<Decision>; T],
    pub(super) committed: [bool; T],
    pub(super) standing: Standing,
}

/// How far the process that owns a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Stages in this store next.
    Staging(usize),
    /// All stores have promised.
    Voted,
    /// Has written the record in a transaction that is not committed yet.
    Open,
    /// Has sent COMMIT and got no answer.
    Asking,
    /// Has told its caller so.
    Committed,
    /// Has told its caller so.
    Refused,
    Dead,
}

/// One run of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Recoverer {
    Idle,
    /// Has listed what the store holds of the transaction.
    Listed(usize, usize),
    /// Knows what to do about it, and has not done it yet.
    Knows(usize, usize, Verdict),
}

/// One run of garbage collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Janitor<const T: usize, const S: usize> {
    Idle,
    /// Has read these records; these stores have released these of them.
    Read([bool; T], [[bool; T]; S]),
    /// Has seen that no store holds anything ([`Flaw::SetDifference`]).
    Looked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World<const T: usize, const S: usize> {
    pub(super) stores: [Stored<[Batch; T]>; S],
    pub(super) register: Stored<Register<T>>,
    pub(super) owners: [Owner; T],
    /// Stage messages that are still under way.
    pub(super) late: [[bool; T]; S],
    /// COMMITs that are under way without anybody waiting for them.
    pub(super) orphans: [bool; T],
    pub(super) recoverers: [Recoverer; 2],
    pub(super) janitor: Janitor<T, S>,
    /// How often a task was settled, durably; counts up to 2.
    pub(super) settled: [[u8; T]; S],
}

impl<const T: usize, const S: usize> World<T, S> {
    pub(super) fn new() -> Self {
        let register = Register {
            records: [None; T],
            committed: [false; T],
            standing: Standing::Open,
        };
        Self {
            stores: [Stored::new([Batch::Absent; T]); S],
            register: Stored::new(register),
            owners: [Owner::Staging(0); T],
            late: [[false; T]; S],
            orphans: [false; T],
            recoverers: [Recoverer::Idle; 2],
            janitor: Janitor::Idle,
            settled: [[0; T]; S],
        }
    }

    pub(super) fn batch(&self, store: usize, txn: usize) -> Batch {
        self.stores[store].seen[txn]
    }

    pub(super) fn is_visible(&self, store: usize, txn: usize) -> bool {
        matches!(self.batch(store, txn), Batch::Visible | Batch::Done)
    }

    pub(super) fn holds_nothing(&self, txn: usize) -> bool {
        (0..S).all(|store| self.batch(store, txn) != Batch::Staged)
    }

    /// Whether the record of a transaction is written in a database transaction that is still open.
    pub(super) fn is_uncommitted(&self, txn: usize) -> bool {
        self.owners[txn] == Owner::Open || self.orphans[txn]
    }

    pub(super) fn carry_out(&mut self, store: usize, txn: usize, verdict: Verdict) {
        if self.batch(store, txn) == Batch::Staged {
            match verdict {
                Verdict::Publish => self.stores[store].seen[txn] = Batch::Visible,
                Verdict::Discard => self.stores[store].seen[txn] = Batch::Discarded,
                Verdict::Wait => {}
            }
        }
    }

    pub(super) fn commit(&mut self, txn: usize) {
        self.register.seen.records[txn] = Some(Decision::Committed);
        self.register.seen.committed[txn] = true;
    }

    /// The process that owns all transactions ends; COMMITs that it has sent may still arrive.
    pub(super) fn crash(&mut self) {
        for txn in 0..T {
            self.orphans[txn] |= self.owners[txn] == Owner::Open;
            self.owners[txn] = Owner::Dead;
        }
    }
}

/// What must hold, or must be reachable.
impl<const T: usize, const S: usize> World<T, S> {
    pub(super) fn visible_is_true(&self) -> bool {
        (0..T).all(|txn| {
            self.register.seen.committed[txn] || (0..S).all(|store| !self.is_visible(store, txn))
        })
    }

    pub(super) fn settled_once(&self) -> bool {
        self.settled.iter().flatten().all(|&count| count <= 1)
    }

    pub(super) fn keys_are_unique(&self) -> bool {
        let count = |store: &Stored<[Batch; T]>| {
            let visible = store.seen.iter().filter(|&&batch| batch == Batch::Visible);
            visible.count()
        };
        self.stores.iter().all(|store| count(store) <= 1)
    }

    pub(super) fn refused_is_true(&self) -> bool {
        (0..T).all(|txn| {
            let may_commit = self.register.seen.committed[txn] || self.orphans[txn];
            self.owners[txn] != Owner::Refused || !may_commit
        })
    }

    pub(super) fn committed_is_true(&self) -> bool {
        (0..T).all(|txn| self.owners[txn] != Owner::Committed || self.register.seen.committed[txn])
    }

    pub(super) fn all_run(&self) -> bool {
        self.settled.iter().flatten().all(|&count| count == 1) && self.is_bare()
    }

    pub(super) fn all_discarded(&self) -> bool {
        let all = [Batch::Discarded; T];
        self.stores.iter().all(|store| store.seen == all) && self.is_bare()
    }

    /// Whether the register holds nothing any more, on disk too.
    fn is_bare(&self) -> bool {
        let register = &self.register.seen;
        let is_empty = register.records == [None; T] && register.standing == Standing::Gone;
        is_empty && self.register.is_flushed()
    }
}
