//! A batch in a transaction: judged when it is staged, performed when it becomes visible.

use super::error::Result;
use super::statements::Statements;
use super::tasks;
use crate::id::TxnId;
use crate::store::rules::{Judge, Performer};
use crate::store::{Applied, Batch, Change};
use crate::time::Timestamp;

/// Whether a batch is one task on which nothing hangs: one statement writes it, all or nothing.
pub(crate) fn is_one_insert(batch: &Batch) -> bool {
    let [Change::Insert(record)] = batch.changes.as_slice() else {
        return false;
    };
    let options = &record.options;
    let alone = options.about.is_empty() && options.waits_for.is_empty();
    alone && options.unique.is_none() && !tasks::has_history(record)
}

/// Makes all changes, and clears up. After an error the caller rolls back.
pub(super) fn perform(performer: Performer<&Statements<'_>>, batch: Batch) -> Result<Applied> {
    let (connection, now) = (performer.tables, performer.now);
    let applied = make(performer, batch)?;
    if connection.is_to_prune() {
        tasks::drop_expired(connection, now)?;
    }
    Ok(applied)
}

/// Makes all changes. After an error the caller rolls back.
pub(super) fn make(mut performer: Performer<&Statements<'_>>, batch: Batch) -> Result<Applied> {
    for change in batch.changes {
        performer.change(change)?;
    }
    performer.end()
}

/// Judges a batch that is about to be staged. After an error the caller rolls back.
pub(super) fn judge(
    connection: &Statements<'_>,
    batch: &Batch,
    (txn, now): (TxnId, Timestamp),
) -> Result<()> {
    let judge = Judge::new(connection, txn, now);
    if !batch.is_entangled() {
        return judge.judge(batch);
    }
    let execute = |sql| connection.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT votive_judge")?;
    make(Performer::at_once(connection, now), batch.clone())?;
    execute("ROLLBACK TO votive_judge")?;
    execute("RELEASE votive_judge")?;
    judge.lock(batch)
}
