//! A batch as statements for a driver that is not ours.

use super::error::Result;
use super::insert::has_history;
use super::names::{self, Names};
use super::notify;
use super::register::fingerprint_query;
use super::row::{format_number, state_number};
use super::schema::Schema;
use super::tasks;
use crate::codec;
use crate::store::lifecycle;
use crate::store::render::{Refusal, Rendered, Statement, Value};
use crate::store::{self, Batch, Change, Kind, rules};
use crate::task::{OnDuplicate, Record, State};
use crate::time::Timestamp;

/// Renders a batch for a transaction, READ COMMITTED, of the store's own database. The last statement tells
/// those who wait when the transaction commits.
pub(super) fn render(
    schema: &Schema,
    fingerprint: &str,
    batch: &Batch,
    now: Timestamp,
) -> Result<Rendered> {
    rules::check(batch)?;
    let mut statements = vec![here(schema, fingerprint)];
    statements.extend(locks(schema, batch));
    for change in &batch.changes {
        match change {
            Change::Insert(record) => {
                if has_history(record) {
                    return Err(Kind::Unsupported.into());
                }
                let mut record = Record::clone(record);
                lifecycle::publish(&mut record, false, now)?;
                statements.extend(hold(schema, &record));
                statements.extend(give_way(schema, &record));
                statements.push(insert(schema, &record)?);
            }
            Change::Room { queue, pending_max } => {
                statements.push(room(schema, queue, *pending_max));
            }
            _ => return Err(Kind::Unsupported.into()),
        }
    }
    if !batch.is_empty() {
        statements.push(Statement::query(schema.fill(notify::ECHO), Vec::new()));
    }
    Ok(Rendered::new(statements, now))
}

/// Whether this is the store's database. It names no table, because an unknown one would end the
/// transaction.
fn here(schema: &Schema, fingerprint: &str) -> Statement {
    let sql = concat!(
        "SELECT 1 AS here FROM (",
        fingerprint_query!(),
        ") AS f WHERE f.here = $2"
    );
    let store = fingerprint.to_owned();
    let values = [schema.name(), fingerprint].map(|text| Value::Text(Some(text.to_owned())));
    Statement::query(sql, values.to_vec()).or(Refusal::OtherStore { store })
}

/// The locks of the names come first, in the order in which everybody takes them: what follows is judged
/// behind them.
fn locks(schema: &Schema, batch: &Batch) -> Vec<Statement> {
    let mut names = Names::default();
    for change in &batch.changes {
        if let Change::Room { queue, .. } = change {
            names.queue(queue);
        }
    }
    for options in batch.inserts().map(|record| &record.options) {
        if let Some(unique) = &options.unique {
            names.unique_key(&unique.key);
        }
        if let Some(group) = &options.group {
            names.group(group);
        }
    }
    let lock = |number| Statement::query(schema.fill(names::LOCK), vec![integer(number)]);
    let turn = |number| Statement::change(schema.fill(names::TURN), vec![integer(number)]);
    names
        .locks()
        .map(lock)
        .chain(names.turns().map(turn))
        .collect()
}

/// What holds a key is kept from being claimed: what follows is judged by it.
fn hold(schema: &Schema, record: &Record) -> Option<Statement> {
    let key = record.options.unique.as_ref()?.key.clone();
    let sql = schema.fill(
        "SELECT count(*) FROM (
             SELECT 1 FROM @.task t
             JOIN @.ready r ON r.queue = t.queue AND r.rank = t.rank
                 AND r.first > t.seq - 128 AND r.first <= t.seq AND r.last >= t.seq
             WHERE t.unique_key = $1 AND t.state IN (1, 2, 3) AND t.hangs & 8 = 0 FOR UPDATE OF r) AS holder",
    );
    Some(Statement::query(sql, vec![Value::Text(Some(key))]))
}

/// Whether no more tasks of a queue are pending than may be.
fn room(schema: &Schema, queue: &str, pending_max: u64) -> Statement {
    let above = i64::try_from(pending_max.saturating_add(1)).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT 1 AS room FROM ({}) AS counted (pending) WHERE counted.pending < $2",
        tasks::PENDING_COUNT
    );
    let queue = queue.to_owned();
    let values = vec![Value::Text(Some(queue.clone())), integer(above)];
    Statement::query(schema.fill(&sql), values).or(Refusal::QueueFull { queue, pending_max })
}

fn integer(number: i64) -> Value {
    Value::Integer(Some(number))
}

/// Has the last of the group that is Ready make room, if the new task is more urgent.
fn give_way(schema: &Schema, record: &Record) -> Option<Statement> {
    let options = &record.options;
    let group = options.group.clone()?;
    let key = options.unique.as_ref().map(|unique| unique.key.clone());
    let values = vec![
        Value::Text(Some(group)),
        Value::Integer(Some(store::rank(record, record.visible_since()))),
        Value::Integer(Some(options.places().into())),
        Value::Text(key),
        Value::Integer(Some(record.visible_since().as_micros())),
    ];
    let is_ready = record.state == State::Ready;
    is_ready.then(|| Statement::change(schema.fill(GIVE_WAY), values))
}

/// Parameters are numbered as they come.
struct Parameters(Vec<Value>);

impl Parameters {
    fn add(&mut self, value: Value) -> usize {
        self.0.push(value);
        self.0.len()
    }

    fn text(&mut self, text: &str) -> usize {
        self.add(Value::Text(Some(text.to_owned())))
    }

    fn bytes(&mut self, bytes: &[u8]) -> usize {
        self.add(Value::Bytes(Some(bytes.to_vec())))
    }
}

/// The parameters of the task itself, `$1` to `$17`.
fn parameters(record: &Record) -> Result<Parameters> {
    let options = &record.options;
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    let unique = options.unique.as_ref().map(|unique| unique.key.clone());
    Ok(Parameters(vec![
        Value::Bytes(Some(record.id.to_bytes().to_vec())),
        text(&record.queue),
        text(&record.kind),
        integer(state_number(record.state)),
        integer(store::rank(record, record.visible_since())),
        Value::Integer(record.not_before.map(Timestamp::as_micros)),
        integer(record.enqueued_at.as_micros()),
        integer(record.visible_since().as_micros()),
        Value::Text(options.group.clone()),
        Value::Text(unique),
        Value::Bytes(Some(codec::encode(&**options)?)),
        integer(format_number(record.payload.format)),
        integer(record.payload.version.into()),
        Value::Bytes(Some(record.payload.bytes.to_vec())),
        integer(super::insert::hangs(record)),
        integer(options.places().into()),
        Value::Integer(super::insert::group_lock(record)),
    ]))
}

/// Inserts a task with all that hangs on it, or the alias of one that merges; returns one row if it did
/// either.
fn insert(schema: &Schema, record: &Record) -> Result<Statement> {
    let mut parameters = parameters(record)?;
    let mut parts = vec![TASK.to_owned(), LINE.to_owned()];
    if record.options.unique.is_some()
        && let Some(until) = lifecycle::rests_until(record)
    {
        let number = parameters.add(Value::Integer(Some(until.as_micros())));
        parts.push(rest(number));
    }
    parts.extend(objects(record, &mut parameters));
    parts.extend(prerequisites(record, &mut parameters));
    let merges = record
        .options
        .unique
        .as_ref()
        .is_some_and(|unique| unique.on_duplicate == OnDuplicate::Merge);
    let mut result = "SELECT 1 AS done FROM new".to_owned();
    if merges {
        parts.push(MERGED.to_owned());
        result += " UNION ALL SELECT 1 FROM merged UNION ALL ";
        result += GONE;
    }
    let sql = format!("WITH {} {result}", parts.join(", "));
    let taken = record.options.unique.as_ref();
    let taken = taken.map(|unique| Refusal::KeyTaken {
        task: record.id,
        key: unique.key.clone(),
    });
    let refusal = taken.unwrap_or(Refusal::TaskExists(record.id));
    Ok(Statement::query(schema.fill(&sql), parameters.0).or(refusal))
}

/// The task that holds the key of this parameter.
macro_rules! key_held {
    ($key:literal) => {
        concat!(
            "(SELECT t.* FROM @.task t WHERE t.unique_key = ",
            $key,
            "::text AND ",
            $crate::store::postgres::keys::holds_own_key!(),
            ")"
        )
    };
}

/// The new task would be the first of those that wait, and there are as many in its group as may run.
const GIVE_WAY: &str = concat!(
    "WITH last AS MATERIALIZED (
    SELECT t.seq, r.place FROM @.task t CROSS JOIN LATERAL (
        SELECT r.ctid AS place FROM @.ready r
        WHERE r.queue = t.queue AND r.rank = t.rank AND r.first = t.seq
        LIMIT 1 FOR UPDATE SKIP LOCKED) r
    WHERE t.group_key = $1::text AND t.state = 3 AND t.rank > $2::bigint
        AND (SELECT count(*) FROM @.task h WHERE h.group_key = $1::text AND h.state = 3) = $3::bigint
        AND NOT EXISTS (
            SELECT 1 FROM @.task w WHERE w.group_key = $1::text AND w.state = 1 AND w.rank <= $2::bigint
                AND w.pinned IS NULL
                AND NOT EXISTS (SELECT 1 FROM @.prerequisite q WHERE q.task = w.id))
        AND NOT EXISTS ",
    key_held!("$4"),
    "
        AND NOT EXISTS (SELECT 1 FROM @.resting s WHERE s.key = $4::text AND s.until > $5::bigint)
    ORDER BY t.rank DESC, t.seq DESC LIMIT 1),
gone AS (DELETE FROM @.ready WHERE ctid = ANY (ARRAY(SELECT place FROM last)) RETURNING first)
UPDATE @.task SET state = 1 WHERE seq = ANY (ARRAY(SELECT first FROM gone))"
);

/// The new task; it waits if the places of its group are taken, or somebody is before it.
const TASK: &str = concat!(
    "new AS (
    INSERT INTO @.task (seq, id, queue, kind, state, rank, not_before, enqueued_at, published_at,
        group_key, unique_key, options, format, version, payload, hangs, places, group_lock,
        attempts, conflicts, reclaims)
    SELECT nextval('@.task_seq'), $1::bytea, $2::text, $3::text,
        CASE WHEN $4::bigint = 3 AND (
            (SELECT count(*) FROM @.task h WHERE h.group_key = $9::text AND h.state = 3) >= $16::bigint
            OR EXISTS (
                SELECT 1 FROM @.task w
                WHERE w.group_key = $9::text AND w.state = 1 AND w.rank <= $5::bigint
                    AND w.pinned IS NULL
                    AND NOT EXISTS (SELECT 1 FROM @.prerequisite q WHERE q.task = w.id))) THEN 1
        ELSE $4::bigint END,
        $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::text, $10::text, $11::bytea, $12::bigint,
        $13::bigint, $14::bytea, $15::bigint,
        CASE WHEN $9::text IS NOT NULL THEN $16::bigint END, $17::bigint, 0, 0, 0
    WHERE NOT EXISTS ",
    key_held!("$10"),
    "
        AND NOT EXISTS (SELECT 1 FROM @.resting s WHERE s.key = $10::text AND s.until > $8::bigint)
        AND NOT EXISTS (SELECT 1 FROM @.reservation r WHERE r.kind = 0 AND r.name = $10::text)
        AND NOT EXISTS (SELECT 1 FROM @.alias a WHERE a.id = $1::bytea)
        AND NOT EXISTS (SELECT 1 FROM @.staged_task s WHERE s.id = $1::bytea)
    ON CONFLICT (id) DO NOTHING
    RETURNING seq, id, rank, queue, state)"
);

const LINE: &str = "\
line AS (
    INSERT INTO @.ready (queue, rank, first, last)
    SELECT queue, rank, seq, seq FROM new WHERE state = 3)";

/// Has the key of a task rest until the instant that is the parameter of this number.
fn rest(number: usize) -> String {
    format!(
        "rested AS (
             INSERT INTO @.resting AS r (key, id, until) SELECT $10::text, id, ${number}::bigint FROM new
             ON CONFLICT (key) DO UPDATE SET id = EXCLUDED.id, until = EXCLUDED.until
             WHERE EXCLUDED.until > r.until)"
    )
}

/// Whether a task merges into one that is gone.
const GONE: &str = concat!(
    "SELECT 1 FROM @.resting s WHERE s.key = $10::text AND s.until > $8::bigint
         AND NOT EXISTS ",
    key_held!("$10"),
    " AND NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = s.id)"
);

/// The alias of a task that merges into the holder of its key, unless that may be about to leave, or into the task for
/// whose sake the key rests. The holder is kept as it is, so that it does not become due meanwhile, and if it may be
/// claimed it is kept from that here: the run that was kept before may have been another's by then, who left one that
/// was not.
const MERGED: &str = concat!(
    "merged AS (
    INSERT INTO @.alias (id, task)
    SELECT $1::bytea, h.id FROM (
        SELECT u.id FROM ",
    key_held!("$10"),
    " u WHERE u.pinned IS NULL
            AND (SELECT 1 FROM @.task l WHERE l.seq = u.seq AND l.state = u.state LIMIT 1 FOR UPDATE) IS NOT NULL
            AND (u.state <> 3 OR u.hangs & 1 = 0 OR (
            SELECT 1 FROM @.ready r WHERE r.queue = u.queue AND r.rank = u.rank
                AND r.first > u.seq - 128 AND r.first <= u.seq AND r.last >= u.seq
            LIMIT 1 FOR UPDATE OF r) IS NOT NULL)
        UNION ALL SELECT s.id FROM @.resting s JOIN @.task t ON t.id = s.id
            WHERE s.key = $10::text AND s.until > $8::bigint AND NOT EXISTS ",
    key_held!("$10"),
    ") h
    WHERE NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = $1::bytea)
        AND NOT EXISTS (SELECT 1 FROM @.staged_task s WHERE s.id = $1::bytea)
    ON CONFLICT DO NOTHING
    RETURNING 1)"
);

fn objects(record: &Record, parameters: &mut Parameters) -> Option<String> {
    let about = &record.options.about;
    let values = about
        .iter()
        .map(|object| format!("(${}::text)", parameters.text(object)));
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| {
        format!(
            "objects AS (INSERT INTO @.about (seq, object)
                 SELECT n.seq, v.object FROM new n, (VALUES {}) AS v (object) ON CONFLICT DO NOTHING)",
            values.join(", ")
        )
    })
}

fn prerequisites(record: &Record, parameters: &mut Parameters) -> Option<String> {
    let waits_for = &record.options.waits_for;
    let values = waits_for
        .iter()
        .map(|task| format!("(${}::bytea)", parameters.bytes(&task.to_bytes())));
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| {
        format!(
            "prerequisites AS (INSERT INTO @.prerequisite (task, done)
                 SELECT n.id, v.done FROM new n, (VALUES {}) AS v (done) ON CONFLICT DO NOTHING)",
            values.join(", ")
        )
    })
}
