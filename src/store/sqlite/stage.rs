//! Two-phase commit of batches.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::batch;
use super::error::{Fault, Result};
use super::groups;
use super::register::{self, CommitRecord};
use super::row::{self, Bytes, Found, Sql, columns};
use super::statements::Statements;
use super::tasks;
use super::writer::{Durability, Write};
use crate::codec;
use crate::id::{ResourceId, TxnId};
use crate::store::rules::{self, Performer};
use crate::store::{self, Applied, Batch, InDoubt, Kind, Published, Stage};
use crate::time::Timestamp;

const STAGE: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["sqlite.stage.before_commit", "sqlite.stage.after_commit"],
};
const APPLY: Write = Write {
    durability: Durability::Flushed,
    failpoints: ["sqlite.apply.before_commit", "sqlite.apply.after_commit"],
};
const PUBLISH: Write = Write {
    durability: Durability::Deferred,
    failpoints: [
        "sqlite.publish.before_commit",
        "sqlite.publish.after_commit",
    ],
};
const DISCARD: Write = Write {
    durability: Durability::Deferred,
    failpoints: [
        "sqlite.discard.before_commit",
        "sqlite.discard.after_commit",
    ],
};
const FORGETTABLE: Write = Write {
    durability: Durability::Flushed,
    failpoints: [
        "sqlite.forgettable.before_commit",
        "sqlite.forgettable.after_commit",
    ],
};

/// How long it is remembered that a batch was discarded. Nobody may rely on it: a stage that comes
/// later still is discarded again, by recovery.
const DISCARDED_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// What became of a staged batch: the column `state` of `votive_staged`.
mod staged {
    pub(super) const WAITING: u8 = 0;
    pub(super) const PUBLISHED: u8 = 1;
    pub(super) const DISCARDED: u8 = 2;
}

impl Stage for SqliteStore {
    fn stage(
        &self,
        txn: TxnId,
        register: ResourceId,
        batch: &Batch,
        now: Timestamp,
    ) -> store::Result<()> {
        let write = || {
            rules::check(batch)?;
            let (batch, bytes) = (batch.clone(), codec::encode(batch)?);
            self.write(STAGE, move |connection| {
                if is_staged(connection, txn, &bytes)? {
                    return Ok(());
                }
                batch::judge(connection, &batch, (txn, now))?;
                let count = batch.changes.len();
                insert(connection, (txn, register), (count, &bytes), now)
            })
        };
        write().map_err(|fault| fault.during("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> store::Result<Published> {
        let published = self.write(PUBLISH, move |connection| publish(connection, txn, now));
        if matches!(published, Ok(Published::Now(_))) {
            self.announce();
        }
        published.map_err(|fault| fault.during("publish a staged batch"))
    }

    fn discard(&self, txn: TxnId) -> store::Result<()> {
        let discard = || {
            let known = self.read(|connection| Ok(find(connection, txn)?.is_some()))?;
            if !known {
                return Ok(());
            }
            let now = self.clock_now();
            self.write(DISCARD, move |connection| discard(connection, txn, now))?;
            self.announce();
            Ok(())
        };
        discard().map_err(|fault: Fault| fault.during("discard a staged batch"))
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
            .and_then(|()| self.apply_checked(txn, batch, prepared, now));
        if applied.is_ok() {
            self.announce();
        }
        applied.map_err(|fault| fault.during("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> store::Result<Vec<TxnId>> {
        let txns = txns.to_vec();
        let forgotten = self.write(FORGETTABLE, move |connection| {
            register::touch(connection)?;
            let mut released = Vec::with_capacity(txns.len());
            for txn in &txns {
                if release(connection, *txn)? {
                    released.push(*txn);
                }
            }
            Ok(released)
        });
        forgotten.map_err(|fault| fault.during("flush what was published"))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> store::Result<Vec<InDoubt>> {
        let listed = self.read(|connection| in_doubt(connection, after, limit));
        listed.map_err(|fault| fault.during("list what is in doubt"))
    }
}

impl SqliteStore {
    /// Nobody but its owner ever asks for an outcome that no other store has a part in, and once this
    /// returns the owner knows it: the record is [spent](crate::store::spent).
    fn apply_checked(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        let spent = self.spent.take_for(txn.incarnation);
        let (batch, stores, gone) = (batch.clone(), prepared.to_vec(), spent.clone());
        let applied = self.write(APPLY, move |connection| {
            if is_known(connection, txn)? {
                return Err(Kind::Decided(txn).into());
            }
            match register::commit(connection, txn, &stores, &gone)? {
                CommitRecord::Written => {}
                CommitRecord::Decided => return Err(Kind::Decided(txn).into()),
                CommitRecord::Gone => return Err(Kind::IncarnationGone(txn.incarnation).into()),
            }
            batch::perform(Performer::at_once(connection, now), batch.clone())
        });
        match &applied {
            Ok(_) if prepared.is_empty() => self.spent.add([txn]),
            Ok(_) => {}
            Err(_) => self.spent.add(spent),
        }
        applied
    }
}

/// Whether the same batch is staged already.
fn is_staged(connection: &Connection, txn: TxnId, bytes: &[u8]) -> Result<bool> {
    match find(connection, txn)? {
        Some((staged::WAITING, known)) if known == bytes => Ok(true),
        Some((staged::WAITING, _)) => Err(Kind::StagedOtherwise(txn).into()),
        Some(_) => Err(Kind::Decided(txn).into()),
        None if register::is_decided(connection, txn)? => Err(Kind::Decided(txn).into()),
        None => Ok(false),
    }
}

/// Whether a batch of this transaction was ever staged, as far as that is remembered.
fn is_known(connection: &Statements<'_>, txn: TxnId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM votive_staged WHERE txn = ?1)";
    Ok(connection.ask(sql, [Sql(txn)], |row| row.get(0))?)
}

fn find(connection: &Connection, txn: TxnId) -> Result<Option<(u8, Vec<u8>)>> {
    let mut select =
        connection.prepare_cached("SELECT state, batch FROM votive_staged WHERE txn = ?1")?;
    let found = select.query_row([Sql(txn)], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

fn insert(
    connection: &Connection,
    (txn, register): (TxnId, ResourceId),
    (change_count, bytes): (usize, &[u8]),
    now: Timestamp,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO votive_staged (txn, state, register, staged_at, change_count, batch)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            Sql(txn),
            staged::WAITING,
            Sql(register),
            now.as_micros(),
            change_count,
            bytes,
        ])?;
    Ok(())
}

fn publish(connection: &Statements<'_>, txn: TxnId, now: Timestamp) -> Result<Published> {
    let bytes = match find(connection, txn)? {
        Some((staged::WAITING, bytes)) => bytes,
        Some((staged::PUBLISHED, _)) => return Ok(Published::Already),
        Some(_) | None => return Ok(Published::Unknown),
    };
    // What it has reserved is its own now: a task that comes back may take its key.
    tasks::release(connection, txn)?;
    let applied = batch::perform(
        Performer::staged(connection, txn, now),
        codec::decode(&bytes)?,
    )?;
    end(connection, txn, staged::PUBLISHED)?;
    Ok(Published::Now(applied))
}

fn discard(connection: &Statements<'_>, txn: TxnId, now: Timestamp) -> Result<()> {
    let Some((staged::WAITING, bytes)) = find(connection, txn)? else {
        return Ok(());
    };
    let batch: Batch = codec::decode(&bytes)?;
    for record in batch.inserts() {
        tasks::unstage(connection, record.id)?;
    }
    let pinned = pinned_by(connection, txn)?;
    // What cannot be read is let go with the others: all of them before any goes on.
    for task in &pinned.unread {
        tasks::pin(connection, task.seq, None)?;
    }
    rules::let_go(&mut { connection }, pinned.rows, now)?;
    for task in &pinned.unread {
        groups::go_on_unread(connection, task.seq, now)?;
    }
    tasks::release(connection, txn)?;
    end(connection, txn, staged::DISCARDED)?;
    drop_discarded(connection, now)
}

/// Drops two of the oldest traces for each new one, so that they never pile up.
fn drop_discarded(connection: &Connection, now: Timestamp) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM votive_staged WHERE txn IN (
                 SELECT txn FROM votive_staged WHERE state = 2 AND staged_at < ?1
                 ORDER BY staged_at LIMIT 2)",
        )?
        .execute([now.saturating_sub(DISCARDED_KEPT).as_micros()])?;
    Ok(())
}

/// What was published or discarded stays as an empty row until it can be forgotten, so that it is told
/// from what was never staged.
fn end(connection: &Connection, txn: TxnId, state: u8) -> Result<()> {
    connection
        .prepare_cached("UPDATE votive_staged SET state = ?2, batch = x'' WHERE txn = ?1")?
        .execute(params![Sql(txn), state])?;
    Ok(())
}

fn pinned_by(connection: &Connection, txn: TxnId) -> Result<Found> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM votive_task WHERE pinned = ?1"
    ))?;
    let mut pinned = Found::default();
    pinned.add(select.query([Sql(txn)])?, Bytes::Left)?;
    Ok(pinned)
}

/// Forgets what has become of a batch; `false` if it is still staged.
fn release(connection: &Connection, txn: TxnId) -> Result<bool> {
    if matches!(find(connection, txn)?, Some((staged::WAITING, _))) {
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM votive_staged WHERE txn = ?1")?
        .execute([Sql(txn)])?;
    Ok(true)
}

fn in_doubt(connection: &Connection, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
    let mut select = connection.prepare_cached(
        "SELECT txn, register, staged_at, change_count, length(batch) FROM votive_staged
         WHERE txn > coalesce(?1, x'') AND state = 0 ORDER BY txn LIMIT ?2",
    )?;
    let limit = row::limit(limit);
    let rows = select.query_map(params![after.map(Sql), limit], |row| {
        Ok(InDoubt {
            txn: row.get::<_, Sql<TxnId>>(0)?.0,
            register: row.get::<_, Sql<ResourceId>>(1)?.0,
            staged_at: Timestamp::from_micros(row.get(2)?),
            change_count: row.get(3)?,
            size: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
