//! The tables of a store, and how a schema is recognised as one, or as somebody else's.
//!
//! A store has a schema to itself. A schema of this name that holds anything else is left alone.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::{Fault, Result};
use super::pool::Txn;
use super::register;
use super::row;
use super::session::Session;
use crate::store::Kind;

/// The version of the tables that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// What leads from each version to the next; the first makes the tables.
const MIGRATIONS: [&str; VERSION as usize] = [TABLES];

/// The longest name that Postgres does not cut off.
const IDENTIFIER_MAX: usize = 63;

/// Version 1.
///
/// The row of a task is wide, and is written when it comes, when it leaves and when something rare happens
/// to it. What happens to every task, that it becomes ready and is claimed, is in rows of narrow tables
/// that come and go: `ready` has the tasks that may be claimed, in the order of claims, and `claim` those that
/// are. A row of either is a run of tasks, from the sequence `first` to `last`. A task whose state is 3 is
/// Claimed if a run of `claim` has it whose number is above the task's `fence`, which is that of its last claim
/// that is over; else it is Ready, and in `ready` unless a transaction has `pinned` it. What else there is of a
/// task, the bits of `hangs` say: 1 a unique key that its claim frees, 2 a group, 4 more, 8 that it goes on without
/// its unique key, which was taken when it came back. A group has `places`, as this task has it, and a name whose
/// [lock](super::names) is `group_lock`.
const TABLES: &str = "\
CREATE TABLE @.schema_version (version integer NOT NULL);

CREATE SEQUENCE @.task_seq CACHE 1;
CREATE TABLE @.task (
    seq          bigint   NOT NULL PRIMARY KEY,
    rank         bigint   NOT NULL,
    enqueued_at  bigint   NOT NULL,
    published_at bigint   NOT NULL,
    not_before   bigint,
    ended_at     bigint,
    kept_until   bigint,
    version      bigint   NOT NULL,
    attempts     bigint   NOT NULL,
    conflicts    bigint   NOT NULL,
    reclaims     bigint   NOT NULL,
    fence        bigint   NOT NULL DEFAULT 0,
    state        smallint NOT NULL,
    dead         smallint,
    format       smallint NOT NULL,
    hangs        smallint NOT NULL,
    id           bytea    NOT NULL,
    queue        text     NOT NULL,
    kind         text     NOT NULL,
    places       integer,
    group_lock   integer,
    group_key    text,
    unique_key   text,
    account      bytea,
    progress     bytea,
    pinned       bytea,
    options      bytea    NOT NULL,
    payload      bytea    NOT NULL
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX task_id ON @.task (id);
CREATE INDEX task_scheduled ON @.task (queue, not_before, seq) WHERE state = 2;
CREATE INDEX task_other ON @.task (queue, state) WHERE state IN (1, 5, 6, 7);
CREATE INDEX task_key ON @.task (unique_key) WHERE unique_key IS NOT NULL AND state IN (1, 2, 3);
CREATE INDEX task_group ON @.task (group_key, state, rank, seq) WHERE group_key IS NOT NULL;
CREATE INDEX task_kept ON @.task (kept_until) WHERE kept_until IS NOT NULL;
CREATE INDEX task_pinned ON @.task (pinned, seq) WHERE pinned IS NOT NULL;

CREATE TABLE @.ready (
    rank  bigint NOT NULL,
    first bigint NOT NULL,
    last  bigint NOT NULL,
    queue text   NOT NULL,
    PRIMARY KEY (queue, rank, first)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- The tokens of a run follow each other, from that of its first task.
CREATE SEQUENCE @.claim_number CACHE 1;
CREATE TABLE @.claim (
    number     bigint NOT NULL,
    holder     bigint NOT NULL,
    token      bigint NOT NULL,
    first      bigint NOT NULL,
    last       bigint NOT NULL,
    claimed_at bigint NOT NULL,
    queue      text   NOT NULL,
    name       text   NOT NULL,
    PRIMARY KEY (holder, token)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX claim_first ON @.claim (first);

CREATE TABLE @.staged (
    staged_at    bigint   NOT NULL,
    change_count bigint   NOT NULL,
    state        smallint NOT NULL,
    txn          bytea    NOT NULL PRIMARY KEY,
    register     bytea    NOT NULL,
    batch        bytea    NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX staged_in_doubt ON @.staged (txn) WHERE state = 0;
CREATE INDEX staged_discarded ON @.staged (staged_at) WHERE state = 2;

CREATE TABLE @.staged_task (
    id  bytea NOT NULL PRIMARY KEY,
    txn bytea NOT NULL
);

CREATE TABLE @.reservation (
    kind smallint NOT NULL,
    name text     NOT NULL,
    txn  bytea    NOT NULL,
    PRIMARY KEY (kind, name, txn)
);
CREATE INDEX reservation_txn ON @.reservation (txn);

-- The turns of those who take unique keys, by the numbers of the locks that names share.
CREATE TABLE @.turn (
    lock bigint NOT NULL PRIMARY KEY,
    turn bigint NOT NULL
) WITH (fillfactor = 50);

-- Keys that rest: no new task gets one before its time, whatever has become of the task that had it.
CREATE TABLE @.resting (
    until bigint NOT NULL,
    id    bytea  NOT NULL,
    key   text   NOT NULL PRIMARY KEY
);
CREATE INDEX resting_until ON @.resting (until);

CREATE TABLE @.alias (
    id   bytea NOT NULL PRIMARY KEY,
    task bytea NOT NULL
);
CREATE INDEX alias_task ON @.alias (task);

CREATE TABLE @.prerequisite (
    task bytea NOT NULL,
    done bytea NOT NULL,
    PRIMARY KEY (task, done)
);

CREATE TABLE @.about (
    seq    bigint NOT NULL,
    object text   NOT NULL,
    PRIMARY KEY (seq, object)
);
CREATE INDEX about_object ON @.about (object, seq);

CREATE TABLE @.mark (
    key   text  NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE @.lease (
    incarnation bigint NOT NULL PRIMARY KEY,
    expires_at  bigint NOT NULL
) WITH (fillfactor = 50);

-- The processes in which somebody waits: who commits tells them.
CREATE UNLOGGED TABLE @.sleeper (
    id    bigint                   NOT NULL PRIMARY KEY,
    until timestamp with time zone NOT NULL
) WITH (fillfactor = 50);
";

/// The name of a schema, and the statements of this program for it.
pub(crate) struct Schema {
    name: String,
    quoted: String,
    texts: Mutex<HashMap<&'static str, Arc<str>>>,
}

impl Schema {
    /// Takes the name of a schema.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let is_possible = (1..=IDENTIFIER_MAX).contains(&name.len())
            && !name.contains(['\0', '\''])
            && !name.starts_with("pg_");
        if !is_possible {
            let what = format!(
                "`{name}` cannot be the name of a schema: it takes 1 to {IDENTIFIER_MAX} bytes without \
                 quotes that do not begin with `pg_`"
            );
            return Err(Kind::Invalid(what).into());
        }
        Ok(Self {
            name: name.to_owned(),
            quoted: format!("\"{}\"", name.replace('"', "\"\"")),
            texts: Mutex::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The text of a statement, with the schema in it.
    pub(crate) fn text(&self, sql: &'static str) -> Arc<str> {
        let mut texts = self.texts.lock();
        let text = texts.entry(sql);
        Arc::clone(text.or_insert_with(|| self.fill(sql).into()))
    }

    /// Puts the schema into a text that is needed once.
    pub(crate) fn fill(&self, sql: &str) -> String {
        sql.replace("@.", &format!("{}.", self.quoted))
    }

    /// The commands that make the schema.
    pub(crate) fn creation(&self) -> String {
        format!("CREATE SCHEMA IF NOT EXISTS {}", self.quoted)
    }

    /// A number that stands for the schema among the advisory locks of its database.
    pub(crate) fn lock_key(&self) -> i64 {
        super::names::hash(&[b"schema", self.name.as_bytes()]).cast_signed()
    }
}

/// What is in a schema, as far as votive is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A store of this version of the tables.
    Store(u32),
    /// No store yet: nothing, or a register alone.
    Nothing,
}

/// Looks what a schema holds, and refuses what votive must not touch. Only reads.
pub(super) fn recognise(session: &mut dyn Session, schema: &Schema) -> Result<Content> {
    let relations = session.query(
        "SELECT c.relname::text FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        vec![schema.name().into()],
    )?;
    let relations = relations
        .iter()
        .map(|found| row::column::<String>(found, 0))
        .collect::<Result<Vec<_>>>()?;
    if relations.iter().any(|name| name == "schema_version") {
        return version(session);
    }
    let stranger = relations
        .iter()
        .find(|name| !register::TABLES.contains(&name.as_str()));
    match stranger {
        None => Ok(Content::Nothing),
        Some(name) => {
            let schema = schema.name();
            let what = format!("the schema `{schema}` has a table `{name}` and no store");
            Err(Kind::Foreign(what).into())
        }
    }
}

fn version(session: &mut dyn Session) -> Result<Content> {
    let found = session.first("SELECT version::bigint FROM @.schema_version", Vec::new())?;
    let found = found.ok_or_else(|| Fault::corrupt("the version of the tables is missing"))?;
    let found = u32::try_from(row::column::<i64>(&found, 0)?);
    match found {
        Ok(found @ 1..=VERSION) => Ok(Content::Store(found)),
        Ok(found) if found > VERSION => Err(Kind::NewerVersion {
            found,
            known: VERSION,
        }
        .into()),
        _ => Err(Fault::corrupt("the version of the tables is below 1")),
    }
}

/// Brings the tables to [`VERSION`]. Of several processes one does, while the others wait.
pub(super) fn migrate(txn: &mut Txn<'_>, schema: &Schema) -> Result<()> {
    txn.query(
        "SELECT pg_catalog.pg_advisory_xact_lock($1)",
        vec![schema.lock_key().into()],
    )?;
    let from = match recognise(txn, schema)? {
        Content::Store(VERSION) => return Ok(()),
        Content::Store(version) => version,
        Content::Nothing => {
            txn.commands(schema.creation())?;
            0
        }
    };
    for step in MIGRATIONS.iter().skip(from as usize) {
        txn.commands(schema.fill(step))?;
    }
    txn.commands(schema.fill(&format!(
        "DELETE FROM @.schema_version; INSERT INTO @.schema_version VALUES ({VERSION})"
    )))?;
    txn.commands(schema.fill(register::SCHEMA))?;
    register::identify(txn, schema).map(drop)
}
