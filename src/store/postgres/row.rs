//! Rows of tasks, and the forms in which values are kept.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::{Fault, Result};
use crate::codec;
use crate::id::{Incarnation, TaskId, Token, TxnId};
use crate::store::rules::{self, ClaimColumns};
use crate::task::{Counts, DeadReason, Format, Name, Payload, Record, State, decoded_options};
use crate::time::Timestamp;

/// What [`TaskRow::read`] reads of a task, in its order.
macro_rules! task_columns {
    () => {
        "t.seq, t.id, t.queue, t.kind, t.state, t.rank, t.not_before, t.attempts, t.conflicts, \
         t.reclaims, t.account, t.dead, t.ended_at, t.progress, t.enqueued_at, t.published_at, \
         t.options, t.format, t.version"
    };
}

/// A query of tasks with all that is known of them: with their payload, or without. What follows names
/// the task `t`, its claim `c` and its run of the line `r`.
macro_rules! tasks_with {
    ($payload:literal) => {
        concat!(
            "SELECT ",
            $crate::store::postgres::row::task_columns!(),
            ", ",
            $payload,
            ", c.holder, c.token + t.seq - c.first, c.name, c.claimed_at, t.pinned,
                 r.first IS NOT NULL, c.number, c.first = c.last
             FROM @.task t LEFT JOIN ",
            $crate::store::postgres::claim::claim_of_task!(),
            "ON true LEFT JOIN ",
            $crate::store::postgres::line::run_of_task!(),
            "ON true "
        )
    };
}
pub(super) use {task_columns, tasks_with};

const PAYLOAD: usize = 19;
const HOLDER: usize = 20;

/// A visible task. Its state tells Claimed from Ready.
pub(super) type TaskRow = rules::TaskRow<Kept>;

/// What the tables have of a claim, whatever is to become of it.
#[derive(Debug, Clone)]
pub(in crate::store) struct KeptClaim {
    pub(super) token: Token,
    /// Numbers the claims of all tasks.
    pub(super) number: i64,
    /// Whether it is a run of its own.
    pub(super) is_alone: bool,
}

/// Where a task is in the narrow tables.
#[derive(Debug, Clone)]
pub(in crate::store) struct Kept {
    pub(super) is_ready: bool,
    pub(super) claim: Option<KeptClaim>,
    pub(super) queue: Name,
    pub(super) rank: i64,
}

/// A task that the narrow tables do not know.
impl Default for Kept {
    fn default() -> Self {
        Self {
            is_ready: false,
            claim: None,
            queue: Name::fixed(""),
            rank: 0,
        }
    }
}

impl TaskRow {
    /// Reads a row of [`tasks_with`].
    pub(super) fn read(row: &Row) -> Result<Self> {
        let mut read = Self::read_task(row)?;
        read.claim = claim(row)?;
        read.pinned = optional_id(row, HOLDER + 4)?.map(TxnId::from_bytes);
        if read.claim.is_some() && read.record.state == State::Ready {
            read.record.state = State::Claimed;
        }
        read.kept = Kept {
            is_ready: column(row, HOLDER + 5)?,
            claim: kept_claim(row, read.claim.as_ref())?,
            queue: read.record.queue.clone(),
            rank: read.rank,
        };
        Ok(read)
    }

    /// Reads [`task_columns`] and the payload, and takes the task for one that nobody holds.
    pub(super) fn read_task(row: &Row) -> Result<Self> {
        let id = TaskId::from_bytes(id(row, 1)?);
        Self::read_known(row, id).map_err(|fault| fault.of_task(id))
    }

    fn read_known(row: &Row, id: TaskId) -> Result<Self> {
        let account: Option<&[u8]> = column(row, 10)?;
        let record = Record {
            id,
            queue: Name::from(column::<&str>(row, 2)?),
            kind: Name::from(column::<&str>(row, 3)?),
            payload: Payload {
                format: format(column(row, 17)?)?,
                version: number(row, 18)?,
                bytes: Arc::from(column::<&[u8]>(row, PAYLOAD)?),
            },
            options: decoded_options(column(row, 16)?)?,
            enqueued_at: instant(row, 14)?,
            published_at: Some(instant(row, 15)?),
            state: state(column(row, 4)?)?,
            not_before: optional_instant(row, 6)?,
            counts: Counts {
                attempts: number(row, 7)?,
                conflicts: number(row, 8)?,
                reclaims: number(row, 9)?,
            },
            account: account.map(codec::decode).transpose()?,
            dead: column::<Option<i16>>(row, 11)?.map(dead).transpose()?,
            ended_at: optional_instant(row, 12)?,
            progress: column::<Option<&[u8]>>(row, 13)?.map(text).transpose()?,
        };
        Ok(Self {
            seq: column(row, 0)?,
            record,
            rank: column(row, 5)?,
            pinned: None,
            claim: None,
            kept: Kept::default(),
        })
    }
}

fn kept_claim(row: &Row, claim: Option<&ClaimColumns>) -> Result<Option<KeptClaim>> {
    let Some(claim) = claim else { return Ok(None) };
    Ok(Some(KeptClaim {
        token: claim.token,
        number: column(row, HOLDER + 6)?,
        is_alone: column(row, HOLDER + 7)?,
    }))
}

fn claim(row: &Row) -> Result<Option<ClaimColumns>> {
    let Some(holder) = column::<Option<i64>>(row, HOLDER)? else {
        return Ok(None);
    };
    Ok(Some(ClaimColumns {
        token: Token {
            incarnation: Incarnation::from_u64(holder.cast_unsigned()),
            count: column::<i64>(row, HOLDER + 1)?.cast_unsigned(),
        },
        name: column(row, HOLDER + 2)?,
        at: instant(row, HOLDER + 3)?,
    }))
}

/// Reads a column that must be what the tables say it is.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T> {
    row.try_get(index)
        .map_err(|error| Fault::corrupt(error.to_string()))
}

/// Reads an id of 16 bytes.
pub(super) fn id(row: &Row, index: usize) -> Result<[u8; 16]> {
    optional_id(row, index)?.ok_or_else(|| Fault::corrupt("an id is missing"))
}

pub(super) fn optional_id(row: &Row, index: usize) -> Result<Option<[u8; 16]>> {
    let Some(bytes) = column::<Option<&[u8]>>(row, index)? else {
        return Ok(None);
    };
    let id = bytes.try_into();
    id.map(Some)
        .map_err(|_| Fault::corrupt(format!("an id of {} bytes", bytes.len())))
}

pub(super) fn instant(row: &Row, index: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(column(row, index)?))
}

pub(super) fn optional_instant(row: &Row, index: usize) -> Result<Option<Timestamp>> {
    Ok(column::<Option<i64>>(row, index)?.map(Timestamp::from_micros))
}

/// What people say is kept as bytes: it may have characters that a text of Postgres must not.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| Fault::corrupt("a text that is not UTF-8"))
}

pub(super) fn number(row: &Row, index: usize) -> Result<u32> {
    let number = column::<i64>(row, index)?;
    u32::try_from(number).map_err(|_| Fault::corrupt(format!("{number} is out of bounds")))
}

/// Enums are kept as numbers: part of the tables' form, never to be given to another meaning.
macro_rules! numbers {
    ($to:ident, $from:ident, $type:ident { $($variant:ident = $number:literal),* $(,)? }) => {
        pub(super) fn $to(value: $type) -> i64 {
            match value { $($type::$variant => $number,)* }
        }

        pub(super) fn $from(number: i16) -> Result<$type> {
            match number {
                $($number => Ok($type::$variant),)*
                other => Err(Fault::corrupt(format!("{other} is no {}", stringify!($from)))),
            }
        }
    };
}

numbers!(state_number, state, State {
    Staged = 0,
    Waiting = 1,
    Scheduled = 2,
    Ready = 3,
    Claimed = 4,
    Done = 5,
    Dead = 6,
    Cancelled = 7,
});
numbers!(format_number, format, Format {
    Postcard = 0,
    Json = 1,
    Bytes = 2,
});
numbers!(dead_number, dead, DeadReason {
    Failed = 0,
    Reclaimed = 1,
    Expired = 2,
});

/// Reads a number that counts something in memory.
pub(super) fn size(row: &Row, index: usize) -> Result<usize> {
    let size = column::<i64>(row, index)?;
    usize::try_from(size).map_err(|_| Fault::corrupt(format!("a size of {size}")))
}
