//! The ends of claims of tasks with groups and keys: many at once, and their groups go on, in one statement.
//!
//! A statement sees what was committed when it began, so the names of the groups are locked by one before it: then
//! nobody else changes who is in them. That a task of them is claimed meanwhile changes nothing, since it holds its
//! place before and after.

use super::ending::{self, aliases, all_ended, ending, runs};
use super::error::Result;
use super::outcome::{Alone, alone};
use super::session::Session;
use super::value::Value;
use crate::id::{ResourceId, TxnId};
use crate::store::Settlement;
use crate::time::Timestamp;

/// Locks the names of the groups of tasks whose claims are about to end, in the order of their numbers.
const LOCK: &str = concat!(
    "WITH ",
    runs!(),
    " SELECT pg_catalog.pg_advisory_xact_lock('@.task'::pg_catalog.regclass::oid::integer, name.lock)
     FROM (
         SELECT DISTINCT t.group_lock AS lock FROM asked a CROSS JOIN LATERAL (
             SELECT t.group_lock FROM @.task t
             WHERE t.seq BETWEEN a.first AND a.last AND t.fence < a.number AND t.group_lock IS NOT NULL
             ORDER BY t.seq LIMIT 256) t
         ORDER BY 1) AS name"
);

/// What goes on when the tasks that were `ended` have left their groups: the first of those that wait, by what the
/// [rules](crate::store::rules) say. Where all in a group say that it has as many places, no task that is Ready comes
/// after one that waits, or else that one would have its place by now. What is not so is `odd`, and left to the rules.
macro_rules! going_on {
    ($now:literal) => {
        concat!(
            "emptied AS MATERIALIZED (
                 SELECT e.group_key, count(*) AS count FROM ended e WHERE e.group_key IS NOT NULL
                 GROUP BY e.group_key),
             waiting AS MATERIALIZED (
                 SELECT w.seq, e.count AS most,
                     row_number() OVER (PARTITION BY e.group_key ORDER BY w.rank, w.seq) AS place,
                     w.places - (h.count - e.count) AS free,
                     w.places <> h.fewest OR w.places <> h.largest OR w.not_before > ",
            $now,
            " AS is_odd
                 FROM emptied e
                 CROSS JOIN LATERAL (
                     SELECT count(*) AS count, min(h.places) AS fewest, max(h.places) AS largest
                     FROM @.task h WHERE h.group_key = e.group_key AND h.state = 3) h
                 CROSS JOIN LATERAL (
                     SELECT t.* FROM @.task t
                     WHERE t.group_key = e.group_key AND t.state = 1 AND t.pinned IS NULL
                         AND NOT EXISTS (SELECT 1 FROM @.prerequisite q WHERE q.task = t.id)
                     ORDER BY t.rank, t.seq LIMIT e.count + 1) w),
             moved AS (
                 UPDATE @.task t SET state = 3
                 WHERE t.seq = ANY (ARRAY(SELECT w.seq FROM waiting w WHERE w.place <= w.free))
                     AND t.state + 0 = 1 AND t.pinned IS NULL
                 RETURNING t.seq, t.rank, t.queue),
             line AS (
                 INSERT INTO @.ready (queue, rank, first, last) SELECT queue, rank, seq, seq FROM moved) "
        )
    };
}

/// Whether all that go on were there, and none goes on of which it has to be judged.
macro_rules! all_gone_on {
    () => {
        "(SELECT count(*) FROM moved) = (SELECT count(*) FROM waiting w WHERE w.place <= w.free)
         AND NOT EXISTS (
             SELECT 1 FROM waiting w WHERE w.is_odd OR w.place <= w.free AND w.place > w.most)"
    };
}

/// Ends all of the claims, of tasks that have no more than a key or a group, in one piece with the outcome.
const END: Alone = alone!(
    ["$9", "$10", "$11", "$12"],
    concat!(
        ending!("< 4", "IS NULL", "t.id, t.hangs, t.group_key", "true"),
        ", ",
        aliases!(),
        ", ",
        going_on!("$8::bigint")
    ),
    concat!(all_ended!(), " AND ", all_gone_on!())
);

/// Ends the claims of tasks that are done, and has their groups go on, when the next statement is sent; if not all
/// can be done so, that [falls short](super::error::Fault::fell_short). Its outcome takes over the row of `spent`.
pub(super) fn end(
    session: &mut dyn Session,
    settlements: &[Settlement],
    (decided, spent): ((TxnId, &[ResourceId]), Option<TxnId>),
    now: Timestamp,
) -> Result<()> {
    let mut values = ending::asked_with_keys(settlements);
    let runs: Vec<Value> = values.iter().take(4).cloned().collect();
    session.later(LOCK, runs)?;
    values.push(now.into());
    let (sql, values) = END.statement(values, decided, spent);
    session.later(sql, values)
}
