//! The kinds of work that are measured, alike on every store and on every peer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each has its title")]
pub enum Work {
    W1,
    W2,
    W3,
    W4,
    W5,
    W6,
    W7,
    W8,
}

/// What a figure counts, and so whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tasks per second: more is better.
    Rate,
    /// Milliseconds: less is better.
    Milliseconds,
    /// Per cent of one core: less is better.
    Core,
    /// Bytes per task: less is better.
    Bytes,
}

impl Work {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::W1,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W5,
        Self::W6,
        Self::W7,
        Self::W8,
    ];

    /// What is done.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::W1 => "one task per transaction",
            Self::W2 => "100 tasks per transaction",
            Self::W3 => "draining tasks that do nothing",
            Self::W4 => "from commit to start",
            Self::W5 => "claim and settle one by one, with a backlog",
            Self::W6 => "an idle consumer",
            Self::W7 => "two-phase commit beside the application's own commit",
            Self::W8 => "memory of a waiting task",
        }
    }

    /// What its figures count.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::W1 | Self::W2 | Self::W3 | Self::W5 | Self::W7 => Unit::Rate,
            Self::W4 => Unit::Milliseconds,
            Self::W6 => Unit::Core,
            Self::W8 => Unit::Bytes,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl Unit {
    /// Its name, as on an axis.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "tasks per second",
            Self::Milliseconds => "milliseconds",
            Self::Core => "% of a core",
            Self::Bytes => "bytes per task",
        }
    }
}
