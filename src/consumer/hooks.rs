//! Hooks: who is told what a consumer does. They look on: what they do changes nothing of it, not
//! even a panic, and no lock is held while they run.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::shutdown::Stopped;
use crate::handler::Attempt;
use crate::id::ConsumerId;
use crate::task::{DeadReason, Failure, Record};
use crate::time::Timestamp;

/// What a consumer did, or is about to do. Told to those who were given to
/// [`Builder::on`](super::Builder::on).
///
/// For one task they come in this order; a task that is tried again begins anew, and one whose
/// consumer dies says nothing more:
///
/// ```text
/// Reclaimed? (Executing Executed (Conflicted Executing Executed)*)? (Committed | Retrying | Dead)?
/// ```
///
/// `Executed` says what the handler said, and `Committed` that it counts. A task that is given back,
/// because the consumer stops, nobody knows its kind, or only a chunk of it is done, ends without any of the last
/// three.
#[doc(alias = "signal")]
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// The consumer has started, and claims tasks.
    #[doc(alias = "startup")]
    Started {
        /// The consumer.
        consumer: &'e ConsumerId,
    },
    /// The consumer has stopped, and everything that it could settle is settled.
    #[doc(alias = "shutdown")]
    Stopped {
        /// The consumer.
        consumer: &'e ConsumerId,
        /// How it stopped.
        stopped: &'e Stopped,
    },
    /// A task was taken over from a consumer that was proved dead.
    Reclaimed {
        /// The task, with the number of its reclaims.
        record: &'e Record,
    },
    /// A handler is about to run, in the span of its execution.
    #[doc(alias = "pre_execute")]
    Executing {
        /// The task as it was claimed.
        record: &'e Record,
        /// Which run of it this is.
        attempt: &'e Attempt,
    },
    /// A handler has returned or panicked; its transaction has neither committed nor aborted yet.
    #[doc(alias = "post_execute")]
    Executed {
        /// The task as it was claimed.
        record: &'e Record,
        /// Which run of it this was.
        attempt: &'e Attempt,
        /// How long the handler took.
        took: Duration,
        /// What the handler gave if it failed; a panic is an error that says what it said.
        error: Option<&'e (dyn StdError + 'static)>,
    },
    /// A run has to start over because of a conflict.
    #[doc(alias = "lock conflict")]
    Conflicted {
        /// The task as it was claimed.
        record: &'e Record,
        /// The run, with this conflict counted.
        attempt: &'e Attempt,
        /// The conflict.
        error: &'e (dyn StdError + 'static),
    },
    /// A task is done: its effects and its completion are committed.
    #[doc(alias = "complete")]
    Committed {
        /// The task as it was claimed.
        record: &'e Record,
    },
    /// An attempt has failed, and the task is tried again.
    Retrying {
        /// The task as it was claimed.
        record: &'e Record,
        /// Why the attempt failed.
        failure: &'e Failure,
        /// The earliest time of the next attempt.
        at: Timestamp,
    },
    /// Nobody will run the task any more, unless a person says so.
    #[doc(alias = "dead letter")]
    Dead {
        /// The task as it was claimed.
        record: &'e Record,
        /// Why.
        reason: DeadReason,
        /// Why the last attempt failed, if one did.
        failure: Option<&'e Failure>,
    },
}

impl Event<'_> {
    /// Returns the name of the event, for logs and counters: one word in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
            Self::Reclaimed { .. } => "reclaimed",
            Self::Executing { .. } => "executing",
            Self::Executed { .. } => "executed",
            Self::Conflicted { .. } => "conflicted",
            Self::Committed { .. } => "committed",
            Self::Retrying { .. } => "retrying",
            Self::Dead { .. } => "dead",
        }
    }
}

type Hook = dyn Fn(&Event<'_>) + Send + Sync;

/// All who are told, in the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Hooks(Vec<Arc<Hook>>);

impl Hooks {
    pub(super) fn add(&mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        self.0.push(Arc::new(hook));
    }

    /// Tells everybody; one that panics keeps it from nobody.
    pub(super) fn tell(&self, event: &Event<'_>) {
        for hook in &self.0 {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(event))) {
                let panic = caught(panic);
                tracing::error!(
                    event = event.name(),
                    panic,
                    "a hook panicked; nothing changes"
                );
            }
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

/// Returns what a panic said that was caught, and drops what it left: that is foreign too, and may panic again.
pub(super) fn caught(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let said = format!("panicked: {}", text.unwrap_or("without a message"));
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    said
}
