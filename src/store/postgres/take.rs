//! The statements of a claim: the first tasks of a queue leave the line and become somebody's.
//!
//! A claim is a transaction by itself, of one statement, wherever nothing but the line and the claims has to be
//! changed.

use tokio_postgres::Row;

use super::claim::{Claimer, Head};
use super::error::Result;
use super::given::{Reader, given_columns, left_of_run};
use super::pool::deferred;
use super::reclaim::departed;
use super::row::TaskRow;
use super::session::Session;
use super::value::Value;
use crate::id::Token;

/// Gives the first tasks of a queue to a consumer, unless something else has to be done before: a task is
/// due, or somebody who holds claims has departed. It locks so many runs and leaves what it does not need of them;
/// if that is much, in two halves, of which somebody else finds one while the other is being claimed.
///
/// This takes the runs out of the line, as `taken`.
macro_rules! taking {
    ($runs:literal) => {
        concat!(
            "WITH taken AS (
         DELETE FROM @.ready WHERE ctid = ANY (ARRAY(
             SELECT r.ctid FROM @.ready r WHERE r.queue = $1 AND r.rank >= $8
                 AND NOT EXISTS (SELECT 1 FROM @.task d WHERE d.queue = $1 AND d.state = 2
                     AND d.not_before <= $3)
                 AND NOT EXISTS ",
            departed!("$3", "$7"),
            "
             ORDER BY r.rank, r.first LIMIT ",
            $runs,
            " FOR UPDATE OF r SKIP LOCKED))
         RETURNING rank, first, last),"
        )
    };
}

/// Inserts what is left of a run `r`, if that is there.
macro_rules! rest {
    ($left:literal) => {
        concat!(
            "rest AS (
         INSERT INTO @.ready (queue, rank, first, last)
         SELECT $1, r.rank, part.first, part.last
         FROM (",
            $left,
            ") AS r
         CROSS JOIN LATERAL (VALUES
             (r.first, CASE WHEN r.last - r.first > 2 * $2 THEN (r.first + r.last) / 2 ELSE r.last END),
             (CASE WHEN r.last - r.first > 2 * $2 THEN (r.first + r.last) / 2 + 1 END, r.last)
         ) AS part (first, last)
         WHERE part.first IS NOT NULL
         RETURNING last - first + 1 AS length),"
        )
    };
}

/// Makes the runs `given` claims, and returns their tasks. The first says how many tasks are left of a run.
macro_rules! giving {
    () => {
        concat!(
            "held AS (
         INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
         SELECT pg_catalog.nextval('@.claim_number'), $4, $6 + place, first, last, $3, $1, $5 FROM given)
     SELECT ",
            given_columns!(),
            ", $6 + g.place + t.seq - g.first,
         CASE WHEN t.seq = g.first THEN (SELECT r.length FROM rest r LIMIT 1) END
     FROM given g
     CROSS JOIN LATERAL (
         SELECT * FROM @.task t WHERE t.seq BETWEEN g.first AND g.last ORDER BY t.seq LIMIT 256) t"
        )
    };
}

/// Takes from the first `$9` runs. Those whose sequences follow each other are one claim.
macro_rules! take {
    () => {
        concat!(
            taking!("$9"),
            "placed AS (
         SELECT rank, first, last,
             (sum(last - first + 1) OVER (ORDER BY rank, first ROWS UNBOUNDED PRECEDING))::bigint
                 - (last - first + 1) AS place,
             first = 1 + lag(last) OVER (ORDER BY rank, first) AS goes_on
         FROM taken),",
            rest!(
                "SELECT rank, first + greatest($2 - place, 0) AS first, last FROM placed
               WHERE place + last - first >= $2"
            ),
            "given AS MATERIALIZED (
         SELECT min(first) AS first, max(last) AS last, min(place) AS place
         FROM (SELECT first, least(last, first + $2 - place - 1) AS last, place,
                   count(*) FILTER (WHERE goes_on IS NOT TRUE) OVER (ORDER BY place) AS run
               FROM placed WHERE place < $2) AS cut
         GROUP BY run, place / 128),",
            giving!()
        )
    };
}

/// Takes from the first run. Each part of a statement takes its time to begin, and this has few.
macro_rules! take_first {
    () => {
        concat!(
            taking!("1"),
            rest!("SELECT rank, first + $2 AS first, last FROM taken WHERE last - first >= $2"),
            "given AS MATERIALIZED (
         SELECT first, least(last, first + $2 - 1) AS last, 0 AS place FROM taken),",
            giving!()
        )
    };
}

/// The statements for runs of which several may be needed, and for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Take {
    pub(super) several: &'static str,
    first: &'static str,
    /// Whether what is taken stays so, whatever comes after it.
    is_alone: bool,
}

/// As parts of a transaction.
pub(super) const TAKE: Take = Take {
    several: take!(),
    first: take_first!(),
    is_alone: false,
};

/// As transactions by themselves, which need not wait for the disk.
pub(super) const TAKE_ALONE: Take = Take {
    several: concat!(take!(), deferred!()),
    first: concat!(take_first!(), deferred!()),
    is_alone: true,
};

/// What a statement has taken: tasks in their order, and how many it left of the last run.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) tasks: Vec<(TaskRow, Token)>,
    pub(super) left: usize,
}

impl Take {
    /// Takes the first tasks of a queue, from so many runs.
    pub(super) fn take(
        self,
        session: &mut dyn Session,
        head: Head<'_>,
        runs: usize,
        claimer: Claimer<'_>,
    ) -> Result<Taken> {
        let consumer = claimer.consumer;
        let token = Token::next_of(consumer.incarnation, head.count as u64);
        let mut values = vec![
            head.queue.into(),
            Value::count(head.count),
            claimer.now.into(),
            consumer.incarnation.into(),
            consumer.name.as_str().into(),
            token.count.cast_signed().into(),
            claimer.own.clone(),
            head.from.into(),
        ];
        let rows = if runs == 1 {
            session.query(self.first, values)?
        } else {
            values.push(Value::count(runs));
            session.query(self.several, values)?
        };
        let mut tasks = read(&rows, Reader::new(head.queue, consumer), self.is_alone)?;
        tasks.sort_by_key(|(task, _)| (task.rank, task.seq));
        let left = rows.first().map(left_of_run).transpose()?;
        Ok(Taken {
            tasks,
            left: left.unwrap_or_default(),
        })
    }
}

/// Reads what was taken. If that cannot be taken back, one that cannot be read does not keep the others from being
/// run: it stays claimed, which is known of it.
fn read(rows: &[Row], mut reader: Reader<'_>, is_taken: bool) -> Result<Vec<(TaskRow, Token)>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        match reader.read(row) {
            Ok(task) => found.push(task),
            Err(fault) if is_taken => {
                tracing::error!(?fault, "a task that cannot be read was claimed");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(found)
}
