//! Claims when something has to be done before: tasks have become due, or those who held some have departed.
//! One step after the other, since it is rare.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::{Claimer, arrive, shared_run, tasks_of_claim};
use super::error::Result;
use super::groups;
use super::line;
use super::names;
use super::row::{TaskRow, column, tasks_with};
use super::session::Session;
use super::value::Value;
use crate::id::{Incarnation, Token};
use crate::store::lifecycle::{self, Fate};
use crate::store::{Claim, Want, rules};
use crate::task::State;
use crate::time::Timestamp;

/// How many tasks whose time has come one claim makes Ready at least: a bound on how long it takes.
const DUE_MAX: usize = 1_000;

/// Who has departed and holds claims of the queue `$1`. It is looked for from the leases, of which there
/// are few: from the claims it would cost as many steps as there were claims lately.
macro_rules! departed {
    ($now:literal, $own:literal) => {
        concat!(
            "(SELECT 1 FROM @.lease l WHERE l.expires_at <= ",
            $now,
            " AND l.incarnation <> ALL (",
            $own,
            ") AND (SELECT 1 FROM @.claim c WHERE c.holder = l.incarnation AND c.queue = $1
                     AND (",
            $crate::store::postgres::claim::tasks_of_claim!("1"),
            " AND t.pinned IS NULL ORDER BY t.seq LIMIT 1) IS NOT NULL LIMIT 1) IS NOT NULL)"
        )
    };
}
pub(super) use departed;

/// Whether something has to be done before tasks of a queue can be given out, and whether there is a run that
/// several tasks share.
const TROUBLE: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM @.task d WHERE d.queue = $1 AND d.state = 2 AND d.not_before <= $2),
         EXISTS ",
    departed!("$2", "$3"),
    ", ",
    shared_run!(),
    " IS NOT NULL"
);

/// Why a claim may have found nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    is_due: bool,
    has_departed: bool,
    /// Somebody may have locked tasks of which he leaves some.
    pub(super) shares_runs: bool,
}

impl Trouble {
    /// Whether something has to be done before.
    pub(super) fn is_there(self) -> bool {
        self.is_due || self.has_departed
    }
}

/// Looks why a claim may have found nothing.
pub(super) fn trouble(
    session: &mut dyn Session,
    want: &Want,
    claimer: Claimer<'_>,
) -> Result<Trouble> {
    let values = vec![
        want.queue.as_str().into(),
        claimer.now.into(),
        claimer.own.clone(),
    ];
    let Some(row) = session.first(TROUBLE, values)? else {
        return Ok(Trouble::default());
    };
    Ok(Trouble {
        is_due: column(&row, 0)?,
        has_departed: column(&row, 1)?,
        shares_runs: column(&row, 2)?,
    })
}

/// Locks tasks whose time has come. Returns them, and of each whether it belongs to a group.
const DUE: &str = "\
SELECT t.seq, t.group_key IS NOT NULL FROM @.task t
WHERE t.queue = $1 AND t.state = 2 AND t.not_before <= $2 AND t.pinned IS NULL
ORDER BY t.not_before, t.seq LIMIT $3 FOR UPDATE OF t SKIP LOCKED";

/// Makes those of the locked tasks Ready that no group holds back.
const MAKE_READY: &str = "\
WITH moved AS (
    UPDATE @.task t SET state = 3 WHERE t.seq = ANY ($1) AND t.group_key IS NULL
    RETURNING t.seq, t.rank, t.queue)
INSERT INTO @.ready (queue, rank, first, last) SELECT queue, rank, seq, seq FROM moved";

/// Locks tasks that the departed hold. Returns their places, and who holds them.
const HELD: &str = concat!(
    "WITH held AS MATERIALIZED (
         SELECT t.seq, l.incarnation FROM @.lease l
         CROSS JOIN LATERAL (
             SELECT * FROM @.claim c WHERE c.holder = l.incarnation AND c.queue = $1) c
         CROSS JOIN LATERAL (",
    tasks_of_claim!("t.seq"),
    " AND t.pinned IS NULL ORDER BY t.seq LIMIT 256) t
         WHERE l.expires_at <= $3 AND l.incarnation <> ALL ($4))
     SELECT t.rank, t.seq, (SELECT h.incarnation FROM held h WHERE h.seq = t.seq) FROM @.task t
     WHERE t.seq = ANY (ARRAY(SELECT h.seq FROM held h)) AND t.pinned IS NULL
     ORDER BY t.rank, t.seq LIMIT $2 FOR UPDATE OF t SKIP LOCKED"
);

/// Deletes the runs of these holders that hold nothing any more.
const CLEAN: &str = concat!(
    "DELETE FROM @.claim WHERE ctid = ANY (ARRAY(
         SELECT c.ctid FROM @.claim c WHERE c.holder = ANY ($1) AND (",
    tasks_of_claim!("1"),
    " ORDER BY t.seq LIMIT 1) IS NULL FOR UPDATE SKIP LOCKED))"
);

/// Deletes the runs of anybody that hold nothing any more.
const CLEAN_ALL: &str = concat!(
    "DELETE FROM @.claim WHERE ctid = ANY (ARRAY(
         SELECT c.ctid FROM @.claim c WHERE (",
    tasks_of_claim!("1"),
    " ORDER BY t.seq LIMIT 1) IS NULL FOR UPDATE SKIP LOCKED))"
);

/// Clears away the runs of claims that are over: of `holders`, or of all.
///
/// A run that has ended as a whole went with its last task. Of others each task says for itself that its claim
/// is over, and nobody looks whether it was the last.
pub(super) fn clean(session: &mut dyn Session, holders: Option<&[Incarnation]>) -> Result<()> {
    match holders {
        Some(holders) => session.later(CLEAN, vec![super::register::numbers(holders)]),
        None => session.later(CLEAN_ALL, Vec::new()),
    }
}

/// Claims when tasks have become due or claims have to be taken back.
pub(super) fn claim_with_trouble(
    session: &mut dyn Session,
    want: &Want,
    trouble: Trouble,
    claimer: Claimer<'_>,
) -> Result<Vec<Claim>> {
    if trouble.is_due {
        make_due_ready(session, want, claimer.now)?;
    }
    let mut claims = Vec::new();
    let mut departed = BTreeSet::new();
    for row in candidates(session, want, claimer)? {
        departed.extend(row.claim.as_ref().map(|claim| claim.token.incarnation));
        claims.push(take_one(session, row, claimer)?);
    }
    let departed: Vec<_> = departed.into_iter().collect();
    clean(session, Some(&departed))?;
    Ok(claims)
}

fn make_due_ready(session: &mut dyn Session, want: &Want, now: Timestamp) -> Result<()> {
    let limit = Value::count(want.count.max(DUE_MAX));
    let due = session.query(DUE, vec![want.queue.as_str().into(), now.into(), limit])?;
    let mut sequences = Vec::with_capacity(due.len());
    let mut has_grouped = false;
    for row in &due {
        sequences.push(Some(column::<i64>(row, 0)?));
        has_grouped |= column::<bool>(row, 1)?;
    }
    if sequences.is_empty() {
        return Ok(());
    }
    session.later(MAKE_READY, vec![Value::Integers(sequences.clone())])?;
    if !has_grouped {
        return Ok(());
    }
    let grouped = session.query(
        concat!(
            tasks_with!("''::bytea"),
            "WHERE t.seq = ANY ($1) AND t.group_key IS NOT NULL
             ORDER BY t.not_before, t.seq"
        ),
        vec![Value::Integers(sequences)],
    )?;
    for row in &grouped {
        make_due(session, TaskRow::read(row)?, now)?;
    }
    Ok(())
}

/// A task whose group is just being passed on is left for the next claim.
fn make_due(session: &mut dyn Session, mut row: TaskRow, now: Timestamp) -> Result<()> {
    if let Some(group) = &row.record.options.group
        && !names::try_lock_group(session, group)?
    {
        return Ok(());
    }
    let group_busy = groups::is_busy(session, &row.record)?;
    lifecycle::due(&mut row.record, group_busy, now)?;
    rules::keep(&mut { session }, State::Scheduled, &row, Fate::Stays, now)
}

/// Locks and returns the first of those that are Ready and those that the departed hold, in one order.
fn candidates(
    session: &mut dyn Session,
    want: &Want,
    claimer: Claimer<'_>,
) -> Result<Vec<TaskRow>> {
    let queue = want.queue.as_str();
    let ready = session.query(
        "SELECT r.rank, r.first, r.last FROM @.ready r WHERE r.queue = $1
         ORDER BY r.rank, r.first LIMIT $2 FOR UPDATE SKIP LOCKED",
        vec![queue.into(), Value::count(want.count)],
    )?;
    let held = session.query(
        HELD,
        vec![
            queue.into(),
            Value::count(want.count),
            claimer.now.into(),
            claimer.own.clone(),
        ],
    )?;
    let mut places = BTreeMap::new();
    for run in &ready {
        let (rank, first, last): (i64, i64, i64) =
            (column(run, 0)?, column(run, 1)?, column(run, 2)?);
        places.extend((first..=last).map(|seq| ((rank, seq), None)));
    }
    for row in &held {
        let place: (i64, i64) = (column(row, 0)?, column(row, 1)?);
        places.insert(place, column::<Option<i64>>(row, 2)?);
    }
    let places: BTreeMap<_, _> = places.into_iter().take(want.count).collect();
    let sequences = places.keys().map(|(_, seq)| Some(*seq)).collect();
    let rows = session.query(
        concat!(tasks_with!("t.payload"), "WHERE t.seq = ANY ($1)"),
        vec![Value::Integers(sequences)],
    )?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let row = TaskRow::read(row)?;
        let place = (row.rank, row.seq);
        // What it was before it was locked may have changed; now it cannot any more.
        let holder = row.claim.as_ref().map(|claim| claim.token.incarnation);
        let holder = holder.map(|holder| holder.to_u64().cast_signed());
        if places.get(&place) == Some(&holder) && row.pinned.is_none() {
            found.insert(place, row);
        }
    }
    Ok(found.into_values().collect())
}

fn take_one(
    session: &mut dyn Session,
    mut row: TaskRow,
    Claimer { consumer, now, .. }: Claimer<'_>,
) -> Result<Claim> {
    let record = &mut row.record;
    let reclaimed = row.claim.is_some();
    if let Some(claim) = &row.kept.claim {
        lifecycle::reclaim(record)?;
        session.later(
            "UPDATE @.task SET reclaims = $2, fence = $3 WHERE seq = $1",
            vec![
                row.seq.into(),
                record.counts.reclaims.into(),
                claim.number.into(),
            ],
        )?;
    } else {
        line::leave(session, &row)?;
    }
    lifecycle::claim(&mut row.record)?;
    let token = Token::next(consumer.incarnation);
    session.later(
        "INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
         VALUES (pg_catalog.nextval('@.claim_number'), $1, $2, $3, $3, $4, $5, $6)",
        vec![
            token.incarnation.into(),
            token.count.cast_signed().into(),
            row.seq.into(),
            now.into(),
            (&*row.record.queue).into(),
            consumer.name.as_str().into(),
        ],
    )?;
    Ok(arrive(row, token, reclaimed, now))
}
