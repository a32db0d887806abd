//! Claims. Who is present is the backend's to know: it picks, and tells the ledger whom to give what.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::entry::{Entry, Holding};
use super::index::Sequence;
use super::{Judged, Ledger};
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::{Arrival, ClaimKey, Kind};
use crate::task::State;
use crate::time::Timestamp;

/// How many tasks whose time came one claim promotes, so that none holds a lock for long.
const PROMOTIONS_MAX: usize = 1_000;

/// Who claims, and when.
#[derive(Debug, Clone)]
pub(in crate::store) struct Claimant {
    pub(in crate::store) consumer: Arc<ConsumerId>,
    pub(in crate::store) now: Timestamp,
}

impl<B: Clone> Ledger<B> {
    /// Lets go on the tasks of a queue whose time came, up to a limit; returns how many did.
    pub(in crate::store) fn promote(&mut self, queue: &str, now: Timestamp) -> Judged<usize> {
        for count in 0..PROMOTIONS_MAX {
            let line = self.content.index.lines.get(queue);
            let Some(sequence) = line.and_then(|line| line.first_due(now)) else {
                return Ok(count);
            };
            let entry = self.content.entries.get(sequence);
            let index = &self.content.index;
            let is_busy = entry.is_some_and(|entry| index.is_busy(None, &entry.options));
            let due = |entry: &mut Entry<B>| entry.life.due(is_busy, now);
            self.content.update(sequence, due)?;
            self.content.go_on(sequence, now)?;
        }
        Ok(PROMOTIONS_MAX)
    }

    /// Returns the task that is next in a queue: Ready, or held by somebody who `is_departed`.
    pub(in crate::store) fn first(
        &self,
        queue: &str,
        is_departed: impl Fn(&Incarnation) -> bool,
    ) -> Option<Sequence> {
        self.content.index.lines.get(queue)?.first(is_departed)
    }

    /// Gives a task to a consumer under this token, taking it back first if it is claimed.
    pub(in crate::store) fn give(
        &mut self,
        sequence: Sequence,
        to: &Claimant,
        token: Token,
    ) -> Judged<(&Entry<B>, Arrival)> {
        let arrival = self.content.update(sequence, |entry| {
            let is_reclaimed = entry.state() == State::Claimed;
            if is_reclaimed {
                entry.life.reclaim()?;
            }
            entry.life.claim()?;
            entry.claim = Some(Holding::new(&to.consumer, token, to.now));
            Ok(Arrival::at_claim(&entry.options, is_reclaimed, to.now))
        })?;
        let entry = self.content.entries.get(sequence).ok_or(Kind::Other)?;
        Ok((entry, arrival))
    }

    /// Whether a claim is not its task's present one.
    pub(in crate::store) fn is_lost(&self, claim: &ClaimKey) -> bool {
        let found = self.content.find(claim.task);
        let holding = found.and_then(|(_, entry)| entry.claim.as_ref());
        holding.is_none_or(|holding| holding.token() != claim.token)
    }

    /// Returns those who hold claims that a claim could take back.
    pub(in crate::store) fn holders(&self) -> BTreeSet<Incarnation> {
        let lines = self.content.index.lines.values();
        lines.flat_map(|line| line.held.keys()).copied().collect()
    }
}
