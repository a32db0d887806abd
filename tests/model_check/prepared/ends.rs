//! What every state comes to when faults stop.
#![cfg(test)]

use votive::queue::decision::Action as Verdict;
use votive::register::Standing;

use super::Prepared;
use super::world::{Batch, Janitor, Owner, Recoverer, World};
use crate::rules::{End, Fate};

impl<const T: usize, const S: usize> Prepared<T, S> {
    /// Lets faults stop in every possible way: what is under way arrives or is lost, then recovery and
    /// garbage collection run to their end.
    pub(super) fn ends(&self, world: &World<T, S>) -> End {
        let mut end = End::GOOD;
        Fate::each(|fate| {
            let mut world = *world;
            if self.arrive(&mut world, fate) {
                end.is_atomic &= self.run_out(&mut world);
                end.is_clean &= self.clean(&mut world);
            }
        });
        end
    }

    /// Returns whether there is no owner left with steps of its own, whose outcomes are checked anyway.
    fn arrive(&self, world: &mut World<T, S>, fate: &mut Fate) -> bool {
        if fate.decides() {
            world.crash();
        }
        for txn in 0..T {
            if world.owners[txn] == Owner::Open {
                world.owners[txn] = Owner::Committed;
                world.commit(txn);
            }
            if std::mem::take(&mut world.orphans[txn]) && fate.decides() {
                world.commit(txn);
            }
            for store in 0..S {
                if std::mem::take(&mut world.late[store][txn]) && fate.decides() {
                    self.stage(world, store, txn);
                }
            }
        }
        world.register.flush();
        let is_voting = |owner: &Owner| matches!(owner, Owner::Staging(_) | Owner::Voted);
        !world.owners.iter().any(is_voting)
    }

    /// Returns whether the outcome is atomic.
    fn run_out(&self, world: &mut World<T, S>) -> bool {
        for recoverer in world.recoverers {
            if let Recoverer::Knows(store, txn, verdict) = recoverer {
                world.carry_out(store, txn, verdict);
            }
        }
        let mut is_atomic = true;
        for txn in 0..T {
            if world.owners[txn] == Owner::Asking {
                self.ask_as_owner(world, txn);
            }
            for store in 0..S {
                Self::owner_finishes(world, store, txn);
                if world.batch(store, txn) == Batch::Staged {
                    let verdict = self.recover(world, txn).unwrap_or(Verdict::Wait);
                    world.carry_out(store, txn, verdict);
                }
                let is_right = world.is_visible(store, txn) == world.register.seen.committed[txn];
                is_atomic &= is_right && world.batch(store, txn) != Batch::Staged;
            }
        }
        is_atomic
    }

    fn clean(&self, world: &mut World<T, S>) -> bool {
        self.close(world);
        world.janitor = Janitor::Idle;
        self.read_records(world);
        for store in 0..S {
            self.ask_holder(world, store);
        }
        self.forget(world);
        self.drop_incarnation(world) || world.register.seen.standing == Standing::Gone
    }

    pub(super) fn owner_finishes(world: &mut World<T, S>, store: usize, txn: usize) {
        match world.owners[txn] {
            Owner::Committed => world.carry_out(store, txn, Verdict::Publish),
            Owner::Refused => world.carry_out(store, txn, Verdict::Discard),
            _ => {}
        }
    }

    pub(super) fn ask_holder(&self, world: &mut World<T, S>, store: usize) {
        if let Janitor::Read(read, mut released) = world.janitor {
            let free = self.forgettable(world, store);
            released[store] = std::array::from_fn(|txn| read[txn] && free[txn]);
            world.janitor = Janitor::Read(read, released);
        }
    }
}
