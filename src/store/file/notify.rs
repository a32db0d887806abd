//! Waiting for work: woken at once by this process's own commits, by the kernel's word by those of
//! other processes, and in any case after the poll interval.
//!
//! The kernel tells when the journal is written. Whoever looks then waits for the lock of the one who
//! writes, and so sees what was written as soon as it is on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::FileStore;
use super::body::Body;
use super::dispatch::Departed;
use super::error::Result;
use super::state::State;
use crate::id::Incarnation;
use crate::store::Interest;
use crate::store::ledger::Ledger;
use crate::store::notify::{Look, Watcher, or_poll};
use crate::time::Timestamp;

/// The shortest sleep, lest rounding turns waiting into spinning.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep while tasks are scheduled, because the store's clock may be moved by hand.
const SLEEP_MAX: Duration = Duration::from_millis(50);

impl FileStore {
    /// Waits until an interest may be served.
    pub(super) fn wait_for(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Result<Option<Interest>> {
        let _waiting = self.watcher.as_ref().map(Watcher::wait);
        let mut rest = self.bell.rest(timeout);
        let marks = self.read(|state| Ok(state.marks(interests)))?;
        rest.until_served(|| self.look(interests, &marks))
    }

    /// Looks whether an interest may be served; `marks` has the values when the wait began.
    fn look(&self, interests: &[Interest], marks: &[Option<Vec<u8>>]) -> Result<Look> {
        let now = self.clock_now();
        let (served, _) = self.look_for(|ledger, departed| {
            let mut waiting = interests.iter().zip(marks);
            let served = waiting.find(|(interest, mark)| {
                let mark = mark.as_ref();
                is_served(ledger, interest, mark, (departed, now))
            });
            served.map(|(interest, _)| interest.clone())
        })?;
        if let Some(served) = served {
            return Ok(Look::Served(served));
        }
        let due = self.read(|state| Ok(state.book.ledger.next_due()))?;
        Ok(Look::Quiet(quiet_until(due, now).min(self.poll_interval)))
    }
}

/// Whether an interest may be served; `mark` is the value that its mark had when the wait began.
fn is_served(
    ledger: &Ledger<Body>,
    interest: &Interest,
    mark: Option<&Vec<u8>>,
    (departed, now): (&Departed, Timestamp),
) -> bool {
    let is_departed = |holder: &Incarnation| departed.contains(holder);
    match interest {
        Interest::Ready(queue) => ledger.is_ready(queue, is_departed, now),
        Interest::Settled(task) => ledger.is_settled(*task),
        Interest::Mark(key) => ledger.mark(key) != mark,
    }
}

/// For how long nothing but a notification can serve anybody.
fn quiet_until(due: Option<Timestamp>, now: Timestamp) -> Duration {
    due.map_or(Duration::MAX, |at| {
        at.since(now).clamp(SLEEP_MIN, SLEEP_MAX)
    })
}

impl State {
    /// The marks that are waited for, as they are now.
    fn marks(&self, interests: &[Interest]) -> Vec<Option<Vec<u8>>> {
        let marks = interests.iter().map(|interest| match interest {
            Interest::Mark(key) => self.book.ledger.mark(key).cloned(),
            _ => None,
        });
        marks.collect()
    }
}

/// Watches the folder for what other processes append.
pub(super) fn watch(folder: &Path, state: Arc<Mutex<State>>) -> Option<Watcher> {
    let watcher = Watcher::start(folder.to_owned(), move |_| {
        // The bell is rung if there is anything.
        if let Err(fault) = state.lock().refresh() {
            tracing::warn!(?fault, "a commit may be noticed only by polling");
        }
    });
    or_poll(watcher)
}
