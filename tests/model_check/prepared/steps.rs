//! Who may do what in which state, and what comes of it.
#![cfg(test)]

use votive::register::Standing;

use super::world::{Batch, Janitor, Owner, Recoverer, World};
use super::{Flaw, Prepared};

/// One step of somebody. The numbers are a store, a transaction or a recoverer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Stage(usize),
    StageTimesOut(usize),
    StageArrivesLate(usize, usize),
    WriteRecord(usize),
    Commit(usize),
    CommitLosesAnswer(usize),
    OwnerAsks(usize),
    OwnerFinishes(usize, usize),
    Crash,
    OrphanCommits(usize),
    OrphanCommitsUnflushed(usize),
    OrphanRollsBack(usize),
    Settle(usize, usize),
    StoreFlushes(usize),
    StoreLosesPower(usize),
    RegisterFlushes,
    RegisterLosesPower,
    List(usize, usize, usize),
    Decide(usize),
    CarryOut(usize),
    RecovererCrashes(usize),
    Close,
    ReadRecords,
    LookForNobody,
    AskHolder(usize),
    Forget,
    JanitorCrashes,
    DropIncarnation,
    EnrollAgain,
}

impl<const T: usize, const S: usize> Prepared<T, S> {
    pub(super) fn owner_steps(world: &World<T, S>, steps: &mut Vec<Step>) {
        for txn in 0..T {
            match world.owners[txn] {
                Owner::Staging(_) => steps.extend([Step::Stage(txn), Step::StageTimesOut(txn)]),
                Owner::Voted => steps.push(Step::WriteRecord(txn)),
                Owner::Open => steps.extend([Step::Commit(txn), Step::CommitLosesAnswer(txn)]),
                Owner::Asking => steps.push(Step::OwnerAsks(txn)),
                Owner::Committed | Owner::Refused => {
                    steps.extend((0..S).map(|store| Step::OwnerFinishes(store, txn)));
                }
                Owner::Dead => {}
            }
            if world.orphans[txn] {
                steps.extend([
                    Step::OrphanCommits(txn),
                    Step::OrphanCommitsUnflushed(txn),
                    Step::OrphanRollsBack(txn),
                ]);
            }
        }
        steps.push(Step::Crash);
    }

    pub(super) fn store_steps(world: &World<T, S>, steps: &mut Vec<Step>) {
        for store in 0..S {
            for txn in 0..T {
                if world.late[store][txn] {
                    steps.push(Step::StageArrivesLate(store, txn));
                }
                if world.batch(store, txn) == Batch::Visible {
                    steps.push(Step::Settle(store, txn));
                }
            }
            if !world.stores[store].is_flushed() {
                steps.extend([Step::StoreFlushes(store), Step::StoreLosesPower(store)]);
            }
        }
    }

    pub(super) fn recovery_steps(world: &World<T, S>, steps: &mut Vec<Step>) {
        for (who, recoverer) in world.recoverers.iter().enumerate() {
            match recoverer {
                Recoverer::Idle => {
                    let all = (0..S).flat_map(|store| (0..T).map(move |txn| (store, txn)));
                    let staged =
                        all.filter(|&(store, txn)| world.batch(store, txn) == Batch::Staged);
                    steps.extend(staged.map(|(store, txn)| Step::List(who, store, txn)));
                }
                Recoverer::Listed(..) => {
                    steps.extend([Step::Decide(who), Step::RecovererCrashes(who)]);
                }
                Recoverer::Knows(..) => {
                    steps.extend([Step::CarryOut(who), Step::RecovererCrashes(who)]);
                }
            }
        }
    }

    pub(super) fn garbage_steps(&self, world: &World<T, S>, steps: &mut Vec<Step>) {
        match world.janitor {
            Janitor::Idle if self.has(Flaw::SetDifference) => steps.push(Step::LookForNobody),
            Janitor::Idle => steps.push(Step::ReadRecords),
            Janitor::Read(..) => {
                steps.extend((0..S).map(Step::AskHolder));
                steps.extend([Step::Forget, Step::JanitorCrashes]);
            }
            Janitor::Looked => steps.extend([Step::Forget, Step::JanitorCrashes]),
        }
        match world.register.seen.standing {
            Standing::Open => steps.extend([Step::Close, Step::DropIncarnation]),
            Standing::Closed => steps.push(Step::DropIncarnation),
            Standing::Gone if self.has(Flaw::EnrolledAgain) => steps.push(Step::EnrollAgain),
            Standing::Gone => {}
        }
    }

    pub(super) fn owner_step(&self, world: &mut World<T, S>, step: Step) {
        match step {
            Step::Stage(txn) => {
                let Owner::Staging(store) = world.owners[txn] else {
                    return;
                };
                let is_last = store + 1 == S;
                world.owners[txn] = match self.stage(world, store, txn) {
                    false => Owner::Refused,
                    true if is_last => Owner::Voted,
                    true => Owner::Staging(store + 1),
                };
            }
            Step::StageTimesOut(txn) => {
                let Owner::Staging(store) = world.owners[txn] else {
                    return;
                };
                world.late[store][txn] = true;
                world.owners[txn] = Owner::Refused;
            }
            Step::WriteRecord(txn) => self.write_record(world, txn),
            Step::Commit(txn) => {
                world.commit(txn);
                world.register.flush();
                world.owners[txn] = Owner::Committed;
            }
            Step::CommitLosesAnswer(txn) => {
                world.orphans[txn] = true;
                world.owners[txn] = Owner::Asking;
            }
            Step::OwnerAsks(txn) => self.ask_as_owner(world, txn),
            Step::OwnerFinishes(store, txn) => Self::owner_finishes(world, store, txn),
            Step::Crash => world.crash(),
            _ => {}
        }
    }

    /// What happens to databases by themselves.
    pub(super) fn fate_step(&self, world: &mut World<T, S>, step: Step) {
        match step {
            Step::StageArrivesLate(store, txn) => {
                world.late[store][txn] = false;
                self.stage(world, store, txn);
            }
            Step::OrphanCommits(txn) => {
                world.orphans[txn] = false;
                world.commit(txn);
                world.register.flush();
            }
            Step::OrphanCommitsUnflushed(txn) => {
                world.orphans[txn] = false;
                world.commit(txn);
            }
            Step::OrphanRollsBack(txn) => world.orphans[txn] = false,
            Step::Settle(store, txn) => {
                world.stores[store].seen[txn] = Batch::Done;
                world.stores[store].flush();
                world.settled[store][txn] = (world.settled[store][txn] + 1).min(2);
            }
            Step::StoreFlushes(store) => world.stores[store].flush(),
            Step::StoreLosesPower(store) => world.stores[store].lose_power(),
            Step::RegisterFlushes => world.register.flush(),
            Step::RegisterLosesPower => {
                world.register.lose_power();
                world.orphans = [false; T];
                for owner in &mut world.owners {
                    if *owner == Owner::Open {
                        *owner = Owner::Asking;
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn recovery_step(&self, world: &mut World<T, S>, step: Step) {
        match step {
            Step::List(who, store, txn) => world.recoverers[who] = Recoverer::Listed(store, txn),
            Step::Decide(who) => {
                let Recoverer::Listed(store, txn) = world.recoverers[who] else {
                    return;
                };
                if let Some(verdict) = self.recover(world, txn) {
                    world.recoverers[who] = Recoverer::Knows(store, txn, verdict);
                }
            }
            Step::CarryOut(who) => {
                let Recoverer::Knows(store, txn, verdict) = world.recoverers[who] else {
                    return;
                };
                world.carry_out(store, txn, verdict);
                world.recoverers[who] = Recoverer::Idle;
            }
            Step::RecovererCrashes(who) => world.recoverers[who] = Recoverer::Idle,
            _ => {}
        }
    }

    pub(super) fn garbage_step(&self, world: &mut World<T, S>, step: Step) {
        match step {
            Step::Close => self.close(world),
            Step::ReadRecords => self.read_records(world),
            Step::LookForNobody if (0..T).all(|txn| world.holds_nothing(txn)) => {
                (0..S).for_each(|store| world.stores[store].flush());
                world.janitor = Janitor::Looked;
            }
            Step::AskHolder(store) => self.ask_holder(world, store),
            Step::Forget => self.forget(world),
            Step::JanitorCrashes => world.janitor = Janitor::Idle,
            Step::DropIncarnation => {
                self.drop_incarnation(world);
            }
            Step::EnrollAgain => world.register.seen.standing = Standing::Open,
            _ => {}
        }
    }
}
