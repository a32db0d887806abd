//! The connections of one database. One is lent to one transaction at a time, and used again.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use postgres::config::{Host, SslMode};
use postgres::{CancelToken, Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::DatabaseError;
use super::options::{Options, millis};
use crate::id::{ResourceId, TxnId};
use crate::store::postgres::error::Fault;
use crate::store::postgres::register::{self, Identity};
use crate::store::postgres::schema::Schema;
use crate::store::postgres::session::{Foreign, Session, Statements};
use crate::store::postgres::{Pooler, TlsMode, blocking, tls};

/// What a connection is to, whatever its address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Database {
    /// Which cluster.
    system: u64,
    /// Which of its databases.
    oid: u32,
}

impl Database {
    /// The name of a database that can prepare.
    pub(super) fn id(self) -> ResourceId {
        let mut fingerprint = [0; 12];
        let bytes = self.system.to_be_bytes().into_iter();
        let bytes = bytes.chain(self.oid.to_be_bytes());
        fingerprint
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = byte);
        ResourceId::of_preparing_database(fingerprint)
    }
}

/// How many statements of the application are kept on a connection.
const KEPT_MAX: usize = 100;

/// A connection, and what was prepared on it.
pub(super) struct Connection {
    client: Client,
    statements: Statements,
    /// Those of the application, by their text.
    kept: HashMap<String, Statement>,
    /// Says how the transaction is.
    look: Option<Statement>,
    /// Whether it has what the [commands of a commit](register::commit) need.
    is_prepared: bool,
    database: Database,
    prepared_max: i64,
    /// Whether somebody asked to interrupt it: the interruption may come late, and meet another.
    interrupted: Arc<AtomicBool>,
    /// Whether nobody knows what state it is in.
    spoiled: bool,
}

/// A connection on loan; dropping it gives it back. Who began a transaction ends it before.
pub(super) type Loan = ArcMutexGuard<RawMutex, Connection>;

impl Connection {
    /// Executes votive's own statements in a schema.
    pub(super) fn session<'a>(&'a mut self, schema: &'a Schema) -> Foreign<'a, Client> {
        Foreign::new(&mut self.client, schema, Some(&mut self.statements))
    }

    /// Looks which transaction is open, whether it has changed anything, and what its commit will wait for.
    pub(super) fn look(&mut self) -> Result<Row, postgres::Error> {
        let look = match &self.look {
            Some(look) => look,
            None => self.look.insert(self.client.prepare(
                "SELECT pg_catalog.current_setting('votive.txn', true),
                     pg_catalog.txid_current_if_assigned() IS NOT NULL,
                     pg_catalog.current_setting('fsync'),
                     pg_catalog.current_setting('synchronous_commit')",
            )?),
        };
        self.client.query_one(look, &[])
    }

    /// Prepares a statement of the application, or returns it as it was prepared before.
    pub(super) fn prepare_cached(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.kept.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// How many transactions the server can keep prepared.
    pub(super) fn prepared_max(&self) -> i64 {
        self.prepared_max
    }

    /// Whether the commands of a commit need no preparation any more.
    pub(super) fn is_prepared(&self) -> bool {
        self.is_prepared
    }

    pub(super) fn note_prepared(&mut self) {
        self.is_prepared = true;
    }

    /// Has it replaced before it is lent again.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    fn is_fit(&self) -> bool {
        !self.spoiled && !self.interrupted.load(Ordering::SeqCst) && !self.client.is_closed()
    }

    /// Returns what interrupts a statement from another thread, after which the connection is not lent
    /// to anybody else.
    pub(super) fn interrupter(&self) -> impl Fn(MakeRustlsConnect) + Send + use<> {
        let token: CancelToken = self.client.cancel_token();
        let interrupted = Arc::clone(&self.interrupted);
        move |tls| {
            interrupted.store(true, Ordering::SeqCst);
            if let Err(error) = token.cancel_query(tls) {
                tracing::warn!(%error, "a statement could not be interrupted");
            }
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// The connections of one database.
pub(super) struct Pool {
    place: String,
    config: Config,
    tls: MakeRustlsConnect,
    options: Options,
    schema: Schema,
    database: Option<Database>,
    identity: Option<Identity>,
    connections: Mutex<Vec<Arc<Mutex<Connection>>>>,
    process: u32,
}

impl Pool {
    /// Connects for the first time, and notes which database it is and whose register it holds; one that
    /// was made for another database is refused.
    pub(super) fn open(config: Config, options: Options) -> Result<Self, DatabaseError> {
        let pool = Self::open_unverified(config, options)?;
        pool.verify()?;
        Ok(pool)
    }

    /// Does the same, whatever database the register was made for.
    pub(super) fn open_unverified(config: Config, options: Options) -> Result<Self, DatabaseError> {
        let mut pool = Self::open_without_register(config, options)?;
        let mut loan = pool.lend()?;
        let found = pool.ask(&mut loan, "say whose register it holds", |session| {
            identity(session, &pool.schema)
        })?;
        drop(loan);
        pool.identity = found;
        Ok(pool)
    }

    /// Connects for the first time, and notes which database it is.
    pub(super) fn open_without_register(
        config: Config,
        options: Options,
    ) -> Result<Self, DatabaseError> {
        let place = place(&config);
        if options.connection.pooler == Pooler::Transaction {
            return Err(DatabaseError::Pooled(place));
        }
        let fails = |fault: Fault| tables(&place, "read the options")(fault);
        let mut pool = Self {
            tls: tls::connector(&options.connection).map_err(fails)?,
            config: prepare(config, &options),
            schema: Schema::new(&options.schema).map_err(fails)?,
            database: None,
            identity: None,
            connections: Mutex::default(),
            process: std::process::id(),
            options,
            place,
        };
        let connection = pool.connect()?;
        pool.database = Some(connection.database);
        pool.connections
            .lock()
            .push(Arc::new(Mutex::new(connection)));
        Ok(pool)
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The name of the database if it is one that prepares; the same in every process.
    pub(super) fn preparing_id(&self) -> ResourceId {
        self.database.map_or_else(ResourceId::random, Database::id)
    }

    /// Which of its cluster's databases it is.
    pub(super) fn oid(&self) -> u32 {
        self.database.map_or(0, |database| database.oid)
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Lends a connection inside a transaction.
    pub(super) fn begin(&self, txn: TxnId) -> Result<Loan, DatabaseError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL {} READ WRITE; SET LOCAL synchronous_commit = on; \
             SET LOCAL lock_timeout = {}; SET LOCAL votive.txn = '{txn}'",
            self.options.isolation.sql(),
            millis(self.options.lock_timeout),
        );
        let lent = self.on_loan("begin a transaction", |connection| {
            connection.batch_execute(&begin)
        });
        lent.map(|(loan, ())| loan)
    }

    /// Lends a connection after `first` was done with it. One that turns out to have been closed while
    /// nobody used it, as by a server that was restarted, is replaced.
    pub(super) fn on_loan<T>(
        &self,
        operation: &'static str,
        first: impl Fn(&mut Connection) -> Result<T, postgres::Error>,
    ) -> Result<(Loan, T), DatabaseError> {
        let mut loan = self.lend()?;
        let mut done = self.run(operation, || first(&mut loan));
        if done.is_err() && loan.client.is_closed() {
            self.renew(&mut loan)?;
            done = self.run(operation, || first(&mut loan));
        }
        done.map(|done| (loan, done))
    }

    fn lend(&self) -> Result<Loan, DatabaseError> {
        self.check_process()?;
        let free = self.connections.lock().iter().find_map(Mutex::try_lock_arc);
        let Some(mut loan) = free else {
            return self.lend_another();
        };
        if !loan.is_fit() {
            self.renew(&mut loan)?;
        }
        Ok(loan)
    }

    fn lend_another(&self) -> Result<Loan, DatabaseError> {
        let connection = Arc::new(Mutex::new(self.connect()?));
        let loan = connection.lock_arc();
        self.connections.lock().push(connection);
        Ok(loan)
    }

    fn renew(&self, loan: &mut Loan) -> Result<(), DatabaseError> {
        let old = std::mem::replace(&mut **loan, self.connect()?);
        close(old);
        Ok(())
    }

    /// Makes a connection that is not lent to anybody else.
    pub(super) fn connect(&self) -> Result<Connection, DatabaseError> {
        self.check_process()?;
        let mut client = self.run("be connected to", || self.config.connect(self.tls.clone()))?;
        let found = self.run("say which database it is", || {
            client.query_one(
                "SELECT c.system_identifier, d.oid::bigint, pg_catalog.pg_is_in_recovery(),
                     pg_catalog.current_setting('max_prepared_transactions')::bigint
                 FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d
                 WHERE d.datname = pg_catalog.current_database()",
                &[],
            )
        })?;
        let read = || {
            let database = Database {
                system: found.try_get::<_, i64>(0)?.cast_unsigned(),
                oid: u32::try_from(found.try_get::<_, i64>(1)?).unwrap_or(u32::MAX),
            };
            Ok((database, found.try_get(2)?, found.try_get(3)?))
        };
        let (database, is_standby, prepared_max) = read().map_err(self.fails("say what it is"))?;
        if is_standby {
            return Err(DatabaseError::Standby(self.place.clone()));
        }
        if self.database.is_some_and(|opened| opened != database) {
            return Err(DatabaseError::Replaced(self.place.clone()));
        }
        if let Some(setup) = &self.options.setup {
            self.run("be set up", || setup(&mut client))?;
        }
        if self.options.is_shared {
            // So that tasks are not written one by one where a transaction was ended by hand.
            let read_only = "SET default_transaction_read_only = on";
            self.run("be set up", || client.batch_execute(read_only))?;
        }
        Ok(Connection {
            client,
            statements: Statements::default(),
            kept: HashMap::new(),
            look: None,
            is_prepared: false,
            database,
            prepared_max,
            interrupted: Arc::default(),
            spoiled: false,
        })
    }

    /// Refuses a register that was made for another database.
    fn verify(&self) -> Result<(), DatabaseError> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let mut loan = self.lend()?;
        let found = self.ask(&mut loan, "be told from its clones", |session| {
            register::fingerprint(session, &self.schema)
        })?;
        if identity.fingerprint == found {
            return Ok(());
        }
        Err(DatabaseError::Moved {
            place: self.place.clone(),
            recorded: identity.fingerprint.clone(),
            found,
        })
    }

    /// Runs what waits for the server, but not in a fork, whose connections are still the parent's.
    pub(super) fn run<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, postgres::Error>,
    ) -> Result<T, DatabaseError> {
        self.block(work)?.map_err(self.fails(operation))
    }

    /// Runs what waits for the server and has an error of its own.
    pub(super) fn block<T>(&self, work: impl FnOnce() -> T) -> Result<T, DatabaseError> {
        self.check_process()?;
        blocking(|| Ok(work())).map_err(|_| DatabaseError::Asynchronous(self.place.clone()))
    }

    /// Runs votive's own statements on a connection.
    pub(super) fn ask<T>(
        &self,
        connection: &mut Connection,
        operation: &'static str,
        work: impl FnOnce(&mut dyn Session) -> Result<T, Fault>,
    ) -> Result<T, DatabaseError> {
        self.block(|| work(&mut connection.session(&self.schema)))?
            .map_err(self.tables(operation))
    }

    /// Names the database and what was being done in an error of the driver.
    pub(super) fn fails(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(postgres::Error) -> DatabaseError {
        let place = self.place.clone();
        move |source| DatabaseError::Postgres {
            place,
            operation,
            source,
        }
    }

    /// Names the database and what was being done in an error of the register or the store.
    pub(super) fn tables(&self, operation: &'static str) -> impl FnOnce(Fault) -> DatabaseError {
        tables(&self.place, operation)
    }

    fn check_process(&self) -> Result<(), DatabaseError> {
        if self.process == std::process::id() {
            Ok(())
        } else {
            Err(DatabaseError::Forked(self.place.clone()))
        }
    }
}

impl Drop for Pool {
    /// In a fork the connections are still the parent's, and are not to be closed.
    fn drop(&mut self) {
        let connections = std::mem::take(&mut *self.connections.lock());
        if self.check_process().is_ok() {
            close(connections);
        } else {
            std::mem::forget(connections);
        }
    }
}

/// Closes connections. The driver waits for that, which it cannot do on the thread of a runtime that has
/// only one; there they are left to the server, which notices when the process ends.
pub(super) fn close<T>(connections: T) {
    let mut connections = Some(connections);
    let closed = blocking(|| {
        drop(connections.take());
        Ok(())
    });
    if closed.is_err() {
        tracing::warn!("connections stay open: an asynchronous thread cannot close them");
        std::mem::forget(connections);
    }
}

/// Reads whose register a schema holds.
fn identity(session: &mut dyn Session, schema: &Schema) -> Result<Option<Identity>, Fault> {
    if register::is_there(session, schema)? {
        register::identity(session)
    } else {
        Ok(None)
    }
}

fn tables(place: &str, operation: &'static str) -> impl FnOnce(Fault) -> DatabaseError {
    let place = place.to_owned();
    move |fault| DatabaseError::Tables {
        place,
        kind: fault.register_kind(),
        source: fault.during(operation),
    }
}

fn prepare(mut config: Config, options: &Options) -> Config {
    config
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_secs(30));
    if config.get_application_name().is_none() {
        config.application_name("votive");
    }
    config.ssl_mode(match options.connection.tls {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyFull => SslMode::Require,
    });
    config
}

/// Host, port and name of a database: what may be shown.
fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config
            .get_hostaddrs()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let name = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or_default();
    format!("the database `{name}` at {host}:{port}")
}
