//! What every state comes to when faults stop.
#![cfg(test)]

use votive::queue::decision::Action as Verdict;
use votive::register::{Answer, Decision, Standing};

use super::CommitPoint;
use super::steps::holders;
use super::world::{Batch, Owner, Part, Recoverer, World};
use crate::rules::{End, Fate, database_id};

impl<const D: usize> CommitPoint<D> {
    /// Lets faults stop in every possible way: what is under way arrives or is lost, then recovery and
    /// garbage collection run to their end.
    pub(super) fn ends(&self, world: &World<D>) -> End {
        let mut end = End::GOOD;
        Fate::each(|fate| {
            let mut world = *world;
            if self.settle_messages(&mut world, fate) {
                end.is_atomic &= self.run_out(&mut world);
                end.is_clean &= self.clean(&mut world);
            }
        });
        end
    }

    /// Returns whether the owner has no steps of its own left, whose outcomes are checked anyway.
    fn settle_messages(&self, world: &mut World<D>, fate: &mut Fate) -> bool {
        if fate.decides() {
            world.owner = Owner::Dead;
        }
        if std::mem::take(&mut world.orphan) && fate.decides() {
            self.arrive(world);
        }
        for database in 0..D {
            if std::mem::take(&mut world.late[database]) && fate.decides() {
                world.parts[database] = Part::Prepared;
            }
        }
        if std::mem::take(&mut world.late_stage) && fate.decides() {
            Self::stage(world);
        }
        world.log.flush();
        !matches!(
            world.owner,
            Owner::Preparing(_) | Owner::Staging | Owner::Voted
        )
    }

    /// Returns whether the outcome is atomic.
    fn run_out(&self, world: &mut World<D>) -> bool {
        if world.owner == Owner::Asking {
            self.ask_as_owner(world);
        }
        for recoverer in world.recoverers {
            match recoverer {
                Recoverer::Knows(database, verdict) => world.finish(database, verdict),
                Recoverer::KnowsBatch(Verdict::Discard) => world.discard(),
                _ => {}
            }
        }
        for database in 0..D {
            Self::owner_finishes(world, database);
            if world.parts[database] == Part::Prepared {
                let answer = self.ask_as_holder(world);
                world.finish(database, (self.rules.action)(answer, false));
            }
        }
        if world.log.seen.batch == Batch::Staged {
            let answer = self.ask_as_holder(world);
            let parts = world.parts;
            let unfinished = self.unfinished(|database| parts[database] == Part::Committed);
            self.publish_if_allowed(world, answer, unfinished);
            if (self.rules.action)(answer, unfinished) == Verdict::Discard {
                world.discard();
            }
        }
        if world.log.seen.decided {
            return world.is_visible() && world.all_committed();
        }
        let is_free = |part: &Part| matches!(part, Part::Absent | Part::RolledBack);
        world.log.seen.batch == Batch::Absent && world.parts.iter().all(is_free)
    }

    fn clean(&self, world: &mut World<D>) -> bool {
        world.log.seen.standing = match world.log.seen.standing {
            Standing::Open => Standing::Closed,
            other => other,
        };
        self.forget(world);
        if world.log.seen.record != Some(Decision::Committed) {
            world.log.seen.standing = Standing::Gone;
        }
        world.log.seen.standing == Standing::Gone
    }

    pub(super) fn owner_finishes(world: &mut World<D>, database: usize) {
        match world.owner {
            Owner::Committed => world.finish(database, Verdict::Publish),
            Owner::Refused => world.finish(database, Verdict::Discard),
            _ => {}
        }
    }

    /// The owner judges as recovery does, by what it has seen commit itself.
    pub(super) fn owner_publishes(&self, world: &mut World<D>) {
        let parts = world.parts;
        if !self.unfinished(|database| parts[database] == Part::Committed) {
            world.publish();
        }
    }

    /// Whether a database that the record lists is not among those that are `finished`.
    pub(super) fn unfinished(&self, finished: impl Fn(usize) -> bool) -> bool {
        let finished = (0..D).filter(|database| finished(*database));
        (self.rules.unfinished)(&holders::<D>(), &finished.map(database_id).collect())
    }

    /// What recovery does with a staged batch at its own commit point.
    pub(super) fn publish_if_allowed(
        &self,
        world: &mut World<D>,
        answer: Answer,
        unfinished: bool,
    ) {
        if (self.rules.action)(answer, unfinished) == Verdict::Publish {
            world.publish();
        }
    }
}
