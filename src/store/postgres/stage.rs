//! Two-phase commit of batches.

use std::time::Duration;

use super::PostgresStore;
use super::batch;
use super::error::{Fault, Result};
use super::keys;
use super::notify::EVERYBODY;
use super::pool::{Durability, Write};
use super::register;
use super::row::{self, column, id, instant};
use super::session::Session;
use super::tasks;
use super::value::Value;
use crate::codec;
use crate::id::{ResourceId, TaskId, TxnId};
use crate::store::rules::{self, Performer};
use crate::store::{self, Applied, Batch, InDoubt, Kind, Published, Stage};
use crate::time::Timestamp;

const STAGE: Write<'static> = Write {
    durability: Durability::Flushed,
    failpoints: [
        "postgres.stage.before_commit",
        "postgres.stage.after_commit",
    ],
    wakes: None,
};
const PUBLISH: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: [
        "postgres.publish.before_commit",
        "postgres.publish.after_commit",
    ],
    wakes: Some(EVERYBODY),
};
const DISCARD: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: [
        "postgres.discard.before_commit",
        "postgres.discard.after_commit",
    ],
    wakes: Some(EVERYBODY),
};
const FORGETTABLE: Write<'static> = Write {
    durability: Durability::Flushed,
    failpoints: [
        "postgres.forgettable.before_commit",
        "postgres.forgettable.after_commit",
    ],
    wakes: None,
};

/// How long it is remembered that a batch was discarded. Nobody may rely on it: a stage that comes
/// later still is discarded again, by recovery.
const DISCARDED_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// What became of a staged batch: the column `state` of `staged`.
mod staged {
    pub(super) const WAITING: i64 = 0;
    pub(super) const PUBLISHED: i64 = 1;
    pub(super) const DISCARDED: i64 = 2;
}

impl Stage for PostgresStore {
    fn stage(
        &self,
        txn: TxnId,
        register: ResourceId,
        batch: &Batch,
        now: Timestamp,
    ) -> store::Result<()> {
        let write = || {
            rules::check(batch)?;
            let bytes = codec::encode(batch)?;
            self.write_again(STAGE, |session| {
                if is_staged(session, txn, &bytes)? {
                    return Ok(());
                }
                let count = batch.changes.len();
                // First, so that a second stage of the same transaction waits for this one.
                insert(session, (txn, register), (count, bytes.clone()), now)?;
                batch::judge(session, batch, (txn, now))
            })
        };
        write().map_err(|fault: Fault| fault.during("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> store::Result<Published> {
        let published = self.write(PUBLISH, |session| publish(session, txn, now));
        self.ring_after(&published);
        published.map_err(|fault| fault.during("publish a staged batch"))
    }

    fn discard(&self, txn: TxnId) -> store::Result<()> {
        let discard = || {
            let now = self.clock_now()?;
            self.write(DISCARD, |session| discard(session, txn, now))
        };
        let discarded = discard();
        self.ring_after(&discarded);
        discarded.map_err(|fault: Fault| fault.during("discard a staged batch"))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> store::Result<Applied> {
        let applied = rules::check(batch)
            .map_err(Fault::from)
            .and_then(|()| self.apply_checked((txn, prepared), batch, now));
        if batch::only_ends(batch) && applied.is_ok() {
            self.lines.fronts.forget_after_ends();
            self.bell.ring();
        } else {
            self.ring_after(&applied);
        }
        applied.map_err(|fault| fault.during("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> store::Result<Vec<TxnId>> {
        let forgotten = self.write(FORGETTABLE, |session| release(session, txns));
        forgotten.map_err(|fault| fault.during("flush what was published"))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> store::Result<Vec<InDoubt>> {
        let listed = self.read(|session| in_doubt(session, after, limit));
        listed.map_err(|fault| fault.during("list what is in doubt"))
    }
}

/// Whether the same batch is staged already.
fn is_staged(session: &mut dyn Session, txn: TxnId, bytes: &[u8]) -> Result<bool> {
    match find(session, txn)? {
        Some((staged::WAITING, known)) if known == bytes => Ok(true),
        Some((staged::WAITING, _)) => Err(Kind::StagedOtherwise(txn).into()),
        Some(_) => Err(Kind::Decided(txn).into()),
        None if register::is_decided(session, txn)? => Err(Kind::Decided(txn).into()),
        None => Ok(false),
    }
}

/// Finds a staged batch, or what is left of it, and keeps others from ending it.
fn find(session: &mut dyn Session, txn: TxnId) -> Result<Option<(i64, Vec<u8>)>> {
    let row = session.first(
        "SELECT state::bigint, batch FROM @.staged WHERE txn = $1 FOR UPDATE",
        vec![txn.into()],
    )?;
    row.map(|row| Ok((column(&row, 0)?, column(&row, 1)?)))
        .transpose()
}

fn insert(
    session: &mut dyn Session,
    (txn, register): (TxnId, ResourceId),
    (change_count, bytes): (usize, Vec<u8>),
    now: Timestamp,
) -> Result<()> {
    session.later(
        "INSERT INTO @.staged (txn, state, register, staged_at, change_count, batch)
         VALUES ($1, $2, $3, $4, $5, $6)",
        vec![
            txn.into(),
            staged::WAITING.into(),
            register.into(),
            now.into(),
            Value::count(change_count),
            bytes.into(),
        ],
    )
}

fn publish(session: &mut dyn Session, txn: TxnId, now: Timestamp) -> Result<Published> {
    let bytes = match find(session, txn)? {
        Some((staged::WAITING, bytes)) => bytes,
        Some((staged::PUBLISHED, _)) => return Ok(Published::Already),
        Some(_) | None => return Ok(Published::Unknown),
    };
    // What it has reserved is its own now: a task that comes back may take its key.
    keys::release(session, txn)?;
    let applied = batch::perform(
        Performer::staged(&mut *session, txn, now),
        codec::decode(&bytes)?,
    )?;
    end(session, txn, staged::PUBLISHED)?;
    Ok(Published::Now(applied))
}

fn discard(session: &mut dyn Session, txn: TxnId, now: Timestamp) -> Result<()> {
    let Some((staged::WAITING, bytes)) = find(session, txn)? else {
        return Ok(());
    };
    let batch: Batch = codec::decode(&bytes)?;
    let inserts: Vec<_> = batch.inserts().map(|record| record.id).collect();
    tasks::unstage(session, &inserts)?;
    let pinned = pinned_by(session, txn)?;
    batch::lock_tasks(session, &pinned, super::names::Names::default())?;
    let mut rows = Vec::with_capacity(pinned.len());
    for task in pinned {
        rows.extend(tasks::find(session, task)?);
    }
    rules::let_go(&mut { &mut *session }, rows, now)?;
    keys::release(session, txn)?;
    end(session, txn, staged::DISCARDED)?;
    drop_discarded(session, now)
}

/// Drops two of the oldest traces for each new one, so that they never pile up.
fn drop_discarded(session: &mut dyn Session, now: Timestamp) -> Result<()> {
    session.later(
        "DELETE FROM @.staged WHERE txn = ANY (ARRAY(
             SELECT s.txn FROM @.staged s WHERE s.state = 2 AND s.staged_at < $1
             ORDER BY s.staged_at LIMIT 2 FOR UPDATE SKIP LOCKED))",
        vec![now.saturating_sub(DISCARDED_KEPT).into()],
    )
}

/// What was published or discarded stays as an empty row until it can be forgotten, so that it is told
/// from what was never staged.
fn end(session: &mut dyn Session, txn: TxnId, state: i64) -> Result<()> {
    session.later(
        "UPDATE @.staged SET state = $2, batch = '' WHERE txn = $1",
        vec![txn.into(), state.into()],
    )
}

fn pinned_by(session: &mut dyn Session, txn: TxnId) -> Result<Vec<TaskId>> {
    let rows = session.query(
        "SELECT t.id FROM @.task t WHERE t.pinned = $1 ORDER BY t.seq",
        vec![txn.into()],
    )?;
    rows.iter()
        .map(|row| Ok(TaskId::from_bytes(id(row, 0)?)))
        .collect()
}

/// Flushes, and forgets what has become of batches; those that are still staged are not among the
/// returned.
fn release(session: &mut dyn Session, txns: &[TxnId]) -> Result<Vec<TxnId>> {
    register::touch(session)?;
    let ids: Vec<_> = txns.iter().map(|txn| txn.to_bytes()).collect();
    session.later(
        "DELETE FROM @.staged WHERE txn = ANY ($1) AND state <> 0",
        vec![Value::Ids(ids.clone())],
    )?;
    let held = session.query(
        "SELECT txn FROM @.staged WHERE txn = ANY ($1)",
        vec![Value::Ids(ids)],
    )?;
    let held = held.iter().map(|row| Ok(TxnId::from_bytes(id(row, 0)?)));
    let held = held.collect::<Result<Vec<_>>>()?;
    let is_free = |txn: &&TxnId| !held.contains(txn);
    Ok(txns.iter().filter(is_free).copied().collect())
}

fn in_doubt(session: &mut dyn Session, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
    let after = after.map(|txn| txn.to_bytes().to_vec()).unwrap_or_default();
    let rows = session.query(
        "SELECT txn, register, staged_at, change_count, length(batch)::bigint FROM @.staged
         WHERE txn > $1 AND state = 0 ORDER BY txn LIMIT $2",
        vec![after.into(), Value::count(limit)],
    )?;
    rows.iter()
        .map(|row| {
            Ok(InDoubt {
                txn: TxnId::from_bytes(id(row, 0)?),
                register: ResourceId::from_bytes(id(row, 1)?),
                staged_at: instant(row, 2)?,
                change_count: row::size(row, 3)?,
                size: row::size(row, 4)?,
            })
        })
        .collect()
}
