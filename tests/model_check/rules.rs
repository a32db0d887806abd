//! The pure functions that the models call: the library's own, unless a variant breaks one.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

use votive::id::{Incarnation, ResourceId, TxnId};
use votive::queue::decision::{self, Action};
use votive::queue::garbage::{self, Released};
use votive::register::{Answer, Decision, IncarnationRow, OutcomeRow};

/// Of these records, those of a closed incarnation or a knowing owner.
type Candidates = fn(Vec<OutcomeRow>, &BTreeSet<Incarnation>, &BTreeSet<TxnId>) -> Vec<OutcomeRow>;

/// One implementation of every judgement that the protocol rests on.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) as_owner: fn(Answer) -> Option<Decision>,
    pub(crate) action: fn(Answer, bool) -> Action,
    pub(crate) unfinished: fn(&[ResourceId], &BTreeSet<ResourceId>) -> bool,
    pub(crate) to_close: fn(&[IncarnationRow], &[Incarnation]) -> Vec<Incarnation>,
    pub(crate) candidates: Candidates,
    pub(crate) released_by_all: fn(&[OutcomeRow], &Released) -> Vec<TxnId>,
}

impl Rules {
    /// The functions that the library runs.
    pub(crate) const REAL: Self = Self {
        as_owner: Answer::as_owner,
        action: decision::action,
        unfinished: decision::unfinished,
        to_close: garbage::to_close,
        candidates: garbage::candidates,
        released_by_all: garbage::released_by_all,
    };
}

/// A value that is seen at once and is on disk later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored<V> {
    pub(crate) seen: V,
    pub(crate) disk: V,
}

impl<V: Copy + PartialEq> Stored<V> {
    pub(crate) fn new(value: V) -> Self {
        Self {
            seen: value,
            disk: value,
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.seen == self.disk
    }

    pub(crate) fn flush(&mut self) {
        self.disk = self.seen;
    }

    pub(crate) fn lose_power(&mut self) {
        self.seen = self.disk;
    }
}

/// The one incarnation of a model.
pub(crate) fn incarnation() -> Incarnation {
    Incarnation::from_u64(1)
}

/// The id of the transaction with this index.
pub(crate) fn txn_id(index: usize) -> TxnId {
    TxnId {
        incarnation: incarnation(),
        sequence: index as u64 + 1,
    }
}

/// The index of the transaction with this id.
pub(crate) fn index_of(txn: TxnId) -> usize {
    usize::try_from(txn.sequence - 1).expect("a small index")
}

/// The id of the store with this index.
pub(crate) fn store_id(index: usize) -> ResourceId {
    ResourceId::from_bytes([u8::try_from(index).expect("a small index"); 16])
}

/// The id of the database with this index.
pub(crate) fn database_id(index: usize) -> ResourceId {
    ResourceId::of_preparing_database([u8::try_from(index).expect("a small index"); 12])
}

/// What a world comes to once faults stop.
pub(crate) struct End {
    /// Every transaction is everywhere or nowhere, as the application's own part is; none in doubt.
    pub(crate) is_atomic: bool,
    /// No record and no incarnation is left.
    pub(crate) is_clean: bool,
}

impl End {
    pub(crate) const GOOD: Self = Self {
        is_atomic: true,
        is_clean: true,
    };
}

/// What happens to everything that is under way when faults stop: each thing does, or does not.
#[derive(Default)]
pub(crate) struct Fate {
    path: Vec<bool>,
    next: usize,
}

impl Fate {
    /// Calls `live` with every possible fate of whatever it asks about.
    pub(crate) fn each(mut live: impl FnMut(&mut Self)) {
        let mut fate = Self::default();
        loop {
            fate.next = 0;
            live(&mut fate);
            while fate.path.last() == Some(&true) {
                fate.path.pop();
            }
            match fate.path.last_mut() {
                Some(last) => *last = true,
                None => return,
            }
        }
    }

    /// Whether the next thing happens.
    pub(crate) fn decides(&mut self) -> bool {
        if self.next == self.path.len() {
            self.path.push(false);
        }
        self.next += 1;
        self.path[self.next - 1]
    }
}

/// Visits every reachable state: no property may fail, and every promised end must be reached.
pub(crate) fn assert_holds<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
}

/// Visits states until the named property fails.
pub(crate) fn assert_caught<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let enough = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().finish_when(enough).spawn_bfs().join();
    let path = checker.discovery(property);
    assert!(path.is_some(), "nothing went wrong with `{property}`");
}
