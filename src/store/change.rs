//! What a transaction does to a store: a list of changes, all of them or none.
//!
//! Completing a task travels the same path as creating one, so that a task's effects, the tasks that
//! it enqueues and its own completion are one atomic step.

use serde::{Deserialize, Serialize};

use crate::id::{TaskId, Token};
use crate::task::{Account, Counts, DeadReason, Record, StateSet};
use crate::time::Timestamp;

/// A list of changes, made all together or not at all, in this order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The changes, in order.
    pub changes: Vec<Change>,
}

impl Batch {
    /// Creates a batch of the given changes.
    #[must_use]
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the records that the batch would insert.
    pub fn inserts(&self) -> impl Iterator<Item = &Record> {
        self.changes.iter().filter_map(|change| match change {
            Change::Insert(record) => Some(&**record),
            _ => None,
        })
    }

    /// Returns the settlements of the batch.
    pub fn settlements(&self) -> impl Iterator<Item = &Settlement> {
        self.changes.iter().filter_map(|change| match change {
            Change::Settle(settlement) => Some(settlement),
            _ => None,
        })
    }

    /// Returns the visible tasks that nothing else may move while the batch is staged.
    pub(in crate::store) fn pinned(&self) -> impl Iterator<Item = TaskId> {
        self.changes.iter().filter_map(|change| match change {
            Change::Settle(settlement) => Some(settlement.task),
            change => change.amended(),
        })
    }

    /// Whether one change of the batch may decide what becomes of another, so that they cannot be judged one
    /// by one: a key that one frees or takes and another wants, the room that a task leaves or does not need,
    /// a task that is changed twice.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(in crate::store) fn is_entangled(&self) -> bool {
        let any = |is_such: fn(&Change) -> bool| self.changes.iter().any(is_such);
        let wants_key = any(|change| {
            let Change::Insert(record) = change else {
                return false;
            };
            super::lifecycle::wanted_key(record).is_some()
        });
        let settles = any(|change| matches!(change, Change::Settle(_)));
        let asks_for_room = any(|change| matches!(change, Change::Room { .. }));
        let amends = any(|change| matches!(change, Change::Amend { .. }));
        amends || (settles && (wants_key || asks_for_room)) || (wants_key && asks_for_room)
    }
}

impl FromIterator<Change> for Batch {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self::new(changes.into_iter().collect())
    }
}

/// One change to a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Change {
    /// A new task. Its unique key, group key, objects and prerequisites are in the record's options.
    Insert(Box<Record>),
    /// The end of a claim.
    Settle(Settlement),
    /// Somebody changes a task that nobody has claimed.
    Amend {
        /// The task.
        task: TaskId,
        /// Refused with `Kind::StateChanged` unless the task is in one of these states.
        expect: StateSet,
        /// What changes.
        amendment: Amendment,
    },
    /// A prerequisite of the waiting task `task` is met: the task `done` is done.
    Arrive {
        /// The task that waits.
        task: TaskId,
        /// The task that it waited for.
        done: TaskId,
    },
    /// A compare-and-set of a named value: queue settings, periodic cursors, leadership.
    Mark {
        /// The name; at most 255 bytes.
        key: String,
        /// Refused with `Kind::MarkChanged` unless the value is this; `None` is "there is none".
        expect: Option<Vec<u8>>,
        /// The new value; `None` removes it.
        value: Option<Vec<u8>>,
    },
    /// A condition: there is room in a queue for what the batch inserted before this change. What others
    /// have staged takes room only once it is published.
    Room {
        /// The queue.
        queue: String,
        /// Refused with `Kind::QueueFull` if more of its tasks than this are pending.
        pending_max: u64,
    },
}

impl Change {
    /// Returns the task whose amendment pins it until it is made: what a task says of how far it is pins nothing.
    pub(in crate::store) fn amended(&self) -> Option<TaskId> {
        match self {
            Self::Amend {
                amendment: Amendment::Progress(_),
                ..
            } => None,
            Self::Amend { task, .. } => Some(*task),
            _ => None,
        }
    }
}

/// The end of a claim: who settles proves by the token that the claim is still theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The claimed task.
    pub task: TaskId,
    /// The claim's fencing token. Refused with `Kind::ClaimLost` unless it is the task's present one.
    pub token: Token,
    /// How the claim ends.
    pub verdict: Verdict,
    /// What the task's counts become; the store adds nothing of its own.
    pub counts: Counts,
    /// What the task's account becomes; `None` leaves it as it is. The store keeps it unread.
    pub account: Option<Box<Account>>,
}

/// How a claim ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// Done. The record leaves, or stays for as long as its `retention` says.
    Done,
    /// Failed; to be tried again at this time.
    Retry {
        /// The earliest time of the next attempt.
        at: Timestamp,
    },
    /// Nobody will run it any more.
    Bury {
        /// Why not.
        reason: DeadReason,
    },
    /// Given back, unrun or with a part of it done.
    Release {
        /// The earliest time of the next attempt; `None` is at once.
        at: Option<Timestamp>,
    },
}

/// What an operator, or the application, changes on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Amendment {
    /// The task is not to run. It stays, as Cancelled.
    Cancel,
    /// A task that ended is to run again, with its counts at zero.
    Revive,
    /// The task is to run no earlier than this; `None` is at once.
    Reschedule(Option<Timestamp>),
    /// The task goes to another queue.
    Move(String),
    /// What the task says of how far it is.
    Progress(String),
    /// The record is deleted.
    Remove,
}
