//! How a file store is opened.

use std::sync::Arc;
use std::time::Duration;

use crate::time::{Clock, SystemClock};

/// How a file store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) poll_interval: Duration,
    pub(super) segment_size: u64,
    pub(super) room: u64,
    pub(super) create: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(1),
            segment_size: 32 << 20,
            room: 512 << 10,
            create: true,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// How often a waiting consumer looks although nothing told it to: the longest delay where other
    /// processes write and file notification does not work, as on some network file systems.
    /// Defaults to 1 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// From how many bytes on the journal goes on in a new segment, or from half as many again as it begins with,
    /// if that is more: the marks, and what is known of transactions. Space is given back by segments: what the folder
    /// takes is at most about twice what is in the store, and two segments. Processes that use the same store may
    /// differ in it. At most 1 GiB. Defaults to 32 MiB.
    #[must_use]
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// How many bytes of zeros are written at a time behind the end of the journal, to be overwritten by what is
    /// appended: a disk that has no longer file to note flushes faster. At most an eighth of a segment; with 0 the
    /// file is just as long as what is in it. Defaults to 512 KiB.
    #[must_use]
    pub fn room(mut self, bytes: u64) -> Self {
        self.room = bytes;
        self
    }

    /// Whether a folder that is not there is created. Defaults to yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The clock of the store. Defaults to the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}
