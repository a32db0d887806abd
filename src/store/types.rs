//! The values that go into a store and come out of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ConsumerId, Incarnation, ResourceId, TaskId, Token, TxnId};
use crate::store::Kind;
use crate::task::{Options, Record, State, StateSet};
use crate::time::Timestamp;

/// What `apply` and `publish` made of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Tasks that merged into a task with the same unique key: (the new id, the one that stays).
    pub merged: Vec<(TaskId, TaskId)>,
}

/// What `publish` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The batch was staged and is visible now.
    Now(Applied),
    /// It was published before.
    Already,
    /// It was never staged, or is gone: to be counted and reported, never taken for success.
    Unknown,
}

/// A staged transaction that is not decided yet, as far as this store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InDoubt {
    /// The transaction.
    pub txn: TxnId,
    /// Where its outcome is written.
    pub register: ResourceId,
    /// When it was staged.
    pub staged_at: Timestamp,
    /// How many changes it holds.
    pub change_count: usize,
    /// The encoded size of the batch in bytes.
    pub size: usize,
}

/// What a consumer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks. Its incarnation must be attended.
    pub consumer: ConsumerId,
    /// How many tasks of which queue at most.
    pub wants: Vec<Want>,
    /// How long the lease lasts, where leases are timed.
    pub lease: Duration,
}

/// How many tasks of one queue a consumer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The queue.
    pub queue: String,
    /// The largest number of tasks.
    pub count: usize,
}

/// A task that was given to a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task, as it is now: `Claimed`, its `reclaims` already counted.
    pub record: Record,
    /// Proves the claim.
    pub token: Token,
    /// How it came.
    pub arrival: Arrival,
}

impl Claim {
    /// Names the claim.
    #[must_use]
    pub fn key(&self) -> ClaimKey {
        ClaimKey {
            task: self.record.id,
            token: self.token,
        }
    }
}

/// How a claimed task came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// In its turn.
    Fresh,
    /// From a consumer that was proved dead; whether it may run once more is the claimer's to judge.
    Reclaimed,
    /// Its `expires_at` has passed: it is to be buried, not run.
    Expired,
}

impl Arrival {
    /// How a task comes that is claimed at `now`.
    pub(in crate::store) fn at_claim(
        options: &Options,
        is_reclaimed: bool,
        now: Timestamp,
    ) -> Self {
        match options.expires_at {
            Some(at) if at <= now => Self::Expired,
            _ if is_reclaimed => Self::Reclaimed,
            _ => Self::Fresh,
        }
    }
}

/// A claim, as its holder names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimKey {
    /// The task.
    pub task: TaskId,
    /// The claim's fencing token.
    pub token: Token,
}

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// A task to claim in this queue.
    Ready(String),
    /// The end of this task.
    Settled(TaskId),
    /// A change of this mark.
    Mark(String),
}

/// Holds the proof of life of an incarnation for as long as it lives; dropping it ends it.
#[must_use = "dropping the presence declares the incarnation dead"]
pub struct Presence {
    incarnation: Incarnation,
    _guard: Box<dyn std::any::Any + Send + Sync>,
}

impl Presence {
    /// Wraps what keeps the proof of life up; called by stores.
    pub fn new(incarnation: Incarnation, guard: impl std::any::Any + Send + Sync) -> Self {
        Self {
            incarnation,
            _guard: Box::new(guard),
        }
    }

    /// Returns whose life it proves.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presence").field(&self.incarnation).finish()
    }
}

/// Which tasks a listing shows. An empty filter shows all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only these states; `None` is all but `Staged`, which is never listed.
    pub states: Option<StateSet>,
    /// Only tasks about this object.
    pub about: Option<String>,
    /// Only tasks enqueued before this instant.
    pub enqueued_before: Option<Timestamp>,
    /// Whether [ghosts](crate::task::Options::ghost) are shown too. Defaults to false.
    pub ghosts: bool,
}

impl Filter {
    /// Whether a task is shown as far as ghosts are concerned.
    pub(crate) fn sees(&self, options: &Options) -> bool {
        self.ghosts || !options.ghost
    }
}

/// Where the next page of a listing starts. Opaque; its text form is for command lines and URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor(pub String);

impl Cursor {
    /// Reads what a store has written into it.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: it does not come from a listing of such a store.
    pub fn parse<T: FromStr>(&self) -> Result<T, Kind> {
        let wrong = |_| Kind::Invalid(format!("`{}` is not a cursor of a listing", self.0));
        self.0.parse().map_err(wrong)
    }
}

/// One page of a listing, in the order of enqueueing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The tasks; perhaps fewer than asked for, even if there is another page.
    pub tasks: Vec<Listed>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A task in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The task.
    pub record: Record,
    /// Who has claimed it.
    pub holder: Option<ConsumerId>,
    /// When it was claimed.
    pub claimed_at: Option<Timestamp>,
}

/// Numbers of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// The queue.
    pub queue: String,
    /// How many tasks are in which state, in the order of [`State::ALL`]; ended ones only while kept.
    pub counts: Vec<(State, u64)>,
    /// The publishing time of the ready task that has waited longest.
    pub oldest_ready_at: Option<Timestamp>,
}

/// Numbers of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// By queue, in the order of their names.
    pub queues: Vec<QueueStats>,
    /// Transactions in doubt.
    pub in_doubt: u64,
    /// When the oldest of them was staged.
    pub in_doubt_since: Option<Timestamp>,
}
