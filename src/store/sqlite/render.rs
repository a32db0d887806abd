//! A batch as statements for a driver that is not ours.

use super::error::Result;
use super::groups;
use super::keys;
use super::row::{format_number, state_number};
use super::tasks;
use crate::codec;
use crate::id::StoreId;
use crate::store::lifecycle;
use crate::store::render::{Refusal, Rendered, Statement, Value};
use crate::store::rules;
use crate::store::{self, Batch, Change, Kind};
use crate::task::{OnDuplicate, Record, State};
use crate::time::Timestamp;

/// Renders a batch for a transaction of the store's own file, begun with `BEGIN IMMEDIATE`. Who has
/// committed it calls [`announce`](super::SqliteStore::announce) if it wants those who wait in this process
/// to look at once.
pub(super) fn render(store: StoreId, batch: &Batch, now: Timestamp) -> Result<Rendered> {
    rules::check(batch)?;
    let mut statements = vec![here(store)];
    for change in &batch.changes {
        match change {
            Change::Insert(record) => {
                let has_counts = record.counts != crate::task::Counts::default();
                if tasks::has_history(record) || has_counts {
                    return Err(Kind::Unsupported.into());
                }
                let mut record = Record::clone(record);
                lifecycle::publish(&mut record, false, now)?;
                insert(&record, now, &mut statements)?;
            }
            Change::Room { queue, pending_max } => statements.push(room(queue, *pending_max)),
            _ => return Err(Kind::Unsupported.into()),
        }
    }
    Ok(Rendered::new(statements, now))
}

/// Whether this is the store's file, or a copy of it: the two have one name.
fn here(store: StoreId) -> Statement {
    let id = Value::Bytes(Some(store.to_bytes().to_vec()));
    let store = store.to_string();
    Statement::query(HERE, vec![id]).or(Refusal::OtherStore { store })
}

/// Whether no more tasks of a queue are pending than may be.
fn room(queue: &str, pending_max: u64) -> Statement {
    let above = i64::try_from(pending_max.saturating_add(1)).unwrap_or(i64::MAX);
    let sql = format!("SELECT 1 WHERE ({}) < ?2", tasks::PENDING_COUNT);
    let queue = queue.to_owned();
    let values = vec![
        Value::Text(Some(queue.clone())),
        Value::Integer(Some(above)),
    ];
    Statement::query(sql, values).or(Refusal::QueueFull { queue, pending_max })
}

/// First nothing of this id may be there; then the task, or the alias of one that merges, is inserted;
/// last one of the two must be.
fn insert(record: &Record, now: Timestamp, statements: &mut Vec<Statement>) -> Result<()> {
    let id = || Value::Bytes(Some(record.id.to_bytes().to_vec()));
    let exists = Refusal::TaskExists(record.id);
    statements.push(Statement::query(UNKNOWN, vec![id()]).or(exists.clone()));
    let unique = record.options.unique.as_ref();
    let merges = unique.is_some_and(|unique| unique.on_duplicate == OnDuplicate::Merge);
    let key = || Value::Text(unique.map(|unique| unique.key.clone()));
    let instant = |at: Timestamp| Value::Integer(Some(at.as_micros()));
    if merges {
        statements.push(Statement::change(MERGED, vec![id(), key()]));
        let parameters = vec![id(), key(), instant(now)];
        statements.push(Statement::change(MERGED_AT_REST, parameters));
    }
    statements.extend(give_way(record, now));
    if let Some(group) = &record.options.group {
        let id = Value::Bytes(Some(groups::new_id(record.id, group).to_vec()));
        let parameters = vec![Value::Text(Some(group.clone())), id];
        statements.push(Statement::change(groups::OPEN, parameters));
    }
    let mut parameters = parameters(record)?;
    parameters.push(instant(now));
    parameters.push(Value::Integer(Some(keys::number_of(record))));
    statements.push(Statement::change(TASK, parameters));
    if unique.is_some() {
        let number = Value::Integer(Some(keys::number_of(record)));
        statements.push(Statement::change(KEY, vec![id(), key(), number]));
        if let Some(until) = lifecycle::rests_until(record) {
            let parameters = vec![id(), key(), instant(until)];
            statements.push(Statement::change(REST, parameters));
        }
    }
    for object in &record.options.about {
        let object = Value::Text(Some(object.clone()));
        statements.push(Statement::change(OBJECT, vec![id(), object]));
    }
    for done in &record.options.waits_for {
        let done = Value::Bytes(Some(done.to_bytes().to_vec()));
        statements.push(Statement::change(PREREQUISITE, vec![id(), done]));
    }
    let known = if merges {
        Statement::query(KNOWN_OR_AT_REST, vec![id(), key(), instant(now)])
    } else {
        Statement::query(KNOWN, vec![id()])
    };
    let taken = unique.map(|unique| Refusal::KeyTaken {
        task: record.id,
        key: unique.key.clone(),
    });
    statements.push(known.or(taken.unwrap_or(exists)));
    Ok(())
}

/// Has the last of the group that is Ready make room, if the new task is more urgent.
fn give_way(record: &Record, now: Timestamp) -> Option<Statement> {
    let options = &record.options;
    let group = options.group.clone()?;
    let key = options.unique.as_ref().map(|unique| unique.key.clone());
    let values = vec![
        Value::Text(Some(group)),
        Value::Integer(Some(store::rank(record, record.visible_since()))),
        Value::Integer(Some(options.places().into())),
        Value::Text(key),
        Value::Integer(Some(now.as_micros())),
    ];
    (record.state == State::Ready).then(|| Statement::change(GIVE_WAY, values))
}

fn parameters(record: &Record) -> Result<Vec<Value>> {
    let options = &record.options;
    let integer = |number: i64| Value::Integer(Some(number));
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    let unique = options.unique.as_ref().map(|unique| unique.key.clone());
    let published_at = record.visible_since();
    Ok(vec![
        Value::Bytes(Some(record.id.to_bytes().to_vec())),
        text(&record.queue),
        text(&record.kind),
        integer(state_number(record.state)),
        integer(store::rank(record, published_at)),
        Value::Integer(record.not_before.map(Timestamp::as_micros)),
        integer(record.enqueued_at.as_micros()),
        integer(published_at.as_micros()),
        Value::Text(options.group.clone()),
        Value::Bytes(Some(codec::encode(&**options)?)),
        integer(tasks::plainness(options).into()),
        integer(format_number(record.payload.format)),
        integer(record.payload.version.into()),
        Value::Bytes(Some(record.payload.bytes.to_vec())),
        Value::Text(unique),
        integer(options.places().into()),
    ])
}

const HERE: &str = "SELECT 1 FROM votive_resource WHERE id = ?1";

const UNKNOWN: &str = "\
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM votive_task WHERE id = ?1)
    AND NOT EXISTS (SELECT 1 FROM votive_alias WHERE id = ?1)
    AND NOT EXISTS (SELECT 1 FROM votive_staged_task WHERE id = ?1)";

const KNOWN: &str = "\
SELECT 1 FROM votive_task WHERE id = ?1 UNION ALL SELECT 1 FROM votive_alias WHERE id = ?1";

/// The same, or that it merges into a task that is gone.
const KNOWN_OR_AT_REST: &str = "\
SELECT 1 FROM votive_task WHERE id = ?1 UNION ALL SELECT 1 FROM votive_alias WHERE id = ?1
UNION ALL SELECT 1 FROM votive_resting r WHERE r.key = ?2 AND r.until > ?3
    AND NOT EXISTS (SELECT 1 FROM votive_held WHERE key = ?2)
    AND NOT EXISTS (SELECT 1 FROM votive_task WHERE id = r.task)";

/// The alias of a task that merges into the holder of its key, unless that may be about to leave.
const MERGED: &str = "\
INSERT INTO votive_alias (id, task)
SELECT ?1, h.task FROM votive_held h JOIN votive_task t ON t.id = h.task
WHERE h.key = ?2 AND t.pinned IS NULL";

/// The alias of one that merges into the task for whose sake its key rests, if that is still there.
const MERGED_AT_REST: &str = "\
INSERT INTO votive_alias (id, task)
SELECT ?1, r.task FROM votive_resting r JOIN votive_task t ON t.id = r.task
WHERE r.key = ?2 AND r.until > ?3 AND NOT EXISTS (SELECT 1 FROM votive_held WHERE key = ?2)";

/// The new task would be the first of those that wait, and there are as many in its group as may run.
const GIVE_WAY: &str = "\
UPDATE votive_task SET state = 1, place = 0
WHERE seq = (
    SELECT seq FROM votive_member
    WHERE group_name = ?1 AND place = 1 AND state = 3 AND pinned IS NULL AND rank > ?2
    ORDER BY rank DESC, seq DESC LIMIT 1)
AND (SELECT count(*) FROM votive_member WHERE group_name = ?1 AND place = 1) = ?3
AND NOT EXISTS (
    SELECT 1 FROM votive_member WHERE group_name = ?1 AND place = 0 AND rank <= ?2 AND pinned IS NULL
        AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_member.id))
AND NOT EXISTS (SELECT 1 FROM votive_held WHERE key = ?4)
AND NOT EXISTS (SELECT 1 FROM votive_resting WHERE key = ?4 AND until > ?5)";

/// The new task; it waits if the places of its group are taken, or somebody is before it.
const TASK: &str = "\
INSERT INTO votive_task (id, queue, kind, state, rank, not_before, attempts, conflicts, reclaims,
    enqueued_at, published_at, group_id, place, places, options, plain, held_key, format,
    version, payload)
SELECT ?1, ?2, ?3, new.state, ?5, ?6, 0, 0, 0, ?7, ?8, (SELECT id FROM votive_group WHERE name = ?9),
    CASE new.state WHEN 1 THEN 0 WHEN 3 THEN 1 ELSE 2 END, ?16, ?10, ?11, ?18, ?12, ?13, ?14
FROM (SELECT CASE WHEN ?4 = 3 AND (
        (SELECT count(*) FROM votive_member WHERE group_name = ?9 AND place = 1) >= ?16
        OR EXISTS (
            SELECT 1 FROM votive_member WHERE group_name = ?9 AND place = 0 AND rank <= ?5
                AND pinned IS NULL
                AND NOT EXISTS (SELECT 1 FROM votive_prerequisite WHERE task = votive_member.id)))
    THEN 1 ELSE ?4 END AS state) AS new
WHERE NOT EXISTS (SELECT 1 FROM votive_held WHERE key = ?15)
    AND NOT EXISTS (SELECT 1 FROM votive_resting WHERE key = ?15 AND until > ?17)
    AND NOT EXISTS (SELECT 1 FROM votive_reservation WHERE kind = 0 AND name = ?15)";

/// Has the key of a task rest.
const REST: &str = "\
INSERT INTO votive_resting (key, task, until) SELECT ?2, t.id, ?3 FROM votive_task t WHERE t.id = ?1
ON CONFLICT (key) DO UPDATE SET task = excluded.task, until = excluded.until
WHERE excluded.until > until";

const KEY: &str = "\
INSERT INTO votive_unique (key, task, number)
SELECT ?2, t.id, ?3 FROM votive_task t WHERE t.id = ?1
ON CONFLICT (key) DO UPDATE SET task = excluded.task, number = excluded.number";

const OBJECT: &str = "\
INSERT OR IGNORE INTO votive_about (object, seq) SELECT ?2, t.seq FROM votive_task t WHERE t.id = ?1";

const PREREQUISITE: &str = "\
INSERT OR IGNORE INTO votive_prerequisite (task, done)
SELECT t.id, ?2 FROM votive_task t WHERE t.id = ?1";
