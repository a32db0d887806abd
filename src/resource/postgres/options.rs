//! How a database is reached and its transactions are begun.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postgres::Client;

use crate::store::postgres::{self as store, PostgresStore, TlsMode};
use crate::store::url::{StoreUrl, UrlError};

type Setup = dyn Fn(&mut Client) -> Result<(), postgres::Error> + Send + Sync;

/// How much a transaction sees of others that commit meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was committed when it began.
    #[default]
    ReadCommitted,
    /// All statements see what was committed at the first one; who changes what another has changed
    /// meanwhile meets a conflict.
    RepeatableRead,
    /// As if transactions ran one after the other; what would not fit meets a conflict.
    Serializable,
}

impl Isolation {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// How a [`Database`](super::Database) is reached and its transactions are begun.
#[derive(Clone)]
pub struct Options {
    pub(super) connection: store::Options,
    pub(super) schema: String,
    pub(super) connect_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) register_timeout: Duration,
    pub(super) isolation: Isolation,
    pub(super) setup: Option<Arc<Setup>>,
    /// Whether the tasks of a store are written on its connections.
    pub(super) is_shared: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connection: store::Options::default(),
            schema: store::SCHEMA.to_owned(),
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            register_timeout: Duration::from_secs(1),
            isolation: Isolation::default(),
            setup: None,
            is_shared: false,
        }
    }
}

impl Options {
    /// Reads the URL of a database, which takes the parameters of a store's; the first value is the address
    /// for [`Database::open_with`](super::Database::open_with).
    ///
    /// # Errors
    /// [`UrlError`] names the parameter that is not known or cannot be read.
    pub fn from_url(url: &StoreUrl) -> Result<(String, Self), UrlError> {
        let (address, connection) = store::Options::from_url(url)?;
        let options = Self {
            schema: connection.schema.clone(),
            connect_timeout: connection.connect_timeout,
            lock_timeout: connection.lock_timeout,
            connection,
            ..Self::default()
        };
        Ok((address, options))
    }

    /// Returns the schema that holds the register.
    #[must_use]
    pub fn schema_name(&self) -> &str {
        &self.schema
    }

    /// Has the database be reached as its store is.
    pub(super) fn of_store(mut self, store: &PostgresStore) -> Self {
        store.schema().clone_into(&mut self.schema);
        self.connection = store.reach().1.clone();
        self.is_shared = true;
        self
    }

    /// Sets the schema that holds the register. Defaults to `votive`.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets how much of the connection is protected. Defaults to [`TlsMode::Prefer`].
    #[must_use]
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.connection = self.connection.tls(mode);
        self
    }

    /// Sets a PEM file with the authorities to trust, instead of those that the machine trusts. Defaults
    /// to none; only [`TlsMode::VerifyFull`] asks for it.
    #[must_use]
    pub fn tls_root(mut self, file: impl Into<PathBuf>) -> Self {
        self.connection = self.connection.tls_root(file);
        self
    }

    /// Sets how long connecting may take. Defaults to 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a statement waits for a lock. After that the work fails with a conflict, which may be
    /// retried. Defaults to 5 s.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets how long a question to the register waits for a transaction that is under way. After that
    /// whoever asked stays in doubt, and asks again later. Defaults to 1 s.
    #[must_use]
    pub fn register_timeout(mut self, timeout: Duration) -> Self {
        self.register_timeout = timeout;
        self
    }

    /// Sets how much a transaction sees of others. Defaults to [`Isolation::ReadCommitted`].
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets what is done with each new connection before its first use, such as a `search_path`.
    /// Connections are used again, for one transaction after the other. Defaults to nothing.
    #[must_use]
    pub fn setup(
        mut self,
        setup: impl Fn(&mut Client) -> Result<(), postgres::Error> + Send + Sync + 'static,
    ) -> Self {
        self.setup = Some(Arc::new(setup));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .field("connect_timeout", &self.connect_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("register_timeout", &self.register_timeout)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}

/// A time-out as the server takes it.
pub(super) fn millis(timeout: Duration) -> u128 {
    // Zero would mean no timeout at all.
    timeout.as_millis().clamp(1, i32::MAX as u128)
}
