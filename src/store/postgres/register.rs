//! The register in a Postgres database: who committed, kept by plain functions over a session.
//!
//! The Postgres store calls them in its own schema, and `resource::postgres` on the application's
//! connections. None of them begins or ends a transaction: the caller has begun one, READ COMMITTED and
//! with `synchronous_commit` on, and commits it.
//!
//! In READ COMMITTED every statement sees what was committed when it began. So a look that follows an
//! insert sees who was first, even if the insert had to wait for him.
//!
//! A commit that wrote nothing does not wait for the disk. So whatever reports an outcome also writes an
//! empty message to the server's log: when the caller's commit has returned, all that was read is on disk.

use tokio_postgres::Row;

use tokio_postgres::error::{DbError, SqlState};

use super::error::{Fault, Result};
use super::row::{column, id};
use super::schema::Schema;
use super::session::Session;
use super::value::Value;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, Standing};
use crate::time::Timestamp;

/// The names of the register's tables.
pub(crate) const TABLES: [&str; 3] = ["resource", "incarnation", "outcome"];

/// The register's tables, as `votive migrate --register --print` shows them; `@.` stands for the schema.
pub(crate) const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS @.resource (
    id          bytea NOT NULL PRIMARY KEY,
    fingerprint text  NOT NULL
);
CREATE TABLE IF NOT EXISTS @.incarnation (
    id          bigint  NOT NULL PRIMARY KEY,
    host        text    NOT NULL,
    started_at  bigint  NOT NULL,
    closed      boolean NOT NULL DEFAULT false,
    alive_until bigint
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS @.outcome (
    txn         bytea  NOT NULL PRIMARY KEY,
    incarnation bigint NOT NULL REFERENCES @.incarnation (id) ON DELETE RESTRICT,
    outcome     text   NOT NULL CHECK (outcome IN ('commit', 'abort')),
    stores      bytea  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
";

/// Writes an outcome unless there is one; a commit only while the incarnation is open. The row of the
/// incarnation is locked, so that it is not dropped meanwhile; one that is being dropped is waited for.
pub(super) const INSERT: &str = "\
INSERT INTO @.outcome (txn, incarnation, outcome, stores)
SELECT $1, i.id, $3, $4 FROM @.incarnation i
WHERE i.id = $2 AND (NOT i.closed OR $3 = 'abort') FOR KEY SHARE
ON CONFLICT DO NOTHING";

/// Why `Committed` could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// There is an outcome already: somebody decided before.
    Decided,
    /// The incarnation is closed or not there: it must not commit any more.
    Gone,
    /// The transaction is not open any more.
    Ended,
    /// Others have prepared for it, and its commit would not wait for the disk.
    NotDurable,
}

/// Whose register a schema holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name that staged batches call it by.
    pub(crate) id: ResourceId,
    /// The database that it was made in, or adopted for.
    pub(crate) fingerprint: String,
}

/// Makes the identity where it is missing, and returns it. The tables are there.
pub(crate) fn identify(session: &mut dyn Session, schema: &Schema) -> Result<Identity> {
    if let Some(identity) = identity(session)? {
        return Ok(identity);
    }
    let made = Identity {
        id: ResourceId::random(),
        fingerprint: fingerprint(session, schema)?,
    };
    session.execute(
        "INSERT INTO @.resource (id, fingerprint) VALUES ($1, $2)",
        vec![made.id.into(), made.fingerprint.clone().into()],
    )?;
    Ok(made)
}

/// Whether the schema has the register's tables.
pub(crate) fn is_there(session: &mut dyn Session, schema: &Schema) -> Result<bool> {
    session.exists(
        "SELECT 1 FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = 'resource'",
        vec![schema.name().into()],
    )
}

/// Reads the identity; `None` if there is none yet.
pub(crate) fn identity(session: &mut dyn Session) -> Result<Option<Identity>> {
    let found = session.first("SELECT id, fingerprint FROM @.resource", Vec::new())?;
    found
        .map(|row| {
            Ok(Identity {
                id: ResourceId::from_bytes(id(&row, 0)?),
                fingerprint: column(&row, 1)?,
            })
        })
        .transpose()
}

/// Declares that this database is the one whose register it holds, after it was moved, restored or
/// cloned. Of several clones an operator adopts one, never two.
pub(crate) fn adopt(session: &mut dyn Session, schema: &Schema) -> Result<()> {
    let here = fingerprint(session, schema)?;
    session
        .execute("UPDATE @.resource SET fingerprint = $1", vec![here.into()])
        .map(drop)
}

/// The query of the fingerprint of the schema `$1`.
macro_rules! fingerprint_query {
    () => {
        "SELECT format('system %s database %s schema %s',
             (SELECT system_identifier FROM pg_catalog.pg_control_system()), d.oid, n.oid) AS here
         FROM pg_catalog.pg_database d, pg_catalog.pg_namespace n
         WHERE d.datname = pg_catalog.current_database() AND n.nspname = $1"
    };
}
pub(super) use fingerprint_query;

/// Tells a database from its clones, as far as it can: by the cluster, the database and the schema. A
/// cluster that was copied as a whole has the same.
pub(crate) fn fingerprint(session: &mut dyn Session, schema: &Schema) -> Result<String> {
    let found = session.first(fingerprint_query!(), vec![schema.name().into()])?;
    match found {
        Some(row) => column(&row, 0),
        None => Err(Fault::corrupt(format!(
            "the schema `{}` is missing",
            schema.name()
        ))),
    }
}

/// Enrols an incarnation, which is taken for alive until `alive_until`; for ever, if that is `None`. One
/// that is there already is an error: nobody enrols twice.
pub(crate) fn enroll(
    session: &mut dyn Session,
    incarnation: Incarnation,
    now: Timestamp,
    alive_until: Option<Timestamp>,
) -> Result<()> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    session
        .execute(
            "INSERT INTO @.incarnation (id, host, started_at, alive_until) VALUES ($1, $2, $3, $4)",
            vec![
                incarnation.into(),
                host.into(),
                now.into(),
                alive_until.into(),
            ],
        )
        .map(drop)
}

/// Prolongs the lives of incarnations; those that are gone stay gone.
pub(crate) fn keep_alive(
    session: &mut dyn Session,
    incarnations: &[Incarnation],
    until: Timestamp,
) -> Result<()> {
    session
        .execute(
            "UPDATE @.incarnation SET alive_until = $2 WHERE id = ANY ($1)",
            vec![numbers(incarnations), until.into()],
        )
        .map(drop)
}

/// Returns the incarnations whose life has run out.
pub(crate) fn departed(session: &mut dyn Session, now: Timestamp) -> Result<Vec<Incarnation>> {
    touch(session)?;
    let rows = session.query(
        "SELECT id FROM @.incarnation WHERE alive_until <= $1 ORDER BY id",
        vec![now.into()],
    )?;
    rows.iter().map(|row| incarnation(row, 0)).collect()
}

/// Writes `Committed` for the transaction `$1` of the incarnation `$2`, which the stores `$3` prepared for and which
/// calls itself `$4`. What forbids that leaves a column empty that must not be, whose name then says what it was. The
/// foreign key locks the row of the incarnation, so that it is not dropped before the transaction ends. A query around
/// the insertion, which counts what was written, takes the server twice as long.
const COMMIT: &str = "\
INSERT INTO @.outcome (txn, incarnation, outcome, stores) VALUES (
    $1,
    (SELECT i.id FROM @.incarnation i WHERE i.id = $2 AND NOT i.closed),
    CASE WHEN pg_catalog.current_setting('votive.txn', true) = $4 THEN 'commit' END,
    CASE WHEN $3 = '' OR 'off' NOT IN (pg_catalog.current_setting('fsync'),
        pg_catalog.current_setting('synchronous_commit')) THEN $3 END)";

/// Returns the commands that a connection needs once for [`commit`].
pub(crate) fn preparation(schema: &Schema) -> String {
    schema.fill(&format!(
        "PREPARE votive_forget (bytea[]) AS {FORGET};
         PREPARE votive_commit (bytea, bigint, bytea, text) AS {COMMIT}; "
    ))
}

/// Returns the commands that forget the commit records of `spent`, write `Committed` for a transaction of
/// an open incarnation, and commit: sent as one by the commit point, in the transaction that it is about.
///
/// The server leaves off at the first command that fails. So where the record [cannot be written](not_written), the
/// `COMMIT` is not heard, and the transaction has failed.
pub(crate) fn commit(txn: TxnId, stores: &[ResourceId], spent: &[TxnId]) -> String {
    let mut commands = String::new();
    if !spent.is_empty() {
        let spent: Vec<_> = spent.iter().map(|txn| literal(&txn.to_bytes())).collect();
        commands = format!("EXECUTE votive_forget (ARRAY[{}]); ", spent.join(", "));
    }
    let stores: Vec<u8> = stores.iter().flat_map(|id| id.to_bytes()).collect();
    commands
        + &format!(
            "EXECUTE votive_commit ({}, {}, {}, '{txn}'); COMMIT",
            literal(&txn.to_bytes()),
            txn.incarnation.to_u64().cast_signed(),
            literal(&stores)
        )
}

/// Says why [`commit`] could not write its record, if that is what the server complains of.
pub(crate) fn not_written(error: &DbError, schema: &Schema) -> Option<NotWritten> {
    if error.schema() != Some(schema.name()) || error.table() != Some("outcome") {
        return None;
    }
    match *error.code() {
        SqlState::UNIQUE_VIOLATION => Some(NotWritten::Decided),
        SqlState::FOREIGN_KEY_VIOLATION => Some(NotWritten::Gone),
        SqlState::NOT_NULL_VIOLATION => match error.column()? {
            "incarnation" => Some(NotWritten::Gone),
            "outcome" => Some(NotWritten::Ended),
            "stores" => Some(NotWritten::NotDurable),
            _ => None,
        },
        _ => None,
    }
}

/// Bytes as they are written in a command, whatever the server takes a backslash for.
fn literal(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = halves.filter_map(|half| char::from_digit(half.into(), 16));
    format!("pg_catalog.decode('{}', 'hex')", digits.collect::<String>())
}

/// Whether there is an outcome of a transaction. Not flushed: only for who refuses because of it.
pub(super) fn is_decided(session: &mut dyn Session, txn: TxnId) -> Result<bool> {
    session.exists("SELECT 1 FROM @.outcome WHERE txn = $1", vec![txn.into()])
}

/// Writes the outcome if there is none, then reads what is there, then the incarnation's standing.
pub(crate) fn decide(
    session: &mut dyn Session,
    txn: TxnId,
    want: Decision,
    stores: &[ResourceId],
) -> Result<Answer> {
    insert(session, txn, want, stores)?;
    touch(session)?;
    let outcome = session.first(
        "SELECT outcome FROM @.outcome WHERE txn = $1",
        vec![txn.into()],
    )?;
    Ok(Answer {
        decision: outcome.map(|row| decision(&row, 0)).transpose()?,
        standing: standing(session, txn.incarnation)?,
    })
}

fn insert(
    session: &mut dyn Session,
    txn: TxnId,
    decision: Decision,
    stores: &[ResourceId],
) -> Result<u64> {
    session.execute(INSERT, record(txn, decision, stores))
}

/// The parameters of [`INSERT`].
pub(super) fn record(txn: TxnId, decision: Decision, stores: &[ResourceId]) -> Vec<Value> {
    let outcome = match decision {
        Decision::Committed => "commit",
        Decision::Aborted => "abort",
    };
    let stores: Vec<u8> = stores.iter().flat_map(|id| id.to_bytes()).collect();
    vec![
        txn.into(),
        txn.incarnation.into(),
        outcome.into(),
        stores.into(),
    ]
}

pub(super) fn standing(session: &mut dyn Session, incarnation: Incarnation) -> Result<Standing> {
    let closed = session.first(
        "SELECT closed FROM @.incarnation WHERE id = $1",
        vec![incarnation.into()],
    )?;
    Ok(match closed.map(|row| column(&row, 0)).transpose()? {
        Some(false) => Standing::Open,
        Some(true) => Standing::Closed,
        None => Standing::Gone,
    })
}

/// Makes the caller's commit a real one, which waits for the disk. No row is written, so nobody waits for
/// anybody.
pub(crate) fn touch(session: &mut dyn Session) -> Result<()> {
    session.later(
        "SELECT pg_catalog.pg_logical_emit_message(true, 'votive', '')",
        Vec::new(),
    )
}

/// Lists outcome records in the order of their ids.
pub(crate) fn outcomes(
    session: &mut dyn Session,
    after: Option<TxnId>,
    limit: usize,
) -> Result<Vec<OutcomeRow>> {
    touch(session)?;
    let after = after.map(|txn| txn.to_bytes().to_vec()).unwrap_or_default();
    let rows = session.query(
        "SELECT txn, outcome, stores FROM @.outcome WHERE txn > $1 ORDER BY txn LIMIT $2",
        vec![after.into(), Value::count(limit)],
    )?;
    rows.iter()
        .map(|row| {
            Ok(OutcomeRow {
                txn: TxnId::from_bytes(id(row, 0)?),
                decision: decision(row, 1)?,
                stores: stores(row, 2)?,
            })
        })
        .collect()
}

/// Lists the incarnations.
pub(crate) fn incarnations(session: &mut dyn Session) -> Result<Vec<IncarnationRow>> {
    touch(session)?;
    let rows = session.query(
        "SELECT id, host, started_at, closed FROM @.incarnation ORDER BY id",
        Vec::new(),
    )?;
    rows.iter()
        .map(|row| {
            Ok(IncarnationRow {
                incarnation: incarnation(row, 0)?,
                host: column(row, 1)?,
                started_at: Timestamp::from_micros(column(row, 2)?),
                closed: column(row, 3)?,
            })
        })
        .collect()
}

/// Closes an incarnation.
pub(crate) fn close(session: &mut dyn Session, incarnation: Incarnation) -> Result<()> {
    touch(session)?;
    session
        .execute(
            "UPDATE @.incarnation SET closed = true WHERE id = $1",
            vec![incarnation.into()],
        )
        .map(drop)
}

/// Deletes commit records, and returns how many there were.
pub(crate) fn forget(session: &mut dyn Session, txns: &[TxnId]) -> Result<usize> {
    let txns = txns.iter().map(|txn| txn.to_bytes()).collect();
    let count = session.execute(FORGET, vec![Value::Ids(txns)])?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

pub(super) const FORGET: &str = "DELETE FROM @.outcome WHERE txn = ANY ($1) AND outcome = 'commit'";

/// Drops an incarnation with its abort records, unless a commit record of it is left. Returns whether
/// it went.
///
/// Its row is locked first, which waits for those who are about to write a record; only then, in a
/// statement of its own, their records are looked for.
pub(crate) fn drop_incarnation(
    session: &mut dyn Session,
    incarnation: Incarnation,
) -> Result<bool> {
    touch(session)?;
    let is_there = session.exists(
        "SELECT 1 FROM @.incarnation WHERE id = $1 FOR UPDATE",
        vec![incarnation.into()],
    )?;
    let [first, last] = [0, u64::MAX].map(|sequence| TxnId {
        incarnation,
        sequence,
    });
    let range = || vec![first.into(), last.into()];
    let has_commits = session.exists(
        "SELECT 1 FROM @.outcome WHERE txn BETWEEN $1 AND $2 AND outcome = 'commit' LIMIT 1",
        range(),
    )?;
    if !is_there || has_commits {
        return Ok(false);
    }
    session.execute("DELETE FROM @.outcome WHERE txn BETWEEN $1 AND $2", range())?;
    let gone = session.execute(
        "DELETE FROM @.incarnation WHERE id = $1",
        vec![incarnation.into()],
    )?;
    Ok(gone == 1)
}

/// Incarnations as the tables have them.
pub(super) fn numbers(incarnations: &[Incarnation]) -> Value {
    let number = |incarnation: &Incarnation| Some(incarnation.to_u64().cast_signed());
    Value::Integers(incarnations.iter().map(number).collect())
}

pub(super) fn incarnation(row: &Row, index: usize) -> Result<Incarnation> {
    Ok(Incarnation::from_u64(
        column::<i64>(row, index)?.cast_unsigned(),
    ))
}

fn decision(row: &Row, index: usize) -> Result<Decision> {
    match column::<&str>(row, index)? {
        "commit" => Ok(Decision::Committed),
        "abort" => Ok(Decision::Aborted),
        other => Err(Fault::corrupt(format!("`{other}` is no outcome"))),
    }
}

/// The ids one after the other, 16 bytes each.
fn stores(row: &Row, index: usize) -> Result<Vec<ResourceId>> {
    let (ids, rest) = column::<&[u8]>(row, index)?.as_chunks::<16>();
    if rest.is_empty() {
        Ok(ids.iter().copied().map(ResourceId::from_bytes).collect())
    } else {
        Err(Fault::corrupt("a list of ids that does not end at an id"))
    }
}
