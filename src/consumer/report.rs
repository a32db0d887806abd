//! Showing how far a task is while it runs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::core::Core;
use super::timer::instant;
use crate::id::{TaskId, Token};
use crate::queue;
use crate::store::{Amendment, Batch, Change, Claim};
use crate::task::{State, StateSet};
use crate::txn::BoxError;

/// At most this often the store is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the store how far one run is, in transactions of their own.
pub(super) struct Reporter<'c> {
    core: &'c Core,
    task: TaskId,
    run: Token,
    last: Cell<Option<Instant>>,
}

impl<'c> Reporter<'c> {
    pub(super) fn new(core: &'c Core, claim: &Claim) -> Self {
        Self {
            core,
            task: claim.record.id,
            run: claim.token,
            last: Cell::new(None),
        }
    }

    /// Shows a text, unless another one was shown a moment ago, or the task is not this run's any more.
    pub(super) fn report(&self, text: &str) -> Result<bool, BoxError> {
        let last = self.last.get();
        let is_early = last.is_some_and(|last| last.elapsed() < INTERVAL);
        if is_early || !self.core.watch.has(self.run) {
            return Ok(false);
        }
        let change = Change::Amend {
            task: self.task,
            expect: StateSet::of(&[State::Claimed]),
            amendment: Amendment::Progress(text.to_owned()),
        };
        let batch = Batch::new(vec![change]);
        queue::apply(&self.core.store, &self.core.manager, &batch)?;
        self.last.set(Some(instant()));
        Ok(true)
    }
}
