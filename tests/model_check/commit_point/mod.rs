//! The queue's store as the commit point: of databases that prepare (its tasks become visible when all of
//! them have committed), or of nobody else, when one durable step stages, decides and publishes. One
//! transaction; batch, record and incarnation are in one log.
#![cfg(test)]

mod ends;
mod steps;
mod world;

use stateright::{Model, Property};

use crate::rules::Rules;
use steps::Step;
use world::World;

pub(crate) const VISIBLE: &str = "a visible task's databases have all committed";
pub(crate) const DECIDED: &str = "a database commits only what was decided";
pub(crate) const ATOMIC: &str = "recovery ends all or nothing, with nothing in doubt";
pub(crate) const ONCE: &str = "a task is settled at most once";
pub(crate) const REFUSED: &str = "who was told `refused` did not commit";
pub(crate) const COMMITTED: &str = "who was told `committed` did commit";
pub(crate) const CLEAN: &str = "all garbage can go";
const RUN: &str = "committed, run, and all garbage gone";

/// A mistake in what a store or a process does, as opposed to what a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Recovery looks for an outcome and takes none for an abort.
    RecoverySelects,
    /// The owner, asking after a lost answer, does the same.
    OwnerSelects,
    /// The store decides for an incarnation that is gone.
    NoIncarnationKey,
    /// `decide` answers from what may not be on disk.
    DecideUnflushed,
    /// The deciding message is sent again when its answer is lost.
    SentTwice,
}

/// What is checked, and with which mistake; `D` databases prepare.
#[derive(Clone, Copy)]
pub(crate) struct CommitPoint<const D: usize> {
    pub(crate) rules: Rules,
    pub(crate) flaw: Option<Flaw>,
}

impl<const D: usize> CommitPoint<D> {
    /// The protocol as it is.
    pub(crate) fn sound() -> Self {
        Self {
            rules: Rules::REAL,
            flaw: None,
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

impl<const D: usize> Model for CommitPoint<D> {
    type State = World<D>;
    type Action = Step;

    fn init_states(&self) -> Vec<Self::State> {
        vec![World::new()]
    }

    fn actions(&self, world: &Self::State, steps: &mut Vec<Step>) {
        self.owner_steps(world, steps);
        Self::fate_steps(world, steps);
        Self::recovery_steps(world, steps);
        Self::garbage_steps(world, steps);
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
            Property::always(VISIBLE, |_, world: &World<D>| world.visible_is_true()),
            Property::always(DECIDED, |_, world: &World<D>| world.databases_obey()),
            Property::always(ATOMIC, |model: &Self, world| model.ends(world).is_atomic),
            Property::always(ONCE, |_, world: &World<D>| world.settled <= 1),
            Property::always(REFUSED, |_, world: &World<D>| world.refused_is_true()),
            Property::always(COMMITTED, |_, world: &World<D>| world.committed_is_true()),
            Property::always(CLEAN, |model: &Self, world| model.ends(world).is_clean),
            Property::sometimes(RUN, |_, world: &World<D>| world.all_run()),
        ]
    }
}
