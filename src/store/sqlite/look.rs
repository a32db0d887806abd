//! What a claim sees before it is its turn to write, and takes if it is still so then.
//!
//! Reading a task takes more than half as long as changing its row, and who writes keeps all others from it. So the tasks at
//! the head of a queue are read by a reader, while somebody else may be writing. Of a *fresh* task, which nobody has touched
//! since it was published, few columns can change; it is taken by a statement that compares them. From the first that is not
//! fresh, or not as it was seen, a claim goes on as if it had seen nothing.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::claim;
use super::error::Result;
use super::row::{Sql, TaskRow};
use super::statements::Statements;
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::lifecycle;
use crate::store::{Claim, ClaimRequest};
use crate::task::{Counts, Record};
use crate::time::Timestamp;

/// Takes a fresh task if it is as it was seen. Its sequence alone does not name it: that of the last one is given again.
pub(super) const TAKE: &str = "UPDATE votive_task NOT INDEXED
    SET state = 4, holder = ?1, holder_name = ?2, claimed_at = ?3, token = ?4
    WHERE seq = ?5 AND id = ?6 AND queue = ?7 AND state = 3 AND pinned IS NULL
        AND attempts = 0 AND conflicts = 0 AND reclaims = 0
        AND not_before IS NULL AND account IS NULL AND progress IS NULL";

/// The head of each queue of a request, in the order of its wants.
pub(super) struct Seen(Vec<Vec<TaskRow>>);

/// Looks what a claim would find; `None` is nothing, so that it need not write at all.
pub(super) fn look(
    connection: &Connection,
    request: &ClaimRequest,
    departed: &BTreeSet<Incarnation>,
    now: Timestamp,
) -> Result<Option<Seen>> {
    let mut heads = Vec::with_capacity(request.wants.len());
    let mut any = false;
    for want in &request.wants {
        let (queue, count) = (&want.queue, want.count);
        let head = claim::ready(connection, queue, count)?;
        any |= !head.is_empty()
            || (count > 0
                && (claim::is_due(connection, queue, now)?
                    || claim::any_holds(connection, departed, queue)?));
        heads.push(head);
    }
    Ok(any.then_some(Seen(heads)))
}

impl Seen {
    pub(super) fn heads(&self) -> impl Iterator<Item = &[TaskRow]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// Takes tasks of `head`, as far as they are fresh and still as they were seen.
pub(super) fn take(
    connection: &Statements<'_>,
    head: &[TaskRow],
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::with_capacity(head.len());
    let mut update = connection.prepare_cached(TAKE)?;
    update.raw_bind_parameter(1, Sql(consumer.incarnation))?;
    update.raw_bind_parameter(2, &consumer.name)?;
    update.raw_bind_parameter(3, now.as_micros())?;
    for row in head.iter().take_while(|row| is_fresh(&row.record)) {
        let mut record = row.record.clone();
        let token = Token::next(consumer.incarnation);
        update.raw_bind_parameter(4, token.count.cast_signed())?;
        update.raw_bind_parameter(5, row.seq)?;
        update.raw_bind_parameter(6, Sql(record.id))?;
        update.raw_bind_parameter(7, &*record.queue)?;
        if update.raw_execute()? == 0 {
            break;
        }
        lifecycle::claim(&mut record)?;
        claims.push(claim::claimed(record, token, false, now));
    }
    Ok(claims)
}

fn is_fresh(record: &Record) -> bool {
    record.counts == Counts::default()
        && record.not_before.is_none()
        && record.account.is_none()
        && record.progress.is_none()
}
