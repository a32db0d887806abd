//! The rows of tasks that a claim gives: what each task has of its own, and the rest in a column that most leave
//! empty.

use std::sync::Arc;

use tokio_postgres::Row;

use super::error::{Fault, Result};
use super::row::{self, TaskRow, column, instant, number};
use crate::codec;
use crate::id::{ConsumerId, TaskId, Token};
use crate::store::lifecycle;
use crate::task::{Counts, Name, Options, Payload, Record, State, decoded_options};
use crate::time::Timestamp;

/// What [`Reader::read`] reads of a task `t` in the line, behind which comes the token that it got. What only one
/// has that was tried before, or waited for its time, is an array.
macro_rules! given_columns {
    () => {
        "t.seq, t.id, t.kind, t.rank, t.enqueued_at, t.published_at, t.format, t.version, t.options, \
         t.payload, t.account, t.progress, \
         CASE WHEN t.attempts > 0 OR t.conflicts > 0 OR t.reclaims > 0 OR t.not_before IS NOT NULL \
                 OR t.ended_at IS NOT NULL OR t.dead IS NOT NULL \
             THEN ARRAY[t.attempts, t.conflicts, t.reclaims, t.not_before, t.ended_at, t.dead] END"
    };
}
pub(super) use given_columns;

/// Where the token is, and behind it how many tasks are left of a run.
const TOKEN: usize = 13;
const LEFT: usize = TOKEN + 1;

/// Reads how many tasks a claim left of the last run that it took from, which its first row says.
pub(super) fn left_of_run(row: &Row) -> Result<usize> {
    let left = column::<Option<i64>>(row, LEFT)?.unwrap_or_default();
    usize::try_from(left).map_err(|_| Fault::corrupt(format!("{left} tasks are left of a run")))
}

/// Reads the tasks of one claim. Those that came together are alike, so what the last one had is compared before
/// it is read again.
pub(super) struct Reader<'a> {
    queue: Name,
    consumer: &'a ConsumerId,
    kind: Name,
    options: Option<(Vec<u8>, Arc<Options>)>,
}

impl<'a> Reader<'a> {
    /// Begins with tasks of this queue, for this consumer.
    pub(super) fn new(queue: &str, consumer: &'a ConsumerId) -> Self {
        Self {
            queue: Name::from(queue),
            consumer,
            kind: Name::fixed(""),
            options: None,
        }
    }

    /// Reads a task, which is Claimed by now, and the token of its claim.
    pub(super) fn read(&mut self, row: &Row) -> Result<(TaskRow, Token)> {
        let id = TaskId::from_bytes(row::id(row, 1)?);
        let mut read = self.task(row, id).map_err(|fault| fault.of_task(id))?;
        lifecycle::claim(&mut read.record)?;
        let token = Token {
            incarnation: self.consumer.incarnation,
            count: column::<i64>(row, TOKEN)?.cast_unsigned(),
        };
        Ok((read, token))
    }

    fn task(&mut self, row: &Row, id: TaskId) -> Result<TaskRow> {
        let account: Option<&[u8]> = column(row, 10)?;
        let mut record = Record {
            id,
            queue: self.queue.clone(),
            kind: self.kind(row)?,
            payload: Payload {
                format: row::format(column(row, 6)?)?,
                version: number(row, 7)?,
                bytes: Arc::from(column::<&[u8]>(row, 9)?),
            },
            options: self.options(row)?,
            enqueued_at: instant(row, 4)?,
            published_at: Some(instant(row, 5)?),
            state: State::Ready,
            not_before: None,
            counts: Counts::default(),
            account: account.map(codec::decode).transpose()?,
            dead: None,
            ended_at: None,
            progress: column::<Option<&[u8]>>(row, 11)?
                .map(row::text)
                .transpose()?,
        };
        if let Some(past) = column::<Option<Vec<Option<i64>>>>(row, 12)? {
            remember(&mut record, &past)?;
        }
        Ok(TaskRow {
            seq: column(row, 0)?,
            record,
            rank: column(row, 3)?,
            pinned: None,
            claim: None,
            kept: row::Kept::default(),
        })
    }

    fn kind(&mut self, row: &Row) -> Result<Name> {
        let kind: &str = column(row, 2)?;
        if *self.kind != *kind {
            self.kind = Name::from(kind);
        }
        Ok(self.kind.clone())
    }

    fn options(&mut self, row: &Row) -> Result<Arc<Options>> {
        let bytes: &[u8] = column(row, 8)?;
        match &self.options {
            Some((last, options)) if last == bytes => Ok(Arc::clone(options)),
            _ => {
                let options = decoded_options(bytes)?;
                self.options = Some((bytes.to_vec(), Arc::clone(&options)));
                Ok(options)
            }
        }
    }
}

/// Adds what a task has behind it.
fn remember(record: &mut Record, past: &[Option<i64>]) -> Result<()> {
    let &[attempts, conflicts, reclaims, not_before, ended_at, dead] = past else {
        let what = format!("{} numbers of the past of a task", past.len());
        return Err(Fault::corrupt(what));
    };
    let count = |number: Option<i64>| {
        let number = number.unwrap_or_default();
        u32::try_from(number).map_err(|_| Fault::corrupt(format!("{number} is out of bounds")))
    };
    record.counts = Counts {
        attempts: count(attempts)?,
        conflicts: count(conflicts)?,
        reclaims: count(reclaims)?,
    };
    record.not_before = not_before.map(Timestamp::from_micros);
    record.ended_at = ended_at.map(Timestamp::from_micros);
    let dead = dead.map(|dead| row::dead(i16::try_from(dead).unwrap_or(i16::MAX)));
    record.dead = dead.transpose()?;
    Ok(())
}
