//! The ends of claims: many at once, in one statement, where nothing hangs on their tasks.
//!
//! A claim is found by its token and a task by the claim, both by the row of the run that was claimed together,
//! so that ending a hundred looks for one row, and walks over the tasks.

use super::error::Result;
use super::outcome::{Alone, alone};
use super::row::id;
use super::session::Session;
use super::value::Value;
use crate::id::{TaskId, TxnId};
use crate::store::Settlement;

/// The runs of claims, which part of each is asked for, and whether that is all of it. The parameters are [`asked`].
macro_rules! runs {
    () => {
        "asked AS MATERIALIZED (
             SELECT c.ctid AS run, c.number,
                 a.token <= c.token AND c.token + c.last - c.first < a.token + a.count AS is_whole,
                 c.first + greatest(a.token - c.token, 0) AS first,
                 least(c.last, c.first + a.token + a.count - 1 - c.token) AS last,
                 a.place + greatest(c.token - a.token, 0) AS place
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                 AS a (holder, token, count, place)
             CROSS JOIN LATERAL (
                 SELECT c.ctid, c.* FROM @.claim c WHERE c.holder = a.holder AND c.token > a.token - 256
                     AND c.token < a.token + a.count AND c.token + c.last - c.first >= a.token
                 ORDER BY c.token LIMIT a.count) c
             ORDER BY c.first)"
    };
}

/// Whether all of the claims were ended.
macro_rules! all_ended {
    () => {
        "(SELECT 16 * count(*) FROM ended) = octet_length($5::bytea)"
    };
}

/// Ends claims of tasks that leave, on which nothing hangs or only what `hangs` says, if nobody has pinned them
/// or `pinned` says so. What follows sees as `ended` what it `returns` of each. Runs of which every claim is over go if
/// that is `certain`. The parameters are [`asked`].
///
/// A claim is over when its task has gone, or says so itself: a row of `claim` is only looked at. So whoever ends
/// a claim in another way, or pins its task, changes the row of the task; who waited for that looks at it again.
macro_rules! ending {
    ($hangs:literal, $pinned:literal, $returns:literal, $certain:expr) => {
        concat!(
            $crate::store::postgres::ending::runs!(),
            ",
             ended AS (
                 DELETE FROM @.task t USING asked a
                 WHERE t.seq BETWEEN a.first AND a.last AND t.fence < a.number
                     AND t.id = substr($5::bytea, (16 * (a.place + t.seq - a.first) + 1)::integer, 16)
                     AND t.hangs ",
            $hangs,
            " AND t.pinned ",
            $pinned,
            " RETURNING ",
            $returns,
            "),
             whole AS (
                 DELETE FROM @.claim WHERE ctid = ANY (ARRAY(
                     SELECT a.run FROM asked a WHERE a.is_whole AND ",
            $certain,
            "))) "
        )
    };
}

/// Removes what else led to those of the ended tasks that had a unique key, which was free since they were claimed. Ids
/// that were made one after the other are close together, so that one look tells that nothing led to any of them. The
/// parameters are [`asked_with_keys`].
macro_rules! aliases {
    () => {
        "alias AS (
             DELETE FROM @.alias a USING ended e
             WHERE (SELECT 1 FROM @.alias s WHERE s.task BETWEEN $6::bytea AND $7::bytea LIMIT 1) IS NOT NULL
                 AND e.hangs & 1 = 1 AND a.task = e.id)"
    };
}

pub(super) use {aliases, all_ended, ending, runs};

/// Ends claims of tasks that may have a unique key, and returns those tasks.
macro_rules! with_keys {
    ($pinned:literal) => {
        concat!(
            "WITH ",
            ending!("<= 1", $pinned, "t.id, t.hangs", all_ended!()),
            ", ",
            aliases!(),
            " SELECT id FROM ended"
        )
    };
}

/// Ends claims and returns of which tasks.
const END: &str = with_keys!("IS NULL");

/// Does the same for claims whose tasks the transaction `$8` has pinned.
const END_PINNED: &str = with_keys!("= $8::bytea");

/// Ends all of the claims, of tasks on which nothing hangs, or fails by a division.
const END_ALL: &str = concat!(
    "WITH ",
    ending!("= 0", "IS NULL", "1", "true"),
    "SELECT 1 / CASE WHEN ",
    all_ended!(),
    " THEN 1 ELSE 0 END"
);

/// Does the same in one piece with the outcome.
pub(super) const END_ALONE: Alone = alone!(
    ["$6", "$7", "$8", "$9"],
    ending!("= 0", "IS NULL", "1", "true"),
    all_ended!()
);

/// Does the same for tasks that may have a unique key, too.
pub(super) const END_KEYED: Alone = alone!(
    ["$8", "$9", "$10", "$11"],
    concat!(
        ending!("<= 1", "IS NULL", "t.id, t.hangs", "true"),
        ", ",
        aliases!()
    ),
    all_ended!()
);

/// Ends the claims of tasks that are done, of those on which nothing hangs that is not over with the claim;
/// `txn` says whose pins are no hindrance. Returns which they were.
pub(super) fn end(
    session: &mut dyn Session,
    settlements: &[Settlement],
    txn: Option<TxnId>,
) -> Result<Vec<TaskId>> {
    let mut values = asked_with_keys(settlements);
    let ended = match txn {
        Some(txn) => {
            values.push(txn.into());
            session.query(END_PINNED, values)?
        }
        None => session.query(END, values)?,
    };
    let ended = ended.iter().map(|row| Ok(TaskId::from_bytes(id(row, 0)?)));
    ended.collect()
}

/// Ends the claims of tasks that are done, when the next statement is sent; if not all can be ended so, that
/// [falls short](super::error::Fault::fell_short).
pub(super) fn end_all(session: &mut dyn Session, settlements: &[Settlement]) -> Result<()> {
    session.later(END_ALL, asked(settlements))
}

/// Claims whose tokens follow each other.
#[derive(Debug, PartialEq, Eq)]
struct Series {
    holder: i64,
    token: i64,
    count: i64,
    /// How many come before the first.
    place: i64,
}

/// Series of tokens in four lists, then the ids of the tasks one behind the other.
pub(super) fn asked(settlements: &[Settlement]) -> Vec<Value> {
    let mut ordered: Vec<_> = settlements.iter().collect();
    ordered.sort_by_key(|each| (each.token.incarnation, each.token.count));
    let all = series(&ordered);
    let column = |number: fn(&Series) -> i64| {
        Value::Integers(all.iter().map(|each| Some(number(each))).collect())
    };
    let ids = ordered.iter().flat_map(|each| each.task.to_bytes());
    vec![
        column(|each| each.holder),
        column(|each| each.token),
        column(|each| each.count),
        column(|each| each.place),
        ids.collect::<Vec<u8>>().into(),
    ]
}

/// The same, then the first and the last of the ids.
pub(super) fn asked_with_keys(settlements: &[Settlement]) -> Vec<Value> {
    let mut values = asked(settlements);
    let ids = settlements.iter().map(|each| each.task.to_bytes());
    values.extend([ids.clone().min(), ids.max()].map(|id| Value::Bytes(id.map(Vec::from))));
    values
}

fn series(ordered: &[&Settlement]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for (settlement, place) in ordered.iter().zip(0..) {
        let holder = settlement.token.incarnation.to_u64().cast_signed();
        let token = settlement.token.count.cast_signed();
        match all.last_mut() {
            Some(last) if last.holder == holder && last.token + last.count == token => {
                last.count += 1;
            }
            _ => all.push(Series {
                holder,
                token,
                count: 1,
                place,
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, Token};
    use crate::store::Verdict;
    use crate::store::postgres::claim::RUN_MAX;
    use crate::task::Counts;

    fn settlement(incarnation: u64, count: u64) -> Settlement {
        Settlement {
            task: TaskId::from_bytes([7; 16]),
            token: Token {
                incarnation: Incarnation::from_u64(incarnation),
                count,
            },
            verdict: Verdict::Done,
            counts: Counts::default(),
            account: None,
        }
    }

    #[test]
    fn tokens_that_follow_each_other_are_asked_for_together() {
        let settled = [(1, 5), (1, 6), (1, 8), (2, 9), (2, 9)];
        let settled = settled.map(|(incarnation, count)| settlement(incarnation, count));
        let all: Vec<_> = series(&settled.iter().collect::<Vec<_>>())
            .iter()
            .map(|each| (each.holder, each.token, each.count, each.place))
            .collect();
        let expected = [(1, 5, 2, 0), (1, 8, 1, 2), (2, 9, 1, 3), (2, 9, 1, 4)];
        assert_eq!(all, expected);
    }

    #[test]
    fn the_statement_knows_how_long_a_run_is() {
        assert!(END.contains(&(RUN_MAX + 1).to_string()));
    }
}
