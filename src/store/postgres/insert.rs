//! Tasks on their way into the tables: many at once, in one statement.

use std::sync::Arc;

use super::error::{Fault, Result};
use super::line::entering;
use super::names;
use super::outcome::{Alone, alone};
use super::row::{self, column, format_number, state_number};
use super::session::Session;
use super::tasks;
use super::value::Value;
use crate::codec;
use crate::id::TaskId;
use crate::store::{self, Kind};
use crate::task::{Counts, Hold, Record, encoded_options};
use crate::time::Timestamp;

/// Inserts new tasks, of which there is a list for each column, and places in the line for those that are
/// Ready, in the order in which they are given. What follows sees as `task` those that were not there yet.
macro_rules! inserting {
    () => {
        concat!(
            "WITH new AS MATERIALIZED (
             SELECT pg_catalog.nextval('@.task_seq') AS seq, n.* FROM unnest(
                 $1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::bigint[], $12::bigint[],
                 $13::bytea[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]
             ) AS n (id, queue, kind, state, rank, not_before, enqueued_at, group_key, unique_key,
                     options, format, version, payload, published_at, hangs, places, group_lock)),
         task AS (
             INSERT INTO @.task (seq, id, queue, kind, state, rank, not_before, enqueued_at,
                 published_at, group_key, unique_key, options, format, version, payload, hangs,
                 places, group_lock, attempts, conflicts, reclaims)
             SELECT seq, id, queue, kind, state, rank, not_before, enqueued_at, published_at,
                 group_key, unique_key, options, format, version, payload, hangs,
                 places, group_lock, 0, 0, 0
             FROM new ON CONFLICT (id) DO NOTHING
             RETURNING seq, rank, queue, state, hangs), ",
            entering!()
        )
    };
}

/// An id among those of the tasks that an alias or a staged batch has already.
macro_rules! taken {
    ($ids:literal) => {
        concat!(
            "(SELECT a.id FROM @.alias a WHERE a.id = ",
            $ids,
            " UNION ALL SELECT s.id FROM @.staged_task s WHERE s.id = ",
            $ids,
            " LIMIT 1)"
        )
    };
}

/// Returns how many tasks were not there yet, and an id that is taken.
const INSERT: &str = concat!(
    inserting!(),
    "SELECT (SELECT count(*) FROM task), ",
    taken!("ANY ($1::bytea[])")
);

/// Inserts one task on which nothing hangs, unless its id is taken, and has those who wait in other processes
/// told by the commit. Returns a row if it did. Without lists, and with few parts: a server that is not told
/// to would plan anew for lists each time, whose lengths it cannot know before, and each part costs time to
/// begin.
const INSERT_AND_TELL: &str = "\
WITH task AS (
    INSERT INTO @.task (seq, id, queue, kind, state, rank, not_before, enqueued_at, published_at,
        options, format, version, payload, hangs, attempts, conflicts, reclaims)
    SELECT pg_catalog.nextval('@.task_seq'), $1::bytea, $2::text, $3::text, $4::bigint, $5::bigint,
        $6::bigint, $7::bigint, $8::bigint, $9::bytea, $10::bigint, $11::bigint, $12::bytea, 0, 0, 0, 0
    WHERE (SELECT 1 FROM @.alias a WHERE a.id = $1::bytea) IS NULL
        AND (SELECT 1 FROM @.staged_task s WHERE s.id = $1::bytea) IS NULL
    ON CONFLICT (id) DO NOTHING
    RETURNING seq),
line AS (
    INSERT INTO @.ready (queue, rank, first, last)
    SELECT $2::text, $5::bigint, seq, seq FROM task WHERE $4::bigint = 3)
SELECT pg_catalog.pg_notify(
    'votive_' || '@.task'::pg_catalog.regclass::oid::pg_catalog.text, '') IS NULL FROM task";

/// Inserts all of the tasks, or fails by a division.
const INSERT_ALL: &str = concat!(
    inserting!(),
    "SELECT 1 / CASE WHEN (SELECT count(*) FROM task) = cardinality($1::bytea[])
         AND NOT EXISTS ",
    taken!("ANY ($1::bytea[])"),
    " THEN 1 ELSE 0 END"
);

/// Inserts new tasks that are [alike](are_alike) but for their ids, payloads and the instants at which they were
/// enqueued, and places in the line. Neither is an id that is taken passed over, which would cost another look for
/// each and another record of the server's log: it is a duplicate.
macro_rules! inserting_alike {
    () => {
        "task AS (
             INSERT INTO @.task (seq, id, queue, kind, state, rank, not_before, enqueued_at,
                 published_at, options, format, version, payload, hangs, attempts, conflicts, reclaims)
             SELECT pg_catalog.nextval('@.task_seq'), n.id, $4::text, $5::text, $6::bigint, $7::bigint,
                 $8::bigint, n.enqueued_at, $9::bigint, $10::bytea, $11::bigint, $12::bigint, n.payload,
                 0, 0, 0, 0
             FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS n (id, enqueued_at, payload)
             RETURNING seq), "
    };
}

/// The runs of the new tasks: those whose sequences follow each other.
macro_rules! runs {
    ($when:literal) => {
        concat!(
            "SELECT min(seq) AS first, max(seq) AS last FROM (
                 SELECT seq, row_number() OVER (ORDER BY seq) AS place FROM task) AS placed ",
            $when,
            " GROUP BY seq - place, (place - 1) / 128"
        )
    };
}

/// Inserts all of the tasks, which are alike, in one piece with the outcome.
pub(super) const INSERT_ALONE: Alone = alone!(
    ["$15", "$16", "$17", "$18"],
    concat!(
        inserting_alike!(),
        "line AS (
             INSERT INTO @.ready (queue, rank, first, last)
             SELECT $4, $7, run.first, run.last FROM (",
        runs!(""),
        ") AS run WHERE $6 = 3) "
    ),
    concat!(
        "$13::bytea <= $14::bytea AND NOT EXISTS ",
        taken!("ANY ($1::bytea[])")
    )
);

/// Does the same for many of them. More parts cost more time to begin, and less for each task: ids that are made one
/// after the other are close together, so that one look tells that nobody else has one of them; and where nobody else
/// takes sequences meanwhile they are one run.
const INSERT_MANY: Alone = alone!(
    ["$15", "$16", "$17", "$18"],
    concat!(
        inserting_alike!(),
        "line AS (
             INSERT INTO @.ready (queue, rank, first, last)
             SELECT $4, $7, run.first, run.last
             FROM (SELECT min(seq) AS first, max(seq) AS last, count(*) AS count FROM task) AS whole
             CROSS JOIN LATERAL (
                 SELECT whole.first, whole.last
                 WHERE whole.count <= 128 AND whole.last - whole.first < whole.count
                 UNION ALL (",
        runs!("WHERE whole.count > 128 OR whole.last - whole.first >= whole.count"),
        ")) AS run WHERE $6 = 3) "
    ),
    concat!(
        "((SELECT 1 FROM @.alias a WHERE a.id BETWEEN $13::bytea AND $14::bytea LIMIT 1) IS NULL
             AND (SELECT 1 FROM @.staged_task s WHERE s.id BETWEEN $13::bytea AND $14::bytea LIMIT 1) IS NULL
             OR NOT EXISTS ",
        taken!("ANY ($1::bytea[])"),
        ")"
    )
);

/// How many tasks are many.
const MANY: usize = 8;

/// The statement that inserts all of these tasks, which are alike, in one piece with the outcome.
pub(super) fn alone(records: &[Record]) -> Alone {
    if records.len() < MANY {
        INSERT_ALONE
    } else {
        INSERT_MANY
    }
}

/// Whether a new task comes from elsewhere with more than a new one has.
pub(super) fn has_history(record: &Record) -> bool {
    let has_counts = record.counts != Counts::default();
    record.state.is_ended() || record.account.is_some() || record.progress.is_some() || has_counts
}

/// Whether nothing hangs on a task: no name, no object, no other task, no history, nothing that outlives
/// it.
pub(super) fn is_plain(record: &Record) -> bool {
    hangs(record) == 0
}

/// Whether nothing hangs on a task but a unique key that is free when it is claimed.
pub(super) fn has_only_key(record: &Record) -> bool {
    hangs(record) == 1
}

/// What hangs on a task, as the bits of its column have it: a unique key that its claim frees, a group, or more.
pub(super) fn hangs(record: &Record) -> i64 {
    let options = &record.options;
    let hold = options.unique.as_ref().map(|unique| unique.hold);
    let is_freed = hold.is_some_and(|hold| !hold.until_ended);
    let has_more = hold.is_some_and(|hold| hold != Hold::default())
        || !options.about.is_empty()
        || !options.waits_for.is_empty()
        || options.retention.is_some()
        || has_history(record);
    i64::from(is_freed) | i64::from(options.group.is_some()) << 1 | i64::from(has_more) << 2
}

/// How many tasks of its group may run at once, as a task with a group has it.
fn places(record: &Record) -> Option<i64> {
    let group = record.options.group.as_ref();
    group.map(|_| record.options.places().into())
}

/// The lock of the name of a task's group.
pub(super) fn group_lock(record: &Record) -> Option<i64> {
    record.options.group.as_deref().map(names::group)
}

/// Inserts tasks that were just published, and nothing of what hangs on them.
///
/// # Errors
/// [`Kind::TaskExists`] names one whose id is taken; if `judged`, one that is there already is left alone
/// instead.
pub(super) fn insert(session: &mut dyn Session, records: &[Record], judged: bool) -> Result<()> {
    let row = session.first(INSERT, columns(records)?)?;
    let row = row.ok_or_else(|| Fault::corrupt("an insert said nothing"))?;
    let inserted = usize::try_from(column::<i64>(&row, 0)?).unwrap_or(0);
    if let Some(taken) = row::optional_id(&row, 1)?.filter(|_| !judged) {
        return Err(Kind::TaskExists(TaskId::from_bytes(taken)).into());
    }
    if inserted == records.len() {
        return Ok(());
    }
    // Its id is unique for ever, so it is the same task: to publish it again would double it.
    if judged {
        tracing::error!(inserted, "tasks of a staged batch were there already");
        return Ok(());
    }
    Err(Kind::TaskExists(which_is_there(session, records)?).into())
}

/// Inserts a task [on which nothing hangs](is_plain), and tells those who wait when it is committed: in one
/// statement.
///
/// # Errors
/// [`Kind::TaskExists`] if its id is taken; nothing was written.
pub(super) fn insert_and_tell(session: &mut dyn Session, record: &Record) -> Result<()> {
    let published_at = record.visible_since();
    let values = vec![
        record.id.into(),
        (&*record.queue).into(),
        (&*record.kind).into(),
        state_number(record.state).into(),
        store::rank(record, published_at).into(),
        record.not_before.into(),
        record.enqueued_at.into(),
        published_at.into(),
        encoded_options(&record.options)?.into_owned().into(),
        format_number(record.payload.format).into(),
        record.payload.version.into(),
        record.payload.bytes.to_vec().into(),
    ];
    if session.exists(INSERT_AND_TELL, values)? {
        return Ok(());
    }
    Err(Kind::TaskExists(record.id).into())
}

/// Inserts tasks that were just published, when the next statement is sent; whatever [`insert`] would
/// refuse makes it [fall short](Fault::fell_short).
pub(super) fn insert_all(session: &mut dyn Session, records: &[Record]) -> Result<()> {
    session.later(INSERT_ALL, columns(records)?)
}

/// Whether new tasks have everything in common that [`INSERT_ALONE`] writes of all of them.
pub(super) fn are_alike(records: &[Record]) -> bool {
    let is_like = |one: &Record, other: &Record| {
        one.queue == other.queue
            && one.kind == other.kind
            && one.state == other.state
            && one.not_before == other.not_before
            && one.published_at == other.published_at
            && one.payload.format == other.payload.format
            && one.payload.version == other.payload.version
            && (Arc::ptr_eq(&one.options, &other.options) || one.options == other.options)
    };
    records
        .split_first()
        .is_some_and(|(first, rest)| rest.iter().all(|each| is_like(first, each)))
}

/// The parameters of [`INSERT_ALONE`] that come before those of the outcome: lists, then what all have in
/// common, then the first and the last of the ids.
pub(super) fn columns_alike(records: &[Record]) -> Result<Vec<Value>> {
    let Some(first) = records.first() else {
        return Ok(Vec::new());
    };
    let published_at = first.visible_since();
    let enqueued_at = |record: &Record| Some(record.enqueued_at.as_micros());
    let payload = |record: &Record| Some(Arc::clone(&record.payload.bytes));
    let ids = records.iter().map(|record| record.id.to_bytes());
    Ok(vec![
        Value::Ids(ids.clone().collect()),
        Value::Integers(records.iter().map(enqueued_at).collect()),
        Value::Blobs(records.iter().map(payload).collect()),
        (&*first.queue).into(),
        (&*first.kind).into(),
        state_number(first.state).into(),
        store::rank(first, published_at).into(),
        first.not_before.into(),
        published_at.into(),
        codec::encode(&*first.options)?.into(),
        format_number(first.payload.format).into(),
        first.payload.version.into(),
        Value::Bytes(ids.clone().min().map(Vec::from)),
        Value::Bytes(ids.max().map(Vec::from)),
    ])
}

/// Finds the one that was there: it was published before, or earlier in the same batch.
fn which_is_there(session: &mut dyn Session, records: &[Record]) -> Result<TaskId> {
    let ids = records.iter().map(|record| record.id.to_bytes()).collect();
    let row = session.first(
        "SELECT t.id FROM @.task t WHERE t.id = ANY ($1) LIMIT 1",
        vec![Value::Ids(ids)],
    )?;
    match row {
        Some(row) => Ok(TaskId::from_bytes(row::id(&row, 0)?)),
        None => Err(Kind::Conflict.into()),
    }
}

/// In the order of their places in the line: tasks of the same rank get sequences that follow each other, and so
/// they are a run of it, whatever came between them.
fn in_line(records: &[Record]) -> Vec<&Record> {
    let mut ordered: Vec<_> = records.iter().collect();
    ordered.sort_by_cached_key(|record| {
        let rank = store::rank(record, record.visible_since());
        (record.queue.clone(), rank)
    });
    ordered
}

/// The parameters of [`INSERT`]: a list for each column.
fn columns(records: &[Record]) -> Result<Vec<Value>> {
    let records = in_line(records);
    let integers = |number: &dyn Fn(&Record) -> Option<i64>| {
        Value::Integers(records.iter().copied().map(number).collect())
    };
    let texts = |text: &dyn Fn(&Record) -> Option<String>| {
        Value::Texts(records.iter().copied().map(text).collect())
    };
    let mut options = Vec::with_capacity(records.len());
    for record in &records {
        options.push(Some(Arc::from(&*encoded_options(&record.options)?)));
    }
    let unique = |record: &Record| {
        record
            .options
            .unique
            .as_ref()
            .map(|unique| unique.key.clone())
    };
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    Ok(vec![
        Value::Ids(records.iter().map(|record| record.id.to_bytes()).collect()),
        texts(&|record| Some(record.queue.to_string())),
        texts(&|record| Some(record.kind.to_string())),
        integers(&|record| Some(state_number(record.state))),
        integers(&|record| Some(store::rank(record, record.visible_since()))),
        integers(&|record| micros(record.not_before)),
        integers(&|record| micros(Some(record.enqueued_at))),
        texts(&|record| record.options.group.clone()),
        texts(&unique),
        Value::Blobs(options),
        integers(&|record| Some(format_number(record.payload.format))),
        integers(&|record| Some(record.payload.version.into())),
        Value::Blobs(
            records
                .iter()
                .map(|record| Some(Arc::clone(&record.payload.bytes)))
                .collect(),
        ),
        integers(&|record| micros(Some(record.visible_since()))),
        integers(&|record| Some(hangs(record))),
        integers(&places),
        integers(&group_lock),
    ])
}

/// Inserts what hangs on a task: its objects, what it waits for, and its history.
pub(super) fn insert_rest(session: &mut dyn Session, record: &Record) -> Result<()> {
    let options = &record.options;
    if !options.about.is_empty() {
        let objects = options.about.iter().cloned().map(Some).collect();
        session.later(
            "INSERT INTO @.about (object, seq)
             SELECT o, t.seq FROM @.task t, unnest($2) o WHERE t.id = $1 ON CONFLICT DO NOTHING",
            vec![record.id.into(), Value::Texts(objects)],
        )?;
    }
    if !options.waits_for.is_empty() {
        let done = options
            .waits_for
            .iter()
            .map(|task| task.to_bytes())
            .collect();
        session.later(
            "INSERT INTO @.prerequisite (task, done) SELECT $1, d FROM unnest($2) d
             ON CONFLICT DO NOTHING",
            vec![record.id.into(), Value::Ids(done)],
        )?;
    }
    if !has_history(record) {
        return Ok(());
    }
    match tasks::find(session, record.id)? {
        Some(mut row) => {
            row.record = record.clone();
            tasks::update(session, &row)
        }
        None => Ok(()),
    }
}
