//! Who may do what in which state, and what comes of it.
#![cfg(test)]

use std::collections::BTreeSet;

use votive::id::ResourceId;
use votive::queue::decision::Action as Verdict;
use votive::queue::garbage::Released;
use votive::register::{Answer, Decision, OutcomeRow, Standing};

use super::world::{Batch, Owner, Part, Recoverer, World};
use super::{CommitPoint, Flaw};
use crate::rules::{database_id, incarnation, store_id, txn_id};

/// One step of somebody. The numbers are a recoverer or a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Prepare,
    PrepareFails,
    PrepareTimesOut,
    PrepareArrivesLate(usize),
    Stage,
    StageTimesOut,
    StageArrivesLate,
    Decide,
    DecideLosesAnswer,
    SendAgain,
    OwnerAsks,
    OwnerFinishes(usize),
    OwnerPublishes,
    OwnerDiscards,
    Crash,
    OrphanDecides,
    OrphanDecidesUnflushed,
    OrphanIsLost,
    Settle,
    Flush,
    LosePower,
    FindPrepared(usize, usize),
    FindStaged(usize),
    Ask(usize),
    CarryOut(usize),
    FinishDatabase(usize, usize),
    PublishRecovered(usize),
    RecovererCrashes(usize),
    Close,
    Forget,
    DropIncarnation,
}

impl<const D: usize> CommitPoint<D> {
    pub(super) fn owner_steps(&self, world: &World<D>, steps: &mut Vec<Step>) {
        match world.owner {
            Owner::Preparing(_) => {
                steps.extend([Step::Prepare, Step::PrepareFails, Step::PrepareTimesOut]);
            }
            Owner::Staging => steps.extend([Step::Stage, Step::StageTimesOut]),
            Owner::Voted => steps.extend([Step::Decide, Step::DecideLosesAnswer]),
            Owner::Asking => {
                steps.push(Step::OwnerAsks);
                if self.has(Flaw::SentTwice) && !world.was_resent {
                    steps.push(Step::SendAgain);
                }
            }
            Owner::Committed => {
                steps.extend((0..D).map(Step::OwnerFinishes));
                steps.push(Step::OwnerPublishes);
            }
            Owner::Refused => {
                steps.extend((0..D).map(Step::OwnerFinishes));
                steps.push(Step::OwnerDiscards);
            }
            Owner::Dead => return,
        }
        steps.push(Step::Crash);
    }

    pub(super) fn fate_steps(world: &World<D>, steps: &mut Vec<Step>) {
        if world.orphan {
            steps.extend([
                Step::OrphanDecides,
                Step::OrphanDecidesUnflushed,
                Step::OrphanIsLost,
            ]);
        }
        let late = (0..D).filter(|&database| world.late[database]);
        steps.extend(late.map(Step::PrepareArrivesLate));
        if world.late_stage {
            steps.push(Step::StageArrivesLate);
        }
        if world.log.seen.batch == Batch::Visible {
            steps.push(Step::Settle);
        }
        if !world.log.is_flushed() {
            steps.extend([Step::Flush, Step::LosePower]);
        }
    }

    pub(super) fn recovery_steps(world: &World<D>, steps: &mut Vec<Step>) {
        for (who, recoverer) in world.recoverers.iter().enumerate() {
            match recoverer {
                Recoverer::Idle => {
                    let prepared = (0..D).filter(|&at| world.parts[at] == Part::Prepared);
                    steps.extend(prepared.map(|database| Step::FindPrepared(who, database)));
                    if world.log.seen.batch == Batch::Staged {
                        steps.push(Step::FindStaged(who));
                    }
                    continue;
                }
                Recoverer::FoundPrepared(_) | Recoverer::FoundStaged => steps.push(Step::Ask(who)),
                Recoverer::Knows(..) | Recoverer::KnowsBatch(_) => {
                    steps.push(Step::CarryOut(who));
                }
                Recoverer::Finishing(_) => {
                    steps.extend((0..D).map(|database| Step::FinishDatabase(who, database)));
                    steps.push(Step::PublishRecovered(who));
                }
            }
            steps.push(Step::RecovererCrashes(who));
        }
    }

    pub(super) fn garbage_steps(world: &World<D>, steps: &mut Vec<Step>) {
        if world.log.seen.standing == Standing::Open {
            steps.push(Step::Close);
        }
        if world.log.seen.record == Some(Decision::Committed) {
            steps.push(Step::Forget);
        } else if world.log.seen.standing != Standing::Gone {
            steps.push(Step::DropIncarnation);
        }
    }

    pub(super) fn owner_step(&self, world: &mut World<D>, step: Step) {
        match step {
            Step::Prepare | Step::PrepareFails | Step::PrepareTimesOut => {
                Self::prepare(world, step);
            }
            Step::Stage => {
                Self::stage(world);
                world.log.flush();
                world.owner = Owner::Voted;
            }
            Step::StageTimesOut => {
                world.late_stage = true;
                world.owner = Owner::Refused;
            }
            Step::Decide => {
                let is_committed = self.arrive(world);
                world.log.flush();
                world.owner = if is_committed {
                    Owner::Committed
                } else {
                    Owner::Refused
                };
            }
            Step::DecideLosesAnswer => {
                world.orphan = true;
                world.owner = Owner::Asking;
            }
            Step::SendAgain => {
                world.orphan = true;
                world.was_resent = true;
            }
            Step::OwnerAsks => self.ask_as_owner(world),
            Step::OwnerFinishes(database) => Self::owner_finishes(world, database),
            Step::OwnerPublishes => self.owner_publishes(world),
            Step::OwnerDiscards => world.discard(),
            Step::Crash => world.owner = Owner::Dead,
            _ => {}
        }
    }

    fn prepare(world: &mut World<D>, step: Step) {
        let Owner::Preparing(database) = world.owner else {
            return;
        };
        let is_last = database + 1 == D;
        world.owner = match step {
            Step::Prepare if is_last => Owner::Staging,
            Step::Prepare => Owner::Preparing(database + 1),
            _ => Owner::Refused,
        };
        match step {
            Step::Prepare => world.parts[database] = Part::Prepared,
            Step::PrepareTimesOut => world.late[database] = true,
            _ => {}
        }
    }

    /// What happens to databases by themselves.
    pub(super) fn fate_step(&self, world: &mut World<D>, step: Step) {
        match step {
            Step::PrepareArrivesLate(database) => {
                world.late[database] = false;
                world.parts[database] = Part::Prepared;
            }
            Step::StageArrivesLate => {
                world.late_stage = false;
                Self::stage(world);
                world.log.flush();
            }
            Step::OrphanDecides | Step::OrphanDecidesUnflushed => {
                world.orphan = false;
                self.arrive(world);
                if step == Step::OrphanDecides {
                    world.log.flush();
                }
            }
            Step::OrphanIsLost => world.orphan = false,
            Step::Settle => {
                world.log.seen.batch = Batch::Done;
                world.log.flush();
                world.settled = (world.settled + 1).min(2);
            }
            Step::Flush => world.log.flush(),
            Step::LosePower => world.log.lose_power(),
            _ => {}
        }
    }

    pub(super) fn recovery_step(&self, world: &mut World<D>, step: Step) {
        match step {
            Step::FindPrepared(who, database) => {
                world.recoverers[who] = Recoverer::FoundPrepared(database);
            }
            Step::FindStaged(who) => world.recoverers[who] = Recoverer::FoundStaged,
            Step::Ask(who) => {
                let answer = self.ask_as_holder(world);
                let verdict = (self.rules.action)(answer, false);
                world.recoverers[who] = match world.recoverers[who] {
                    Recoverer::FoundPrepared(database) => Recoverer::Knows(database, verdict),
                    Recoverer::FoundStaged if verdict == Verdict::Publish => {
                        Recoverer::Finishing([false; D])
                    }
                    Recoverer::FoundStaged => Recoverer::KnowsBatch(verdict),
                    _ => Recoverer::Idle,
                };
            }
            Step::CarryOut(who) => {
                match world.recoverers[who] {
                    Recoverer::Knows(database, verdict) => world.finish(database, verdict),
                    Recoverer::KnowsBatch(Verdict::Discard) => world.discard(),
                    _ => {}
                }
                world.recoverers[who] = Recoverer::Idle;
            }
            Step::FinishDatabase(who, database) => {
                if let Recoverer::Finishing(mut done) = world.recoverers[who] {
                    world.finish(database, Verdict::Publish);
                    done[database] = true;
                    world.recoverers[who] = Recoverer::Finishing(done);
                }
            }
            Step::PublishRecovered(who) => self.publish_recovered(world, who),
            Step::RecovererCrashes(who) => world.recoverers[who] = Recoverer::Idle,
            _ => {}
        }
    }

    fn publish_recovered(&self, world: &mut World<D>, who: usize) {
        if let Recoverer::Finishing(done) = world.recoverers[who] {
            let answer = Answer {
                decision: Some(Decision::Committed),
                standing: world.log.seen.standing,
            };
            let unfinished = self.unfinished(|database| done[database]);
            self.publish_if_allowed(world, answer, unfinished);
            world.recoverers[who] = Recoverer::Idle;
        }
    }

    pub(super) fn garbage_step(&self, world: &mut World<D>, step: Step) {
        match step {
            Step::Close => world.log.seen.standing = Standing::Closed,
            Step::Forget => self.forget(world),
            Step::DropIncarnation => {
                world.log.seen.record = None;
                world.log.seen.standing = Standing::Gone;
            }
            _ => {}
        }
    }

    /// Forgets the record if the rules allow it. It names the store itself, which holds the batch, and
    /// every database that prepared.
    pub(super) fn forget(&self, world: &mut World<D>) {
        let row = OutcomeRow {
            txn: txn_id(0),
            decision: world.log.seen.record.unwrap_or(Decision::Aborted),
            stores: holders::<D>(),
        };
        let is_closed = world.log.seen.standing == Standing::Closed;
        let closed = is_closed.then(incarnation).into_iter().collect();
        let is_known = world.owner == Owner::Committed;
        let knows = is_known.then(|| txn_id(0)).into_iter().collect();
        let rows = (self.rules.candidates)(vec![row], &closed, &knows);
        if !(self.rules.released_by_all)(&rows, &released(world)).is_empty() {
            world.log.seen.record = None;
        }
    }
}

/// The store, then the databases.
pub(super) fn holders<const D: usize>() -> Vec<ResourceId> {
    let databases = (0..D).map(database_id);
    std::iter::once(store_id(0)).chain(databases).collect()
}

/// Who has let go of the transaction.
fn released<const D: usize>(world: &World<D>) -> Released {
    let is_free = |holder: usize| match holder.checked_sub(1) {
        None => world.log.seen.batch != Batch::Staged,
        Some(database) => world.parts[database] != Part::Prepared,
    };
    let txns = BTreeSet::from([txn_id(0)]);
    let holders = holders::<D>().into_iter().enumerate();
    let free = holders.filter(|(holder, _)| is_free(*holder));
    free.map(|(_, id)| (id, txns.clone())).collect()
}
