//! A consumer that runs until nothing is left to run.

use std::time::Duration;

use crossbeam_channel::{after, select, tick};

use crate::consumer::{Builder, StartError, Stopped};
use crate::store::{self, Store};
use crate::task::State;

/// How often the store is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// Why a store was not drained. What ran has run, and the consumer has stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The consumer did not start.
    #[error("the consumer did not start")]
    Start(#[from] StartError),
    /// The store could not be looked at.
    #[error("the store could not be looked at")]
    Store(#[from] store::Error),
    /// Tasks were left when the time was over: a handler hangs, or nobody serves their queue.
    #[error("not drained within {limit:?}: {left}")]
    #[non_exhaustive]
    Late {
        /// For how long it was tried.
        limit: Duration,
        /// What was left, by queue.
        left: String,
    },
}

/// Runs a consumer until no task of the store is ready or claimed, those included that are enqueued
/// meanwhile, then stops it. Scheduled tasks, and those that wait for others, are left: a failed task that
/// is to be tried again in a second is one of them.
///
/// ```
/// # use std::time::Duration;
/// # use votive::{Consumer, Registry};
/// # let (store, registry) = (votive::open("memory://")?, Registry::new());
/// let consumer = Consumer::builder(store.clone(), registry).queue("default");
/// let stopped = votive::testing::drain(consumer, &*store, Duration::from_secs(10))?;
/// assert_eq!(stopped.stats.dead, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Blocking
/// Until the store is drained, for at most `limit` and the time that the consumer takes to stop.
///
/// # Errors
/// As [`DrainError`] says.
pub fn drain(consumer: Builder, store: &dyn Store, limit: Duration) -> Result<Stopped, DrainError> {
    let running = consumer.start()?;
    let (again, late) = (tick(PAUSE), after(limit));
    while let Some(left) = left(store)? {
        select! {
            recv(again) -> _ => {}
            recv(late) -> _ => return Err(DrainError::Late { limit, left }),
        }
    }
    Ok(running.stop())
}

/// Says which queues have tasks to run, or that run.
fn left(store: &dyn Store) -> store::Result<Option<String>> {
    let mut left = Vec::new();
    for queue in store.stats()?.queues {
        for (state, count) in queue.counts {
            if matches!(state, State::Ready | State::Claimed) && count > 0 {
                left.push(format!("{count} {state} in queue `{}`", queue.queue));
            }
        }
    }
    Ok((!left.is_empty()).then(|| left.join(", ")))
}
