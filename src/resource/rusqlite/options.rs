//! How a database is opened and its transactions are begun.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

type Setup = dyn Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync;

/// How a [`Database`](super::Database) is opened and its transactions are begun.
#[derive(Clone)]
pub struct Options {
    pub(super) busy_timeout: Duration,
    pub(super) register_timeout: Duration,
    pub(super) deferred: bool,
    pub(super) wal: bool,
    pub(super) setup: Option<Arc<Setup>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            register_timeout: Duration::from_secs(1),
            deferred: false,
            wal: true,
            setup: None,
        }
    }
}

impl Options {
    /// Sets how long a transaction waits for another one's lock. After that the work fails with a
    /// conflict, which may be retried. Defaults to 5 s.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a question to the register waits for a transaction that is under way. After that
    /// whoever asked stays in doubt, and asks again later. Defaults to 1 s.
    #[must_use]
    pub fn register_timeout(mut self, timeout: Duration) -> Self {
        self.register_timeout = timeout;
        self
    }

    /// Begins transactions with `BEGIN DEFERRED` instead of `BEGIN IMMEDIATE`: those that only read do
    /// not wait for a writer, but one that reads first and writes later may meet a conflict that no
    /// waiting solves. Defaults to false.
    #[must_use]
    pub fn deferred(mut self, deferred: bool) -> Self {
        self.deferred = deferred;
        self
    }

    /// Turns the file to write-ahead logging, which stays with the file: readers and the writer do not
    /// wait for each other, and a commit waits for the disk once. If false the file's mode is left as
    /// it is. Defaults to true.
    #[must_use]
    pub fn wal(mut self, wal: bool) -> Self {
        self.wal = wal;
        self
    }

    /// Sets what is done with each new connection before its first use: pragmas, functions, hooks. Connections are used
    /// again, for one transaction after the other. Defaults to nothing.
    #[must_use]
    pub fn setup(
        mut self,
        setup: impl Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.setup = Some(Arc::new(setup));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("busy_timeout", &self.busy_timeout)
            .field("register_timeout", &self.register_timeout)
            .field("deferred", &self.deferred)
            .field("wal", &self.wal)
            .finish_non_exhaustive()
    }
}
