//! What the protocol does to the world: asking the register, and collecting garbage.
#![cfg(test)]

use std::collections::BTreeSet;

use votive::id::TxnId;
use votive::queue::decision::Action as Verdict;
use votive::queue::garbage::Released;
use votive::register::{Answer, Decision, IncarnationRow, OutcomeRow, Standing};
use votive::time::Timestamp;

use super::world::{Batch, Janitor, Owner, World};
use super::{Flaw, Prepared};
use crate::rules::{incarnation, index_of, store_id, txn_id};

impl<const T: usize, const S: usize> Prepared<T, S> {
    /// Staging is durable. It is refused for a transaction that is over, and where the key is taken.
    pub(super) fn stage(&self, world: &mut World<T, S>, store: usize, txn: usize) -> bool {
        let is_over = !matches!(world.batch(store, txn), Batch::Absent | Batch::Discarded);
        let has_key = |other: usize| match world.batch(store, other) {
            Batch::Visible => true,
            Batch::Staged => !self.has(Flaw::KeyNotReserved),
            _ => false,
        };
        let is_taken = self.unique && (0..T).any(|other| other != txn && has_key(other));
        if is_over || is_taken {
            return false;
        }
        world.stores[store].seen[txn] = Batch::Staged;
        world.stores[store].flush();
        true
    }

    /// The register's `decide(txn, Aborted)`; `None` where an uncommitted record is in the way.
    pub(super) fn decide(&self, world: &mut World<T, S>, txn: usize) -> Option<Answer> {
        if world.is_uncommitted(txn) {
            return None;
        }
        let register = &mut world.register.seen;
        let may_insert = register.standing != Standing::Gone || self.has(Flaw::NoIncarnationKey);
        if register.records[txn].is_none() && may_insert {
            register.records[txn] = Some(Decision::Aborted);
        }
        Some(self.answer(world, txn))
    }

    pub(super) fn answer(&self, world: &mut World<T, S>, txn: usize) -> Answer {
        if !self.has(Flaw::DecideUnflushed) {
            world.register.flush();
        }
        Answer {
            decision: world.register.seen.records[txn],
            standing: world.register.seen.standing,
        }
    }

    /// Looks without inserting, and takes "no record" for an abort.
    pub(super) fn select(&self, world: &mut World<T, S>, txn: usize) -> Answer {
        let mut answer = self.answer(world, txn);
        answer.decision = answer.decision.or(Some(Decision::Aborted));
        answer
    }

    pub(super) fn recover(&self, world: &mut World<T, S>, txn: usize) -> Option<Verdict> {
        let answer = if self.has(Flaw::RecoverySelects) {
            self.select(world, txn)
        } else {
            self.decide(world, txn)?
        };
        Some((self.rules.action)(answer, false))
    }

    pub(super) fn ask_as_owner(&self, world: &mut World<T, S>, txn: usize) {
        let decision = if self.has(Flaw::OwnerSelects) {
            self.select(world, txn).decision
        } else {
            self.decide(world, txn).and_then(self.rules.as_owner)
        };
        world.owners[txn] = match decision {
            Some(Decision::Committed) => Owner::Committed,
            Some(Decision::Aborted) => Owner::Refused,
            None => Owner::Asking,
        };
    }

    /// Writes the commit record inside the application's transaction: the primary key and the foreign
    /// key refuse it at once.
    pub(super) fn write_record(&self, world: &mut World<T, S>, txn: usize) {
        let register = &world.register.seen;
        let is_gone = register.standing == Standing::Gone && !self.has(Flaw::NoIncarnationKey);
        let refused = is_gone || register.records[txn].is_some();
        world.owners[txn] = if refused { Owner::Refused } else { Owner::Open };
    }

    pub(super) fn close(&self, world: &mut World<T, S>) {
        let row = IncarnationRow {
            incarnation: incarnation(),
            host: String::new(),
            started_at: Timestamp::EPOCH,
            closed: world.register.seen.standing == Standing::Closed,
        };
        if (self.rules.to_close)(&[row], &[incarnation()]) == [incarnation()] {
            world.register.seen.standing = Standing::Closed;
            if !self.has(Flaw::CloseUnflushed) {
                world.register.flush();
            }
        }
    }

    /// The records that garbage collection may consider now.
    pub(super) fn candidates(&self, world: &World<T, S>) -> Vec<OutcomeRow> {
        let register = &world.register.seen;
        let row = |txn: usize| {
            let decision = register.records[txn]?;
            let stores = (0..S).map(store_id).collect();
            let txn = txn_id(txn);
            Some(OutcomeRow {
                txn,
                decision,
                stores,
            })
        };
        let is_closed = register.standing == Standing::Closed;
        let closed = is_closed.then(incarnation).into_iter().collect();
        let knows = (0..T).filter(|&txn| world.owners[txn] == Owner::Committed);
        let rows = (0..T).filter_map(row).collect();
        (self.rules.candidates)(rows, &closed, &knows.map(txn_id).collect())
    }

    pub(super) fn read_records(&self, world: &mut World<T, S>) {
        let mut read = [false; T];
        for row in self.candidates(world) {
            read[index_of(row.txn)] = true;
        }
        if read.contains(&true) {
            world.janitor = Janitor::Read(read, [[false; T]; S]);
        }
    }

    /// A store's `forgettable`: flushes, then names what it does not hold.
    pub(super) fn forgettable(&self, world: &mut World<T, S>, store: usize) -> [bool; T] {
        if !self.has(Flaw::ForgettableUnflushed) {
            world.stores[store].flush();
        }
        world.stores[store].seen.map(|batch| batch != Batch::Staged)
    }

    /// Deletes, of the records read, those that all stores released. Not flushed.
    pub(super) fn forget(&self, world: &mut World<T, S>) {
        let records = &mut world.register.seen.records;
        let forgotten = match world.janitor {
            Janitor::Idle => vec![],
            Janitor::Looked => (0..T).map(txn_id).collect(),
            Janitor::Read(read, released) => self.released(read, released),
        };
        for txn in forgotten.into_iter().map(index_of) {
            if records[txn] == Some(Decision::Committed) {
                records[txn] = None;
            }
        }
        world.janitor = Janitor::Idle;
    }

    pub(super) fn released(&self, read: [bool; T], released: [[bool; T]; S]) -> Vec<TxnId> {
        let which = |of: [bool; T]| (0..T).filter(move |&txn| of[txn]);
        let row = |txn| OutcomeRow {
            txn: txn_id(txn),
            decision: Decision::Committed,
            stores: (0..S).map(store_id).collect(),
        };
        let rows: Vec<_> = which(read).map(row).collect();
        let asked = (0..S).filter(|&store| released[store].contains(&true));
        let released: Released = asked
            .map(|store| {
                let txns: BTreeSet<_> = which(released[store]).map(txn_id).collect();
                (store_id(store), txns)
            })
            .collect();
        (self.rules.released_by_all)(&rows, &released)
    }

    /// Drops the incarnation with its abort records; waits for open transactions, which lock it.
    pub(super) fn drop_incarnation(&self, world: &mut World<T, S>) -> bool {
        let is_locked = (0..T).any(|txn| world.is_uncommitted(txn));
        let register = &mut world.register.seen;
        let committed = register.records.contains(&Some(Decision::Committed));
        let may_go = !committed || self.has(Flaw::Cascade);
        let keyless = self.has(Flaw::NoIncarnationKey);
        if (is_locked && !keyless) || !may_go || register.standing == Standing::Gone {
            return false;
        }
        register.records = [None; T];
        register.standing = Standing::Gone;
        true
    }
}
