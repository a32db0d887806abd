//! What a transaction calls when it ends: four lists, each worked off in the order of adding.

use std::collections::VecDeque;

use crate::txn::data_manager::BoxError;
use crate::txn::error::{TooManyHooks, discard};
use crate::txn::work::Work;

/// How a transaction ended, as after-commit hooks and synchronizers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It committed.
    Committed,
    /// It was refused: definitely nothing happened.
    Refused,
    /// It could not be learnt; recovery will answer.
    Undecided,
}

/// How many hooks of one list one transaction runs, so that hooks that add hooks come to an end.
pub const HOOKS_MAX: usize = 10_000;

pub(super) type WorkHook = Box<dyn FnOnce(&mut Work) -> Result<(), BoxError> + Send>;
pub(super) type OutcomeHook = Box<dyn FnOnce(Outcome) -> Result<(), BoxError> + Send>;
pub(super) type EndHook = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;

#[derive(Default)]
pub(super) struct HookLists {
    pub(super) before_commit: HookList<WorkHook>,
    pub(super) after_commit: HookList<OutcomeHook>,
    pub(super) before_abort: HookList<WorkHook>,
    pub(super) after_abort: HookList<EndHook>,
}

impl HookLists {
    pub(super) fn are_empty(&self) -> bool {
        self.before_commit.waiting.is_empty()
            && self.after_commit.waiting.is_empty()
            && self.before_abort.waiting.is_empty()
            && self.after_abort.waiting.is_empty()
    }

    /// Drops the hooks that were not run.
    pub(super) fn discard(&mut self) {
        self.before_commit.discard();
        self.after_commit.discard();
        self.before_abort.discard();
        self.after_abort.discard();
    }
}

/// A list that may grow while it is worked off.
pub(super) struct HookList<H> {
    waiting: VecDeque<H>,
    taken: usize,
}

impl<H> Default for HookList<H> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            taken: 0,
        }
    }
}

impl<H> HookList<H> {
    pub(super) fn add(&mut self, hook: H) {
        self.waiting.push_back(hook);
    }

    /// Takes the next hook. At [`HOOKS_MAX`] it says, once, that the rest is not to be run.
    pub(super) fn take(&mut self) -> Option<Result<H, TooManyHooks>> {
        if self.waiting.is_empty() || self.taken > HOOKS_MAX {
            return None;
        }
        self.taken += 1;
        if self.taken > HOOKS_MAX {
            return Some(Err(TooManyHooks));
        }
        self.waiting.pop_front().map(Ok)
    }

    /// Drops the hooks that were not run; what they hold is foreign code too.
    fn discard(&mut self) {
        self.waiting.drain(..).for_each(discard);
    }
}
