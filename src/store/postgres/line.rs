//! The line of a queue: which tasks may be claimed, in which order.
//!
//! Owns one invariant: each task that may be claimed is in one run of the line. A row of `ready` is a run: tasks whose
//! sequences follow each other and whose ranks are the same, as those of one batch are, at most [`RUN_MAX`] of them. So
//! a hundred tasks that came together enter and leave the line by one row. Who keeps a task from being claimed keeps
//! its run: so those with a unique key share short ones, which an application's open transaction may keep for long, and
//! those on which more hangs share none.
//!
//! A run is never changed, only deleted, and what is left of it is inserted anew. Who has locked a run may delete it by
//! its place; who waited for one finds it gone, and what is left of it not before the next statement.

use super::error::Result;
use super::row::TaskRow;
use super::session::Session;

/// How many tasks a run has at most: so many are out of reach while one of them is being claimed.
pub(super) const RUN_MAX: usize = 128;

/// How many tasks a run has at most that have a unique key: they end where the sequence is a multiple of it.
const KEYED_RUN_MAX: i64 = 16;

/// Whether a task of this sequence may be in one run with the one behind it, by what [hangs](super::insert::hangs) on
/// it.
pub(super) fn may_go_on(hangs: i64, seq: i64) -> bool {
    match hangs {
        0 => true,
        1 => (seq + 1) % KEYED_RUN_MAX != 0,
        _ => false,
    }
}

/// The run that a task `t` is in, called `r`, if it is in the line.
macro_rules! run_of_task {
    () => {
        "LATERAL (SELECT r.first FROM @.ready r WHERE r.queue = t.queue AND r.rank = t.rank
             AND r.first > t.seq - 128 AND r.first <= t.seq AND r.last >= t.seq LIMIT 1) r "
    };
}
pub(super) use run_of_task;

/// Puts those of new tasks that may be claimed into the line; `task` is what they were inserted as.
macro_rules! entering {
    () => {
        "line AS (
             INSERT INTO @.ready (queue, rank, first, last)
             SELECT queue, rank, min(seq), max(seq) FROM (
                 SELECT queue, rank, seq, hangs,
                     row_number() OVER (PARTITION BY queue, rank, hangs ORDER BY seq) AS place
                 FROM task WHERE state = 3) AS placed
             GROUP BY queue, rank, hangs, seq - place,
                 CASE hangs WHEN 0 THEN (place - 1) / 128 WHEN 1 THEN seq / 16 ELSE -seq END) "
    };
}
pub(super) use entering;

/// Takes a task out of the line, or fails by a division if somebody else has its run or it is not there.
const LEAVE: &str = "\
WITH run AS (
    DELETE FROM @.ready r WHERE r.ctid = ANY (ARRAY(
        SELECT r.ctid FROM @.ready r WHERE r.queue = $1 AND r.rank = $2
            AND r.first > $3 - 128 AND r.first <= $3 AND r.last >= $3
        FOR UPDATE SKIP LOCKED))
    RETURNING r.first, r.last),
rest AS (
    INSERT INTO @.ready (queue, rank, first, last)
    SELECT $1, $2, part.first, part.last FROM run
    CROSS JOIN LATERAL (VALUES (run.first, $3 - 1), ($3 + 1, run.last)) AS part (first, last)
    WHERE part.first <= part.last)
SELECT 1 / count(*) FROM run";

/// Takes a task out of the line.
///
/// If it was claimed after it was looked at, the next statement [falls short](super::error::Fault::fell_short),
/// and with it the transaction: it has to be done again.
pub(super) fn leave(session: &mut dyn Session, row: &TaskRow) -> Result<()> {
    let kept = &row.kept;
    session.later(
        LEAVE,
        vec![(&*kept.queue).into(), kept.rank.into(), row.seq.into()],
    )
}

/// Puts a task into the line, at its rank.
pub(super) fn enter(session: &mut dyn Session, row: &TaskRow, rank: i64) -> Result<()> {
    session.later(
        "INSERT INTO @.ready (queue, rank, first, last) VALUES ($1, $2, $3, $3)",
        vec![(&*row.record.queue).into(), rank.into(), row.seq.into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;
    use crate::store::postgres::fixture::{WRITE, open};
    use crate::store::postgres::{PostgresStore, insert, tasks};
    use crate::task::{Format, Payload, Record};

    #[test]
    fn the_statements_know_how_long_a_run_is() {
        assert!(entering!().contains(&format!("seq / {KEYED_RUN_MAX} ")));
        let length = RUN_MAX.to_string();
        for text in [
            run_of_task!(),
            entering!(),
            LEAVE,
            insert::INSERT_ALONE.fresh,
        ] {
            assert!(text.contains(&length), "{text}");
        }
    }

    /// Plain tasks that come together.
    fn enter(store: &PostgresStore, count: usize) -> Vec<Record> {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: Vec::new().into(),
        };
        let now = crate::time::Timestamp::from_micros(7);
        let new = |_| {
            let id = crate::id::TaskId::new(now);
            let mut record = Record::new(id, "default", "kind", payload.clone(), now);
            crate::store::lifecycle::publish(&mut record, false, now).unwrap();
            record
        };
        let records: Vec<_> = (0..count).map(new).collect();
        let inserted = store.write(WRITE, |session| insert::insert(session, &records, false));
        inserted.unwrap();
        records
    }

    fn runs(store: &PostgresStore) -> Vec<i64> {
        let runs = store.read(|session| {
            let rows = session.query(
                "SELECT last - first + 1 FROM @.ready ORDER BY queue, rank, first",
                Vec::new(),
            )?;
            rows.iter()
                .map(|row| super::super::row::column(row, 0))
                .collect()
        });
        runs.unwrap()
    }

    #[test]
    fn who_has_been_claimed_since_he_was_looked_at_cannot_leave_the_line() {
        let Some(store) = open("gone") else { return };
        let records = enter(&store, 300);
        assert_eq!(runs(&store), [128, 128, 44]);
        let row = store.read(|session| tasks::find(session, records[2].id));
        let row = row.unwrap().unwrap();
        let leave = || store.write(WRITE, |session| leave(session, &row));
        leave().unwrap();
        assert_eq!(runs(&store), [2, 125, 128, 44]);
        let gone = leave().unwrap_err();
        assert!(gone.fell_short() && gone.kind == Kind::Conflict, "{gone:?}");
    }
}
