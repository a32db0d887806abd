//! Errors of stores: what happened, where, and what state the world is in.

use std::error::Error as StdError;
use std::fmt;

use crate::id::{Incarnation, TaskId, TxnId};

/// An error of a store: kind × backend × operation × source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub struct Error {
    /// What a program can act on.
    pub kind: Kind,
    /// The backend, such as `sqlite`.
    pub backend: &'static str,
    /// What was being done, as a verb phrase.
    pub operation: &'static str,
    /// The driver's error, if there was one.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} store could not {}: {}",
            self.backend, self.operation, self.kind
        )
    }
}

impl Error {
    /// Creates an error without a source.
    #[must_use]
    pub fn new(kind: Kind, backend: &'static str, operation: &'static str) -> Self {
        Self {
            kind,
            backend,
            operation,
            source: None,
        }
    }

    /// Adds the driver's error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Finds the store's error among an error and what caused it.
    #[must_use]
    pub fn among<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Whether the same call, in a fresh transaction, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Conflict | Kind::Unavailable)
    }

    /// Whether the call definitely changed nothing.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(self.kind, Kind::Unknown)
    }
}

/// What went wrong. A variant exists only where a program would act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// The claim is no longer this holder's. Nothing changed.
    #[error("the claim on task {0} was lost to another holder or has ended")]
    ClaimLost(TaskId),
    /// The claim has a staged settlement already. Nothing changed.
    #[error("the claim on task {0} is pinned by a settlement in doubt")]
    Pinned(TaskId),
    /// Another visible task holds the unique key. Nothing changed.
    #[error("the unique key `{key}` is held by task {holder}")]
    NotUnique {
        /// The key.
        key: String,
        /// Who holds it.
        holder: TaskId,
    },
    /// As many tasks of the queue are pending as may be. Nothing changed.
    #[error("the queue `{queue}` is full: at most {pending_max} of its tasks may be pending")]
    QueueFull {
        /// The queue.
        queue: String,
        /// How many tasks may be pending in it.
        pending_max: u64,
    },
    /// The task is not in an expected state. Nothing changed.
    #[error("task {task} is {found}")]
    StateChanged {
        /// The task.
        task: TaskId,
        /// Its state, or `missing`.
        found: &'static str,
    },
    /// The mark has another value than expected. Nothing changed.
    #[error("the mark `{0}` has another value than expected")]
    MarkChanged(String),
    /// A task of this id is there already. Nothing changed.
    #[error("task {0} is there already")]
    TaskExists(TaskId),
    /// The transaction was decided before: a stage that came late. Nothing changed.
    #[error("transaction {0} is decided already")]
    Decided(TxnId),
    /// The transaction is staged already, with another batch. Nothing changed.
    #[error("transaction {0} is staged already with another batch")]
    StagedOtherwise(TxnId),
    /// The incarnation is not enrolled here: draw a new one. Nothing changed.
    #[error("incarnation {0} is not enrolled here, or was dropped")]
    IncarnationGone(Incarnation),
    /// A name or a value is outside its bounds. Nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// Another transaction is in the way for now. Nothing changed; may be retried.
    #[error("another transaction is in the way")]
    Conflict,
    /// The store cannot be reached, or is locked for longer than the time-out. Nothing changed; may
    /// be retried.
    #[error("it cannot be reached or is locked by another process")]
    Unavailable,
    /// The answer was lost: the change may or may not have happened. Ask the register.
    #[error("its answer was lost, and the change may have happened")]
    Unknown,
    /// There is no room. Nothing changed.
    #[error("there is no room left: free some space and try again")]
    Full,
    /// The store, or its folder, may not be written to. Nothing changed.
    #[error("it is read-only: check the permissions of the file and of its folder")]
    ReadOnly,
    /// The server may lose what it acknowledges, so that no transaction can rely on it. Nothing changed.
    #[error("it may lose what it has acknowledged, so it takes part in no transaction: {0}")]
    NotDurable(String),
    /// The store, or something that is kept in it, was written by a newer version of votive. Nothing changed.
    #[error("its format is version {found}, but this program reads up to {known}: upgrade votive")]
    NewerVersion {
        /// The version found.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// There is no store here, and none was to be made. Nothing changed.
    #[error("there is no store: {0}")]
    NoStore(String),
    /// The place holds something that is not a votive store. Nothing changed.
    #[error("it belongs to another program, and is left untouched: {0}")]
    Foreign(String),
    /// What is stored is damaged; where, is in the text.
    #[error("it is damaged: {0}")]
    Corrupt(String),
    /// A flush failed before, so that nobody knows what is on disk. Nothing changed; open it again.
    #[error("an earlier flush failed, so what is on disk is not known: open it again")]
    Poisoned,
    /// This process is a fork of the one that opened the store. Nothing changed; open it again.
    #[error("it was opened before a fork: open it again in the child")]
    Forked,
    /// The backend does not do this.
    #[error("this backend does not do that")]
    Unsupported,
    /// Anything else. Nothing changed.
    #[error("an unexpected failure")]
    Other,
}
