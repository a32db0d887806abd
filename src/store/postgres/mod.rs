//! The Postgres store: a schema of a database, shared by any number of processes on any number of
//! machines.
//!
//! Owns one invariant: whatever changes the tables does so in one transaction of the server's, and is on
//! disk before anybody is told so who may rely on it.
//!
//! Every call blocks until the server has answered. On a worker of a tokio runtime of many threads the
//! others go on meanwhile; on the thread of a runtime that has only one, every call is refused with
//! [`Kind::Invalid`].
//!
//! | file | what for |
//! | --- | --- |
//! | `address` `options` `tls` `connection` `pool` `schema` | connecting, and leaving other programs' tables alone |
//! | `session` `value` `row` | who executes statements, and what goes in and comes out |
//! | `batch` `series` `prompt` `insert` `ending` `passing` `sweep` `tables` `tasks` `line` `groups` `keys` `names` | what a batch does to the tables |
//! | `stage` `apply` `outcome` `commit_point` `register` | two-phase commit, and who committed |
//! | `dispatch` `claim` `take` `runs` `given` `reclaim` `notify` `presence` | claims, wake-ups, proof of life |
//! | `inspect` `check` | looking |
//! | `render` | a batch as statements for a driver that is not ours |

mod address;
mod apply;
mod batch;
mod check;
mod claim;
mod commit_point;
mod connection;
mod dispatch;
mod ending;
pub(crate) mod error;
#[cfg(test)]
mod fixture;
mod given;
mod groups;
mod insert;
mod inspect;
mod keys;
mod line;
mod names;
mod notify;
mod options;
mod outcome;
mod passing;
mod pool;
pub(crate) mod presence;
mod prompt;
mod reclaim;
pub(crate) mod register;
mod render;
pub(crate) mod row;
mod runs;
pub(crate) mod schema;
mod series;
pub(crate) mod session;
mod stage;
mod sweep;
mod tables;
mod take;
mod tasks;
pub(crate) mod tls;
pub(crate) mod value;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_postgres::Config;

pub(crate) use connection::blocking;
pub use options::{Options, Pooler, SCHEMA, TlsMode};

use crate::id::Incarnation;
use crate::register::Tier;
use crate::store::notify::Bell;
use crate::store::render::Rendered;
use crate::store::rules::{self, Performer};
use crate::store::spent::Spent;
use crate::store::{self, Applied, Batch, Capabilities, Change, Kind, Store, lifecycle};
use crate::time::Timestamp;
use connection::Connector;
use error::{Fault, Result};
use notify::{Keeper, Shared, StoreClock, Waiting};
use pool::{Durability, Look, Pool, Txn, Write, again};
use presence::{Guard, Presences, Role};
use register::Identity;
use row::column;
use schema::{Content, Schema};
use session::Session;

/// The name of this backend in errors and capabilities.
pub(crate) const BACKEND: &str = "postgres";

/// The oldest server that is known to do what is asked of it.
const SERVER_VERSION_MIN: i32 = 120_000;

/// The tables are made by one of those who open a store, while the others wait for it.
const MIGRATE: Write<'static> = Write {
    durability: Durability::Flushed,
    failpoints: ["", ""],
    wakes: None,
};
const ENROLLED: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: None,
};

/// A store in a schema of a Postgres database, which may be an application's too.
pub struct PostgresStore {
    process: u32,
    /// Tells this open store from others among those that wait.
    instance: Incarnation,
    identity: Identity,
    is_original: bool,
    capabilities: Capabilities,
    clock: Arc<StoreClock>,
    pool: Arc<Pool>,
    presences: Presences,
    enrolled: Mutex<Vec<Guard>>,
    spent: Spent,
    sweeps: sweep::Sweeps,
    /// Whether batches may be made in one piece, and ends of claims with their keys, and with their groups.
    steps: prompt::Steps,
    keyed: prompt::Steps,
    passing: prompt::Steps,
    bell: Arc<Bell>,
    waiting: Arc<Waiting>,
    lines: claim::Lines,
    keeper: Keeper,
}

/// What is found when a store is opened.
struct Found {
    identity: Identity,
    is_original: bool,
    latest: Timestamp,
    /// The settings for which the server does not wait for its disk.
    lax: Vec<&'static str>,
}

impl PostgresStore {
    /// Opens the store in the database at `address`, a connection string or URL of libpq's form without
    /// parameters about TLS, and makes its tables if there are none.
    ///
    /// # Errors
    /// [`Kind::NoStore`] if there is none and the options say that none is to be made.
    /// [`Kind::Foreign`], [`Kind::Corrupt`] and [`Kind::NewerVersion`]: the schema is as it was.
    /// [`Kind::Invalid`], [`Kind::ReadOnly`], [`Kind::Full`], [`Kind::Unavailable`] as they say.
    ///
    /// # Blocking
    /// Until the server has answered, for at most the time-outs of `options`.
    pub fn open(address: &str, options: Options) -> store::Result<Self> {
        let open = || {
            // The driver's error could quote a part of the password.
            let config = address.parse::<Config>().map_err(|_| {
                Kind::Invalid("the address of the server cannot be understood".to_owned())
            })?;
            blocking(|| Self::connect(config, options))
        };
        open().map_err(|fault: Fault| fault.during("open its database"))
    }

    fn connect(config: Config, options: Options) -> Result<Self> {
        let schema = Arc::new(Schema::new(&options.schema)?);
        let (given, create, relaxed) = (options.clock.clone(), options.create, options.relaxed);
        let connector = Arc::new(Connector::new(config, options, Arc::clone(&schema)));
        let pool = Arc::new(Pool::new(Arc::clone(&connector)));
        prepare(&pool, &schema, create)?;
        let found = pool.read(|session| find(session, &schema))?;
        let clock = Arc::new(StoreClock::new(given, found.latest));
        let (presences, bell) = (Presences::default(), Arc::new(Bell::default()));
        let waiting = Arc::new(Waiting::default());
        let keeper = Keeper::start(Shared {
            connector,
            pool: Arc::clone(&pool),
            clock: Arc::clone(&clock),
            presences: presences.clone(),
            bell: Arc::clone(&bell),
            waiting: Arc::clone(&waiting),
        });
        Ok(Self {
            process: std::process::id(),
            instance: Incarnation::random(),
            capabilities: capabilities(&found, relaxed),
            identity: found.identity,
            is_original: found.is_original,
            clock,
            pool,
            presences,
            enrolled: Mutex::default(),
            spent: Spent::default(),
            sweeps: sweep::Sweeps::default(),
            steps: prompt::Steps::default(),
            keyed: prompt::Steps::default(),
            passing: prompt::Steps::default(),
            bell,
            waiting,
            lines: claim::Lines::default(),
            keeper,
        })
    }

    /// Returns the schema that the store is in.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.pool.connector().schema().name()
    }

    /// Returns what connections to the store's database are made from, and how.
    pub(crate) fn reach(&self) -> (&Config, &Options) {
        let connector = self.pool.connector();
        (connector.config(), connector.options())
    }

    /// Returns what the store's statements are written for.
    pub(crate) fn tables(&self) -> &Schema {
        self.pool.connector().schema()
    }

    /// Tells the store's database from its clones.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.identity.fingerprint
    }

    /// Has those who wait look, in this process and in others: for who has committed tasks on a
    /// connection of their own.
    pub fn announce(&self) {
        self.lines.fronts.forget();
        self.bell.ring();
        let told =
            self.read(|session| session.query(notify::NOTIFY, vec![notify::EVERYBODY.into()]));
        if let Err(fault) = told {
            tracing::warn!(
                ?fault,
                "those who wait in other processes find out by polling"
            );
        }
    }

    fn clock_now(&self) -> Result<Timestamp> {
        self.clock.now(&self.pool)
    }

    fn read<T>(&self, look: impl FnOnce(&mut Look<'_>) -> Result<T>) -> Result<T> {
        self.pool.read(look)
    }

    fn write<T>(
        &self,
        write: Write<'_>,
        operation: impl FnOnce(&mut Txn<'_>) -> Result<T>,
    ) -> Result<T> {
        self.pool.write(write, operation)
    }

    /// Writes what may have to be done [again].
    fn write_again<T>(
        &self,
        write: Write<'_>,
        mut operation: impl FnMut(&mut Txn<'_>) -> Result<T>,
    ) -> Result<T> {
        again(|| self.write(write, &mut operation))
    }

    /// Has those who wait in this process look, after something that may have changed what they wait for.
    fn ring_after<T>(&self, done: &Result<T>) {
        let may_have = |fault: &Fault| fault.kind == Kind::Unknown;
        if done.as_ref().err().is_none_or(may_have) {
            self.lines.fronts.forget();
            self.bell.ring();
        }
    }
}

/// Those who were enrolled here begin no more transactions.
impl Drop for PostgresStore {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        let managers = self.presences.attended(Role::Manager);
        let managers: Vec<_> = managers.into_iter().map(|(manager, _)| manager).collect();
        self.enrolled.lock().clear();
        if managers.is_empty() {
            return;
        }
        let ended = self.pool.write(ENROLLED, |session| {
            register::keep_alive(session, &managers, Timestamp::EPOCH)
        });
        if let Err(fault) = ended {
            tracing::debug!(
                ?fault,
                "others wait until the leases of this process have run out"
            );
        }
    }
}

impl Store for PostgresStore {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn render(&self, batch: &Batch, now: Timestamp) -> store::Result<Rendered> {
        let rendered = render::render(self.tables(), self.fingerprint(), batch, now);
        rendered.map_err(|fault| fault.during("render a batch"))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.schema())
            .field("id", &self.identity.id)
            .finish_non_exhaustive()
    }
}

/// Performs a batch in a transaction that is not the store's: the tasks are visible when the caller
/// commits, and those who wait in other processes are told by it. After an error the caller rolls back to
/// where it was before.
pub(crate) fn write_batch(
    session: &mut dyn Session,
    batch: Batch,
    now: Timestamp,
) -> store::Result<Applied> {
    let write = || {
        rules::check(&batch)?;
        let applied = batch::perform_only(Performer::at_once(session, now), batch)?;
        Ok(applied)
    };
    write().map_err(|fault: Fault| fault.during("write a batch in another's transaction"))
}

/// Performs a batch that [is one insert](is_one_insert) in a transaction that is not the store's, and has
/// those who wait in other processes told when the caller commits: in one round trip.
pub(crate) fn write_one(
    session: &mut dyn Session,
    batch: &Batch,
    now: Timestamp,
) -> store::Result<Applied> {
    let mut write = || {
        rules::check(batch)?;
        for mut record in batch.inserts().cloned() {
            lifecycle::publish(&mut record, false, now)?;
            insert::insert_and_tell(session, &record)?;
        }
        Ok(Applied::default())
    };
    write().map_err(|fault: Fault| fault.during("write a task in another's transaction"))
}

/// Has those who wait in other processes told when the caller commits.
pub(crate) fn tell(session: &mut dyn Session) -> store::Result<()> {
    let told = session.query(notify::ECHO, Vec::new());
    told.map(drop)
        .map_err(|fault| fault.during("tell those who wait"))
}

/// Whether a batch is one task on which nothing hangs: it is written by one statement, or refused.
pub(crate) fn is_one_insert(batch: &Batch) -> bool {
    matches!(&batch.changes[..], [Change::Insert(record)] if insert::is_plain(record))
}

/// Says which database a foreign transaction is in, and, if it is the store's, tells those who wait in
/// other processes when it commits: in one round trip, because it is asked for each such transaction.
const ENLIST: &str = concat!(
    "SELECT f.here, CASE WHEN f.here = $2 THEN pg_catalog.pg_notify(
         'votive_' || pg_catalog.to_regclass('@.task')::oid::pg_catalog.text, '') IS NULL END
     FROM (",
    register::fingerprint_query!(),
    ") AS f"
);

/// Returns the fingerprint of the database that a foreign transaction is in; `None` if it has no schema of
/// the store's name. If it is the store's own, those who wait in other processes are told when it
/// commits. Such commits wait for each other's flush, so this is for those whose commit votive does not
/// see.
pub(crate) fn enlist(
    session: &mut dyn Session,
    store: &PostgresStore,
) -> store::Result<Option<String>> {
    let mut ask = || {
        let values = vec![store.schema().into(), store.fingerprint().into()];
        let found = session.first(ENLIST, values)?;
        found.map(|row| column(&row, 0)).transpose()
    };
    ask().map_err(|fault: Fault| fault.during("look at another's transaction"))
}

/// Makes the tables, or brings them up to date.
fn prepare(pool: &Pool, schema: &Schema, create: bool) -> Result<()> {
    let content = pool.read(|session| {
        refuse_server(session)?;
        schema::recognise(session, schema)
    })?;
    match content {
        Content::Store(schema::VERSION) => Ok(()),
        Content::Nothing if !create => {
            let what = format!("nothing of one is in the schema `{}`", schema.name());
            Err(Kind::NoStore(what).into())
        }
        _ => pool.write(MIGRATE, |txn| schema::migrate(txn, schema)),
    }
}

fn refuse_server(session: &mut dyn Session) -> Result<()> {
    let row = session.first(
        "SELECT current_setting('server_version_num')::integer, pg_catalog.pg_is_in_recovery()",
        Vec::new(),
    )?;
    let row = row.ok_or_else(|| Fault::corrupt("the server has no version"))?;
    let version = column::<i32>(&row, 0)?;
    if version < SERVER_VERSION_MIN {
        let what = format!(
            "the server is version {}, but 12 is needed",
            version / 10_000
        );
        return Err(Kind::Invalid(what).into());
    }
    if column(&row, 1)? {
        return Err(Kind::ReadOnly.into());
    }
    Ok(())
}

fn find(session: &mut dyn Session, schema: &Schema) -> Result<Found> {
    let identity = register::identity(session)?
        .ok_or_else(|| Fault::corrupt("the identity of the store is missing"))?;
    let lax = session.query(
        "SELECT name FROM pg_catalog.pg_settings
         WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'",
        Vec::new(),
    )?;
    let is_lax = |name: &str| {
        lax.iter()
            .any(|row| column(row, 0).is_ok_and(|found: &str| found == name))
    };
    Ok(Found {
        is_original: register::fingerprint(session, schema)? == identity.fingerprint,
        identity,
        latest: latest(session)?,
        lax: ["fsync", "full_page_writes"]
            .into_iter()
            .filter(|name| is_lax(name))
            .collect(),
    })
}

fn capabilities(found: &Found, relaxed: bool) -> Capabilities {
    let tier = if found.lax.is_empty() || relaxed {
        Tier::Enlisted
    } else {
        Tier::Volatile
    };
    let mut capabilities = Capabilities::new(BACKEND, tier);
    capabilities.shared = true;
    capabilities.renders = true;
    if !found.is_original {
        let caveat = "the database was copied or restored: decisions wait until it is adopted";
        capabilities.caveats.push(caveat.to_owned());
    }
    for name in &found.lax {
        let caveat =
            format!("the server has {name}=off: a crash of its machine may lose what it has");
        capabilities.caveats.push(caveat);
    }
    capabilities
}

/// Returns the latest instant that the store has seen, below which its clock must not fall.
fn latest(session: &mut dyn Session) -> Result<Timestamp> {
    let row = session.first(
        "SELECT max(at) FROM (
            SELECT (SELECT published_at FROM @.task ORDER BY seq DESC LIMIT 1) AS at
            UNION ALL SELECT max(claimed_at) FROM @.claim
            UNION ALL SELECT max(staged_at) FROM @.staged) AS seen",
        Vec::new(),
    )?;
    let latest = row.map(|row| row::optional_instant(&row, 0)).transpose()?;
    Ok(latest.flatten().unwrap_or(Timestamp::EPOCH))
}
