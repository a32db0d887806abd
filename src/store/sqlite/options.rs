//! How a SQLite store is opened.

use std::sync::Arc;
use std::time::Duration;

use crate::time::{Clock, SystemClock};

/// How a SQLite store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) busy_timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) wal_autocheckpoint: u32,
    pub(super) max_page_count: Option<u32>,
    pub(super) create: bool,
    pub(super) adopt: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
            wal_autocheckpoint: 1_000,
            max_page_count: None,
            create: true,
            adopt: false,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// How long a write waits for the other writers of the file before it is refused with
    /// [`Kind::Unavailable`](crate::store::Kind::Unavailable). Defaults to 5 s.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How often a waiting consumer looks although nothing told it to: the longest delay where other
    /// processes write and file notification does not work, as on some network file systems.
    /// Defaults to 1 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// After how many pages in the write-ahead log they are copied into the database. More make
    /// writing faster and the log longer. Defaults to 1,000.
    #[must_use]
    pub fn wal_autocheckpoint(mut self, pages: u32) -> Self {
        self.wal_autocheckpoint = pages;
        self
    }

    /// The largest size of the database, in pages of 4 KiB; beyond it writes are refused with
    /// [`Kind::Full`](crate::store::Kind::Full). Defaults to none.
    #[must_use]
    pub fn max_page_count(mut self, pages: u32) -> Self {
        self.max_page_count = Some(pages);
        self
    }

    /// Whether a file that is not there is created. Defaults to yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether a file that was copied, restored or moved is taken for the store that it says it is. Of
    /// several copies adopt one, and never a second: what one decides the other does not know.
    /// Defaults to no: such a store refuses to decide.
    #[must_use]
    pub fn adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// The clock of the store. Defaults to the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}
