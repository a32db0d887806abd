//! Batches that go to the server in one piece with the `COMMIT`: one round trip.
//!
//! Nobody sees an answer before the server has heard of the `COMMIT`. So each statement does all that it is
//! asked, or fails by a division by zero: then the transaction has failed with it, the `COMMIT` rolls back,
//! and the batch is done again step by step, which says what is wrong with it, or that nothing is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ending;
use super::error::Result;
use super::insert;
use super::outcome::Alone;
use super::series::{done, plain_insert, take_while};
use super::session::Session;
use super::value::Value;
use crate::store::{Batch, Change, Verdict, lifecycle};
use crate::time::Timestamp;

/// Writes that a transaction committed, unless it was decided or staged before.
macro_rules! committing {
    () => {
        "INSERT INTO @.outcome (txn, incarnation, outcome, stores)
         SELECT $1, i.id, $3, $4 FROM @.incarnation i
         WHERE i.id = $2 AND NOT i.closed AND NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = $1)
         FOR KEY SHARE OF i ON CONFLICT DO NOTHING"
    };
}
pub(super) use committing;

/// Does the same, or fails by a division.
const COMMIT: &str = concat!(
    "WITH written AS (",
    committing!(),
    " RETURNING 1) SELECT 1 / count(*) FROM written"
);

/// When a batch goes to the server in one piece with the `COMMIT`, so that all of it is one round trip, and
/// when step by step.
///
/// Sent in one piece, a statement that would have to be judged fails, and everything is done again. That
/// happens with tasks on which something hangs, and where one was there are more: for a while nobody tries.
#[derive(Debug, Default)]
pub(super) struct Steps(AtomicU32);

impl Steps {
    /// For how many batches nobody tries.
    const PAUSE: u32 = 32;

    /// Whether a batch may be sent in one piece.
    fn may_skip(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_err()
    }

    /// Does a batch in one piece; `None` if nobody tries, or if it has to be done again in another way.
    pub(super) fn attempt(&self, write: impl FnOnce() -> Result<()>) -> Option<Result<()>> {
        if !self.may_skip() {
            return None;
        }
        match write() {
            Err(fault) if fault.fell_short() || fault.is_duplicate() => {
                self.fell_short();
                None
            }
            written => Some(written),
        }
    }

    /// Notes that a batch has to be done again.
    fn fell_short(&self) {
        self.0.store(Self::PAUSE, Ordering::Relaxed);
    }
}

/// Writes the outcome, given as the parameters of its statement.
pub(super) fn commit(session: &mut dyn Session, record: Vec<Value>) -> Result<()> {
    session.later(COMMIT, record)
}

/// Whether a batch is nothing but what nearly every batch is: tasks on which nothing hangs that come, and
/// claims of tasks that are done.
pub(super) fn is_common(batch: &Batch) -> bool {
    batch.changes.iter().all(|change| match change {
        Change::Insert(record) => insert::is_plain(record),
        Change::Settle(settlement) => settlement.verdict == Verdict::Done,
        _ => false,
    })
}

/// The statement that does all of a [common](is_common) batch in one piece with its outcome, and the parameters that
/// are its own, if there is one: for claims of tasks that are done, or new tasks that are alike.
pub(super) fn alone(batch: &Batch, now: Timestamp) -> Result<Option<(Alone, Vec<Value>)>> {
    let settlements: Vec<_> = batch.settlements().cloned().collect();
    if settlements.len() == batch.changes.len() {
        return Ok(Some((ending::END_ALONE, ending::asked(&settlements))));
    }
    let mut records: Vec<_> = batch.inserts().cloned().collect();
    if records.len() != batch.changes.len() {
        return Ok(None);
    }
    for record in &mut records {
        lifecycle::publish(record, false, now)?;
    }
    if !insert::are_alike(&records) {
        return Ok(None);
    }
    Ok(Some((
        insert::alone(&records),
        insert::columns_alike(&records)?,
    )))
}

/// Performs a [common](is_common) batch by statements that nobody waits for. What has to be judged, or is
/// refused, makes one of them [fall short](super::error::Fault::fell_short).
pub(super) fn perform(session: &mut dyn Session, batch: Batch, now: Timestamp) -> Result<()> {
    let mut changes = VecDeque::from(batch.changes);
    while !changes.is_empty() {
        let mut records = take_while(&mut changes, plain_insert);
        for record in &mut records {
            lifecycle::publish(record, false, now)?;
        }
        if !records.is_empty() {
            insert::insert_all(session, &records)?;
        }
        let settlements = take_while(&mut changes, done);
        if !settlements.is_empty() {
            ending::end_all(session, &settlements)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_batch_had_to_be_done_again_the_next_ones_go_step_by_step_for_a_while() {
        let steps = Steps::default();
        assert!(steps.may_skip() && steps.may_skip());
        steps.fell_short();
        for _ in 0..Steps::PAUSE {
            assert!(!steps.may_skip());
        }
        assert!(steps.may_skip());
    }
}
