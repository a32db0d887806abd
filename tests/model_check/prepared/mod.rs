//! Tier *prepared*: queue stores under one register in the application's database. Transactions of one
//! incarnation, each attempted once; everything else is unbounded: crashes, lost answers, late messages,
//! power failures, recoverers and a janitor at any time.
#![cfg(test)]

mod ends;
mod protocol;
mod steps;
mod world;

use stateright::{Model, Property};

use crate::rules::Rules;
use steps::Step;
use world::World;

pub(crate) const VISIBLE: &str = "a visible task's transaction committed";
pub(crate) const ATOMIC: &str = "recovery ends all or nothing, with nothing in doubt";
pub(crate) const ONCE: &str = "a task is settled at most once";
pub(crate) const REFUSED: &str = "who was told `refused` did not commit";
pub(crate) const COMMITTED: &str = "who was told `committed` did commit";
pub(crate) const UNIQUE: &str = "one task at most is visible under a key";
pub(crate) const CLEAN: &str = "all garbage can go";
const RUN: &str = "committed, run, and all garbage gone";
const GONE: &str = "aborted, and all garbage gone";

/// A mistake in what a store, a register or a process does, as opposed to what a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Recovery looks for an outcome and takes none for an abort.
    RecoverySelects,
    /// The owner, asking after a lost answer, does the same.
    OwnerSelects,
    /// Outcome records do not refer to an incarnation.
    NoIncarnationKey,
    /// Dropping an incarnation drops its commit records with it.
    Cascade,
    /// An incarnation that is gone is enrolled again under the same id.
    EnrolledAgain,
    /// `decide` answers from what may not be on disk.
    DecideUnflushed,
    /// `close` returns before it is on disk.
    CloseUnflushed,
    /// `forgettable` does not flush earlier publishes.
    ForgettableUnflushed,
    /// The janitor first looks who holds nothing, then deletes whatever records there are.
    SetDifference,
    /// Staging looks whether a visible task has the key, but not whether a staged one will.
    KeyNotReserved,
}

/// What is checked, and with which mistake.
#[derive(Clone, Copy)]
pub(crate) struct Prepared<const T: usize, const S: usize> {
    pub(crate) rules: Rules,
    pub(crate) flaw: Option<Flaw>,
    /// Whether the tasks of all transactions have the same unique key, which refuses a second.
    pub(crate) unique: bool,
}

impl<const T: usize, const S: usize> Prepared<T, S> {
    /// The protocol as it is.
    pub(crate) fn sound() -> Self {
        Self {
            rules: Rules::REAL,
            flaw: None,
            unique: false,
        }
    }

    pub(crate) fn with_flaw(flaw: Flaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..Self::sound()
        }
    }

    pub(crate) fn with_rules(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::sound()
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl<const T: usize, const S: usize> Model for Prepared<T, S> {
    type State = World<T, S>;
    type Action = Step;

    fn init_states(&self) -> Vec<Self::State> {
        vec![World::new()]
    }

    fn actions(&self, world: &Self::State, steps: &mut Vec<Step>) {
        Self::owner_steps(world, steps);
        Self::store_steps(world, steps);
        Self::recovery_steps(world, steps);
        self.garbage_steps(world, steps);
        steps.push(Step::RegisterLosesPower);
        if !world.register.is_flushed() {
            steps.push(Step::RegisterFlushes);
        }
    }

    fn next_state(&self, before: &Self::State, step: Step) -> Option<Self::State> {
        let mut world = *before;
        self.owner_step(&mut world, step);
        self.fate_step(&mut world, step);
        self.recovery_step(&mut world, step);
        self.garbage_step(&mut world, step);
        world.recoverers.sort_unstable();
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(VISIBLE, |_, world: &World<T, S>| world.visible_is_true()),
            Property::always(ATOMIC, |model: &Self, world| model.ends(world).is_atomic),
            Property::always(ONCE, |_, world: &World<T, S>| world.settled_once()),
            Property::always(REFUSED, |_, world: &World<T, S>| world.refused_is_true()),
            Property::always(COMMITTED, |_, world: &World<T, S>| {
                world.committed_is_true()
            }),
            Property::always(UNIQUE, |model: &Self, world: &World<T, S>| {
                !model.unique || world.keys_are_unique()
            }),
            Property::always(CLEAN, |model: &Self, world| model.ends(world).is_clean),
            Property::sometimes(RUN, |_, world: &World<T, S>| world.all_run()),
            Property::sometimes(GONE, |_, world: &World<T, S>| world.all_discarded()),
        ]
    }
}
