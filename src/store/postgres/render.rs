//! A batch as statements for a driver that is not ours.

use super::PostgresStore;
use super::error::Result;
use super::insert::{has_history, published_at};
use super::names;
use super::notify;
use super::row::{format_number, state_number};
use super::schema::Schema;
use crate::codec;
use crate::store::lifecycle;
use crate::store::render::{Rendered, Statement, Value};
use crate::store::{self, Batch, Change, Kind, rules};
use crate::task::{OnDuplicate, Record, State};
use crate::time::Timestamp;

impl PostgresStore {
    /// Renders a batch of new tasks as statements for a transaction, READ COMMITTED, of the store's own
    /// database, on whatever connection. The last one tells those who wait when the transaction commits.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if the batch has anything but new tasks, or one that comes from another store
    /// with a history. [`Kind::Invalid`] names what is wrong with a task.
    pub fn render(&self, batch: &Batch, now: Timestamp) -> store::Result<Rendered> {
        let schema = self.pool.connector().schema();
        let rendered = render(schema, batch, now);
        rendered.map_err(|fault| fault.during("render a batch"))
    }
}

fn render(schema: &Schema, batch: &Batch, now: Timestamp) -> Result<Rendered> {
    rules::check(batch)?;
    let mut statements = Vec::new();
    for change in &batch.changes {
        let Change::Insert(record) = change else {
            return Err(Kind::Unsupported.into());
        };
        if has_history(record) {
            return Err(Kind::Unsupported.into());
        }
        let mut record = Record::clone(record);
        lifecycle::publish(&mut record, false, now)?;
        lock(schema, &record, &mut statements);
        statements.extend(give_way(schema, &record));
        statements.push(insert(schema, &record)?);
    }
    statements.push(Statement::new(
        schema.fill(notify::ECHO),
        Vec::new(),
        Some(1),
    ));
    Ok(Rendered::new(statements, now))
}

/// The names come first, and what holds a key is kept from being claimed: what follows is judged by it.
fn lock(schema: &Schema, record: &Record, statements: &mut Vec<Statement>) {
    let options = &record.options;
    let key = options.unique.as_ref().map(|unique| unique.key.as_str());
    let keys = key.map(names::unique_key).into_iter();
    for number in keys.chain(options.group.as_deref().map(names::group)) {
        statements.push(Statement::new(
            schema.fill(names::LOCK),
            vec![Value::Integer(Some(number))],
            Some(1),
        ));
    }
    if let Some(key) = key {
        statements.push(Statement::new(
            schema.fill(
                "SELECT count(*) FROM (
                     SELECT 1 FROM @.unique_key u JOIN @.task t ON t.seq = u.seq
                     JOIN @.ready r ON r.queue = t.queue AND r.rank = t.rank AND r.first = t.seq
                     WHERE u.key = $1 FOR UPDATE OF r) AS holder",
            ),
            vec![Value::Text(Some(key.to_owned()))],
            Some(1),
        ));
    }
}

/// Has the last of the group that is Ready make room, if the new task is more urgent.
fn give_way(schema: &Schema, record: &Record) -> Option<Statement> {
    let options = &record.options;
    let group = options.group.clone()?;
    let key = options.unique.as_ref().map(|unique| unique.key.clone());
    let values = vec![
        Value::Text(Some(group)),
        Value::Integer(Some(store::rank(record, published_at(record)))),
        Value::Integer(Some(options.places().into())),
        Value::Text(key),
        Value::Integer(Some(published_at(record).as_micros())),
    ];
    let is_ready = record.state == State::Ready;
    is_ready.then(|| Statement::new(schema.fill(GIVE_WAY), values, None))
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
    let integer = |number: i64| Value::Integer(Some(number));
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    let unique = options.unique.as_ref().map(|unique| unique.key.clone());
    Ok(Parameters(vec![
        Value::Bytes(Some(record.id.to_bytes().to_vec())),
        text(&record.queue),
        text(&record.kind),
        integer(state_number(record.state)),
        integer(store::rank(record, published_at(record))),
        Value::Integer(record.not_before.map(Timestamp::as_micros)),
        integer(record.enqueued_at.as_micros()),
        integer(published_at(record).as_micros()),
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
    if record.options.unique.is_some() {
        parts.push(KEY.to_owned());
        if let Some(until) = lifecycle::rests_until(record) {
            let number = parameters.add(Value::Integer(Some(until.as_micros())));
            parts.push(rest(number));
        }
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
    let refusal = format!(
        "task {} is there already, or its unique key is held or reserved",
        record.id
    );
    Ok(Statement::new(schema.fill(&sql), parameters.0, Some(1)).or(refusal))
}

/// The new task would be the first of those that wait, and there are as many in its group as may run.
const GIVE_WAY: &str = "\
WITH last AS MATERIALIZED (
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
        AND NOT EXISTS (SELECT 1 FROM @.unique_key u WHERE u.key = $4::text)
        AND NOT EXISTS (SELECT 1 FROM @.resting s WHERE s.key = $4::text AND s.until > $5::bigint)
    ORDER BY t.rank DESC, t.seq DESC LIMIT 1),
gone AS (DELETE FROM @.ready WHERE ctid = ANY (ARRAY(SELECT place FROM last)) RETURNING first)
UPDATE @.task SET state = 1 WHERE seq = ANY (ARRAY(SELECT first FROM gone))";

/// The new task; it waits if the places of its group are taken, or somebody is before it.
const TASK: &str = "\
new AS (
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
    WHERE NOT EXISTS (SELECT 1 FROM @.unique_key u WHERE u.key = $10::text)
        AND NOT EXISTS (SELECT 1 FROM @.resting s WHERE s.key = $10::text AND s.until > $8::bigint)
        AND NOT EXISTS (SELECT 1 FROM @.reservation r WHERE r.kind = 0 AND r.name = $10::text)
        AND NOT EXISTS (SELECT 1 FROM @.alias a WHERE a.id = $1::bytea)
        AND NOT EXISTS (SELECT 1 FROM @.staged_task s WHERE s.id = $1::bytea)
    ON CONFLICT (id) DO NOTHING
    RETURNING seq, id, rank, queue, state)";

const LINE: &str = "\
line AS (
    INSERT INTO @.ready (queue, rank, first, last)
    SELECT queue, rank, seq, seq FROM new WHERE state = 3)";

const KEY: &str = "\
held AS (INSERT INTO @.unique_key (key, seq, id) SELECT $10::text, seq, id FROM new)";

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
const GONE: &str = "\
SELECT 1 FROM @.resting s WHERE s.key = $10::text AND s.until > $8::bigint
    AND NOT EXISTS (SELECT 1 FROM @.unique_key u WHERE u.key = $10::text)
    AND NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = s.id)";

/// The alias of a task that merges into the holder of its key, unless that may be about to leave, or into the
/// task for whose sake the key rests.
const MERGED: &str = "\
merged AS (
    INSERT INTO @.alias (id, task)
    SELECT $1::bytea, h.id FROM (
        SELECT u.id FROM @.unique_key u WHERE u.key = $10::text
            AND NOT EXISTS (SELECT 1 FROM @.task t WHERE t.seq = u.seq AND t.pinned IS NOT NULL)
        UNION ALL SELECT s.id FROM @.resting s JOIN @.task t ON t.id = s.id
            WHERE s.key = $10::text AND s.until > $8::bigint
                AND NOT EXISTS (SELECT 1 FROM @.unique_key u WHERE u.key = $10::text)) h
    WHERE NOT EXISTS (SELECT 1 FROM @.task t WHERE t.id = $1::bytea)
        AND NOT EXISTS (SELECT 1 FROM @.staged_task s WHERE s.id = $1::bytea)
    ON CONFLICT DO NOTHING
    RETURNING 1)";

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
