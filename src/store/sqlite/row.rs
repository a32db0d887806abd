//! Rows of `votive_task`, and the forms in which values are kept.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Rows};

use super::error::{Fault, Result};
pub(super) use super::register::Sql;
use crate::codec;
use crate::id::{Incarnation, ResourceId, TaskId, Token, TxnId};

use crate::store::rules::{self, ClaimColumns};
use crate::task::{Counts, DeadReason, Format, Options, Payload, Record, State, decoded_options};
use crate::time::Timestamp;

/// What [`TaskRow::read`] reads, in its order. The payload is last and may be left out.
macro_rules! columns {
    () => {
        "seq, id, queue, kind, state, rank, not_before, pinned, holder, token, holder_name, \
         claimed_at, attempts, conflicts, reclaims, account, dead, ended_at, progress, \
         enqueued_at, published_at, options, format, version"
    };
}

/// Whether nothing that is encoded in a row was written by a newer version of votive, for which such a row is left.
macro_rules! not_newer {
    () => {
        "coalesce(substr(options, 1, 1), x'') <= x'01' AND coalesce(substr(account, 1, 1), x'') <= x'01'"
    };
}
pub(super) use {columns, not_newer};

const PAYLOAD: usize = 24;

/// A visible task: nothing of it is in other tables.
pub(super) type TaskRow = rules::TaskRow<()>;

/// Whether the payload's bytes are read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    Read,
    Left,
}

impl TaskRow {
    /// Reads the columns of [`columns`], and `payload` after them if `bytes` says so.
    pub(super) fn read(row: &Row<'_>, bytes: Bytes) -> Result<Self> {
        let id = row.get::<_, Sql<TaskId>>(1)?.0;
        Self::read_known(row, id, bytes).map_err(|fault| fault.of_task(id))
    }

    fn read_known(row: &Row<'_>, id: TaskId, bytes: Bytes) -> Result<Self> {
        let account: Option<&[u8]> = row.get_ref(15)?.as_blob_or_null().map_err(mistyped)?;
        let payload = match bytes {
            Bytes::Read => row.get(PAYLOAD)?,
            Bytes::Left => Arc::default(),
        };
        let record = Record {
            id,
            queue: row.get::<_, Arc<str>>(2)?.into(),
            kind: row.get::<_, Arc<str>>(3)?.into(),
            payload: Payload {
                format: row.get::<_, Sql<Format>>(22)?.0,
                version: row.get(23)?,
                bytes: payload,
            },
            options: options(row, 21)?,
            enqueued_at: instant(row, 19)?,
            published_at: Some(instant(row, 20)?),
            state: row.get::<_, Sql<State>>(4)?.0,
            not_before: optional_instant(row, 6)?,
            counts: Counts {
                attempts: row.get(12)?,
                conflicts: row.get(13)?,
                reclaims: row.get(14)?,
            },
            account: account.map(codec::decode).transpose()?,
            dead: row
                .get::<_, Option<Sql<DeadReason>>>(16)?
                .map(|dead| dead.0),
            ended_at: optional_instant(row, 17)?,
            progress: row.get(18)?,
        };
        Ok(Self {
            seq: row.get(0)?,
            record,
            rank: row.get(5)?,
            pinned: row.get::<_, Option<Sql<TxnId>>>(7)?.map(|txn| txn.0),
            claim: claim(row)?,
            kept: (),
        })
    }
}

/// Rows of tasks, and apart from them those that cannot be read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) rows: Vec<TaskRow>,
    pub(super) unread: Vec<Unread>,
}

/// A task that cannot be read.
pub(super) struct Unread {
    pub(super) seq: i64,
    /// Whether no newer version can either.
    pub(super) is_damaged: bool,
}

impl Found {
    /// Reads rows as [`TaskRow::read`] does.
    pub(super) fn add(&mut self, mut found: Rows<'_>, bytes: Bytes) -> Result<()> {
        while let Some(row) = found.next()? {
            match TaskRow::read(row, bytes) {
                Ok(row) => self.rows.push(row),
                Err(fault) if fault.is_unreadable() => {
                    tracing::error!(?fault, "a task cannot be read");
                    self.unread.push(Unread {
                        seq: row.get(0)?,
                        is_damaged: fault.is_damaged(),
                    });
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

/// Reads a column of encoded options.
pub(super) fn options(row: &Row<'_>, column: usize) -> Result<Arc<Options>> {
    let encoded = row.get_ref(column)?.as_blob().map_err(mistyped)?;
    Ok(decoded_options(encoded)?)
}

fn claim(row: &Row<'_>) -> Result<Option<ClaimColumns>> {
    let Some(incarnation) = row.get::<_, Option<Sql<Incarnation>>>(8)? else {
        return Ok(None);
    };
    Ok(Some(ClaimColumns {
        token: Token {
            incarnation: incarnation.0,
            count: row.get::<_, i64>(9)?.cast_unsigned(),
        },
        name: row.get(10)?,
        at: instant(row, 11)?,
    }))
}

/// A bound that SQLite can count to.
pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn instant(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(row.get(column)?))
}

fn optional_instant(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    Ok(micros.map(Timestamp::from_micros))
}

fn mistyped(error: FromSqlError) -> Fault {
    Fault::from(rusqlite::Error::from(error))
}

macro_rules! bytes_in_sql {
    ($($type:ty),*) => {$(
        impl ToSql for Sql<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.to_bytes().to_vec().into())
            }
        }

        impl FromSql for Sql<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                FromSql::column_result(value).map(<$type>::from_bytes).map(Self)
            }
        }
    )*};
}

bytes_in_sql!(TaskId, ResourceId);

/// Enums are kept as numbers: part of the file format, never to be given to another meaning.
macro_rules! numbers_in_sql {
    ($to:ident, $type:ident { $($variant:ident = $number:literal),* $(,)? }) => {
        /// The number that stands for a value.
        pub(super) fn $to(value: $type) -> i64 {
            match value { $($type::$variant => $number,)* }
        }

        impl ToSql for Sql<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok($to(self.0).into())
            }
        }

        impl FromSql for Sql<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_i64()? {
                    $($number => Ok(Self($type::$variant)),)*
                    other => Err(FromSqlError::OutOfRange(other)),
                }
            }
        }
    };
}

numbers_in_sql!(state_number, State {
    Staged = 0,
    Waiting = 1,
    Scheduled = 2,
    Ready = 3,
    Claimed = 4,
    Done = 5,
    Dead = 6,
    Cancelled = 7,
});
numbers_in_sql!(format_number, Format {
    Postcard = 0,
    Json = 1,
    Bytes = 2,
});
numbers_in_sql!(dead_number, DeadReason {
    Failed = 0,
    Reclaimed = 1,
    Expired = 2,
});

#[cfg(test)]
mod tests {
    #[test]
    fn the_statements_know_which_version_is_newer() {
        let known = format!("x'{:02x}'", crate::codec::VERSION);
        assert_eq!(not_newer!().matches(&known).count(), 2);
    }
}
