//! Batches that this store decides by itself: made visible in one step.
//!
//! Nobody but its owner ever asks for an outcome that no other store has a part in, and once the owner knows it the
//! record is [spent](crate::store::spent::Spent).

use super::PostgresStore;
use super::batch;
use super::ending;
use super::error::{Fault, Result};
use super::notify::EVERYBODY;
use super::outcome::Alone;
use super::passing;
use super::pool::{Durability, Write, again};
use super::prompt;
use super::register;
use super::session::Session;
use super::sweep;
use super::value::Value;
use crate::id::{ResourceId, TxnId};
use crate::register::{Decision, Standing};
use crate::store::rules::Performer;
use crate::store::{Applied, Batch, Change, Kind};
use crate::time::Timestamp;

const APPLY: Write<'static> = Write {
    durability: Durability::Flushed,
    failpoints: [
        "postgres.apply.before_commit",
        "postgres.apply.after_commit",
    ],
    wakes: Some(EVERYBODY),
};

/// Writes that a transaction committed, unless it was decided or staged before.
const COMMIT: &str = prompt::committing!();

/// Who decides, and who has prepared for it.
type Decided<'a> = (TxnId, &'a [ResourceId]);

impl PostgresStore {
    /// Makes a batch visible that was found to be possible at all.
    pub(super) fn apply_checked(
        &self,
        decided: Decided<'_>,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<Applied> {
        let applied = self.apply_either(decided, batch, now);
        let (txn, prepared) = decided;
        if applied.is_ok() && prepared.is_empty() {
            self.spent.add([txn]);
        }
        applied
    }

    /// In one piece if the batch looks as if it could be; if it could not, or else, step by step.
    fn apply_either(&self, decided: Decided<'_>, batch: &Batch, now: Timestamp) -> Result<Applied> {
        if let Some(applied) = self.apply_in_one_piece(decided, batch, now) {
            return applied.map(|()| Applied::default());
        }
        again(|| {
            self.with_spent(APPLY, |session| {
                decide_here(session, decided)?;
                batch::perform(Performer::at_once(session, now), batch.clone())
            })
        })
    }

    /// By what does the least first; `None` if nothing of that does it.
    fn apply_in_one_piece(
        &self,
        decided: Decided<'_>,
        batch: &Batch,
        now: Timestamp,
    ) -> Option<Result<()>> {
        let at_once = || self.apply_at_once(decided, batch, now);
        if prompt::is_common(batch)
            && let Some(applied) = self.steps.attempt(at_once)
        {
            return Some(applied);
        }
        if !batch::only_ends(batch) {
            return None;
        }
        let sweeps = self.sweeps.is_due(now);
        let with_keys = || self.end_with_keys(decided, batch);
        if !sweeps && let Some(applied) = self.keyed.attempt(with_keys) {
            return Some(applied);
        }
        self.passing
            .attempt(|| self.end_and_pass_on(decided, batch, (now, sweeps)))
    }

    /// Sends all that a batch does together with the COMMIT: as one statement, if there is one that does it.
    fn apply_at_once(&self, decided: Decided<'_>, batch: &Batch, now: Timestamp) -> Result<()> {
        let sweeps = self.sweeps.is_due(now);
        let write = Write {
            wakes: Some(ready_queue(batch, now).unwrap_or(EVERYBODY)),
            ..APPLY
        };
        let alone = prompt::alone(batch, now)?.filter(|_| !sweeps);
        if let Some((alone, values)) = alone {
            return self.write_alone(write, (alone, values), decided);
        }
        self.with_spent(write, |session| {
            prompt::commit(session, commit_record(decided))?;
            prompt::perform(session, batch.clone(), now)?;
            if sweeps {
                sweep::drop_expired(session, now)?;
            }
            Ok(())
        })
    }

    /// Ends claims of tasks that may have keys: one statement.
    fn end_with_keys(&self, decided: Decided<'_>, batch: &Batch) -> Result<()> {
        let settlements: Vec<_> = batch.settlements().cloned().collect();
        let end = (ending::END_KEYED, ending::asked_with_keys(&settlements));
        self.write_alone(APPLY, end, decided)
    }

    /// Ends claims of tasks that may have keys and groups: two statements, sent together with the COMMIT.
    fn end_and_pass_on(
        &self,
        decided: Decided<'_>,
        batch: &Batch,
        (now, sweeps): (Timestamp, bool),
    ) -> Result<()> {
        let settlements: Vec<_> = batch.settlements().cloned().collect();
        let spent = self.spent.take(decided.0.incarnation);
        let applied = self.write(APPLY, |session| {
            passing::end(session, &settlements, (decided, spent), now)?;
            if sweeps {
                sweep::drop_expired(session, now)?;
            }
            Ok(())
        });
        if applied.is_err() {
            self.spent.add(spent);
        }
        applied
    }

    /// Writes by a statement that is a transaction by itself, with its own parameters.
    fn write_alone(
        &self,
        write: Write<'_>,
        (alone, values): (Alone, Vec<Value>),
        decided: Decided<'_>,
    ) -> Result<()> {
        let spent = self.spent.take(decided.0.incarnation);
        let (sql, values) = alone.statement(values, decided, spent);
        let applied = self.pool.write_alone(write, sql, values);
        if applied.is_err() {
            self.spent.add(spent);
        }
        applied.map(drop)
    }

    /// Writes, and deletes the records that are spent.
    fn with_spent<T>(
        &self,
        write: Write<'_>,
        work: impl FnOnce(&mut dyn Session) -> Result<T>,
    ) -> Result<T> {
        let spent = self.spent.take_all();
        let written = self.write(write, |session| {
            if !spent.is_empty() {
                let ids = spent.iter().map(|txn| txn.to_bytes()).collect();
                session.later(register::FORGET, vec![Value::Ids(ids)])?;
            }
            work(session)
        });
        if written.is_err() {
            self.spent.add(spent);
        }
        written
    }
}

/// The queue in which the tasks of a [common](prompt::is_common) batch are ready at once, if all are in one.
fn ready_queue(batch: &Batch, now: Timestamp) -> Option<&str> {
    let first = batch.inserts().next()?;
    let is_beside = |change: &Change| match change {
        Change::Insert(record) => record.queue == first.queue && record.not_before <= Some(now),
        _ => false,
    };
    batch.changes.iter().all(is_beside).then_some(&*first.queue)
}

/// The parameters of [`COMMIT`].
fn commit_record((txn, prepared): Decided<'_>) -> Vec<Value> {
    register::record(txn, Decision::Committed, prepared)
}

fn decide_here(session: &mut dyn Session, decided: Decided<'_>) -> Result<()> {
    if session.execute(COMMIT, commit_record(decided))? == 1 {
        return Ok(());
    }
    let (txn, _) = decided;
    match register::standing(session, txn.incarnation)? {
        Standing::Open => Err(Fault::from(Kind::Decided(txn))),
        Standing::Closed | Standing::Gone => Err(Kind::IncarnationGone(txn.incarnation).into()),
    }
}
