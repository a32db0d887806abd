//! The stored form of a task.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::task::{Account, DeadReason, Failure, Name, Options, Payload, State};
use crate::time::Timestamp;

/// How often what happened to a task. Kept apart, because each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Attempts that ended in an error, a panic or a timeout.
    pub attempts: u32,
    /// Conflicts since the last counted attempt.
    pub conflicts: u32,
    /// Times that its consumer was proved dead.
    pub reclaims: u32,
}

/// A task as a store keeps it: what the producer said, and what has become of it.
///
/// What the producer said is shared: a clone counts references instead of copying it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The task.
    pub id: TaskId,
    /// The queue that it is in.
    pub queue: Name,
    /// Its type tag.
    pub kind: Name,
    /// Its encoded value.
    pub payload: Payload,
    /// What the producer asked for.
    #[serde(with = "super::options::shared")]
    pub options: Arc<Options>,
    /// When the producer enqueued it.
    pub enqueued_at: Timestamp,
    /// When it became visible; `None` while staged.
    pub published_at: Option<Timestamp>,
    /// What has become of it.
    pub state: State,
    /// The earliest time of the next attempt; `None` if it may run at once.
    pub not_before: Option<Timestamp>,
    /// How often what happened.
    pub counts: Counts,
    /// What its runs left behind; `None` if that is nothing.
    pub account: Option<Box<Account>>,
    /// Why nobody will run it, if it is Dead.
    pub dead: Option<DeadReason>,
    /// When it reached a state that it will not leave by itself.
    pub ended_at: Option<Timestamp>,
    /// What a long task said of how far it is.
    pub progress: Option<String>,
}

impl Record {
    /// Creates the record of a task that is about to be enqueued, with default options.
    #[must_use]
    pub fn new(
        id: TaskId,
        queue: impl Into<Name>,
        kind: impl Into<Name>,
        payload: Payload,
        enqueued_at: Timestamp,
    ) -> Self {
        Self {
            id,
            queue: queue.into(),
            kind: kind.into(),
            payload,
            not_before: None,
            options: Options::usual(),
            enqueued_at,
            published_at: None,
            state: State::Staged,
            counts: Counts::default(),
            account: None,
            dead: None,
            ended_at: None,
            progress: None,
        }
    }

    /// Replaces the options, and takes the earliest time from them.
    #[must_use]
    pub fn with_options(mut self, options: impl Into<Arc<Options>>) -> Self {
        self.options = options.into();
        self.not_before = self.options.not_before;
        self
    }

    /// Returns why the last attempt failed, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.account.as_ref()?.failures.last()
    }

    /// Returns what the task gave when it was done, if that was kept.
    #[must_use]
    pub fn result(&self) -> Option<&Payload> {
        self.account.as_ref()?.result.as_ref()
    }

    /// Returns since when it is visible; until it is, when it was enqueued.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn visible_since(&self) -> Timestamp {
        self.published_at.unwrap_or(self.enqueued_at)
    }
}
