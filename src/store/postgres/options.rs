//! How a Postgres store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Clock;

/// The schema that a store is in unless it is told another.
pub const SCHEMA: &str = "votive";

/// How much of the connection is protected, and against whom. The words are those of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Nothing is encrypted.
    Disable,
    /// Encrypted if the server offers it; nobody is checked. Protects against nothing that is active.
    #[default]
    Prefer,
    /// Encrypted, or refused; the server's certificate is not checked, so whoever stands in between may
    /// pose as the server.
    Require,
    /// Encrypted; the server's certificate must come from a trusted authority and name the host.
    VerifyFull,
}

/// Whether connections last as sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooler {
    /// Straight to the server, or through a pooler that keeps one session for one connection.
    #[default]
    Session,
    /// Through a pooler that hands out a server's session for one transaction at a time: nothing is
    /// prepared, nothing is set for longer than a transaction, nobody is notified, and waiting polls.
    Transaction,
}

/// How a Postgres store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) schema: String,
    pub(crate) tls: TlsMode,
    pub(super) tls_root: Option<PathBuf>,
    pub(crate) pooler: Pooler,
    pub(super) connections_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) create: bool,
    pub(super) relaxed: bool,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tls: TlsMode::default(),
            tls_root: None,
            pooler: Pooler::default(),
            connections_max: 16,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
            create: true,
            relaxed: false,
            clock: None,
        }
    }
}

impl Options {
    /// The schema with the tables, which holds nothing else. Stores of different schemas of one database
    /// know nothing of each other. Defaults to `votive`.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How much of the connection is protected. Defaults to [`TlsMode::Prefer`].
    #[must_use]
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.tls = mode;
        self
    }

    /// A PEM file with the authorities to trust, instead of those that the machine trusts. Defaults to
    /// none; only [`TlsMode::VerifyFull`] asks for it.
    #[must_use]
    pub fn tls_root(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_root = Some(file.into());
        self
    }

    /// What is between here and the server. Defaults to [`Pooler::Session`].
    #[must_use]
    pub fn pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// How many connections are open at most, but for the one that is notified; who finds none free
    /// waits for one. Defaults to 16.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count.max(1);
        self
    }

    /// How long connecting may take. Defaults to 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take before the connection is given up. A commit whose answer does not
    /// come in time is [`Kind::Unknown`](crate::store::Kind::Unknown). Defaults to 30 s. Only the questions of
    /// [`check`](crate::store::Inspect::check), which look at every task, may take an hour each.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// How long a statement waits for a lock before it is refused with
    /// [`Kind::Unavailable`](crate::store::Kind::Unavailable). Defaults to 5 s.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How often a waiting consumer looks although nothing told it to. Defaults to 1 s; behind a pooler
    /// that keeps no sessions, where nothing else wakes it, a tenth of it.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Whether tables that are not there are made. Defaults to yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether a server that does not wait for its disk (`fsync=off`) is taken for one that does. Defaults
    /// to no: such a server is worth no more than memory, and the store says so.
    #[must_use]
    pub fn relaxed(mut self, relaxed: bool) -> Self {
        self.relaxed = relaxed;
        self
    }

    /// The clock of the store instead of the server's, for tests. Defaults to none.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }
}
