//! The life of a task: the part of a record that moves, and the rules by which it does. The
//! functions of [`lifecycle`](super::lifecycle) are these rules for whole records.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lifecycle::{Fate, Turn};
use super::{Amendment, Kind, Settlement, Verdict};
use crate::id::TaskId;
use crate::task::{Counts, DeadReason, Event, Options, Record, State, StateSet};
use crate::time::Timestamp;

/// What has become of a task, without what was said of it. A rule that refuses leaves it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Life {
    pub(in crate::store) id: TaskId,
    pub(in crate::store) state: State,
    pub(in crate::store) published_at: Option<Timestamp>,
    pub(in crate::store) not_before: Option<Timestamp>,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) dead: Option<DeadReason>,
    pub(in crate::store) ended_at: Option<Timestamp>,
}

impl Life {
    pub(in crate::store) fn of(record: &Record) -> Self {
        Self {
            id: record.id,
            state: record.state,
            published_at: record.published_at,
            not_before: record.not_before,
            counts: record.counts,
            dead: record.dead,
            ended_at: record.ended_at,
        }
    }

    /// Writes it into the record that it was taken of.
    pub(in crate::store) fn put(self, record: &mut Record) {
        record.state = self.state;
        record.published_at = self.published_at;
        record.not_before = self.not_before;
        record.counts = self.counts;
        record.dead = self.dead;
        record.ended_at = self.ended_at;
    }

    pub(in crate::store) fn publish(
        &mut self,
        options: &Options,
        group_busy: bool,
        now: Timestamp,
    ) -> Result<(), Kind> {
        if self.state.is_ended() {
            return Ok(());
        }
        let delay = options.delay.filter(|_| self.published_at.is_none());
        let delayed = delay.map(|delay| now.saturating_add(delay));
        let not_before = self.not_before.max(delayed);
        let next = if options.waits_for.is_empty() {
            pending(not_before, group_busy, now)
        } else {
            State::Waiting
        };
        let event = match next {
            State::Waiting => Event::PublishBlocked,
            State::Scheduled => Event::PublishLater,
            _ => Event::Publish,
        };
        self.enter(event, next)?;
        self.not_before = not_before;
        self.published_at = self.published_at.or(Some(now));
        Ok(())
    }

    pub(in crate::store) fn due(&mut self, group_busy: bool, now: Timestamp) -> Result<(), Kind> {
        let next = pending(self.not_before, group_busy, now);
        self.enter(Event::Due, next)
    }

    pub(in crate::store) fn unblock(&mut self, now: Timestamp) -> Result<(), Kind> {
        let next = pending(self.not_before, false, now);
        self.enter(Event::Unblock, next)
    }

    /// Says how it goes on if it is the first that waits for nothing but its group, of which `holders` tasks
    /// are Ready or Claimed.
    pub(in crate::store) fn turn(&self, options: &Options, holders: usize, now: Timestamp) -> Turn {
        if self.not_before.is_some_and(|at| at > now) {
            return Turn::GoesOn;
        }
        match holders.cmp(&(options.places() as usize)) {
            Ordering::Less => Turn::GoesOn,
            Ordering::Equal => Turn::Replaces,
            Ordering::Greater => Turn::Waits,
        }
    }

    pub(in crate::store) fn give_way(&mut self) -> Result<(), Kind> {
        self.enter(Event::GiveWay, State::Waiting)
    }

    pub(in crate::store) fn claim(&mut self) -> Result<(), Kind> {
        self.enter(Event::Claim, State::Claimed)
    }

    pub(in crate::store) fn reclaim(&mut self) -> Result<(), Kind> {
        self.enter(Event::Reclaim, State::Ready)?;
        self.counts.reclaims = self.counts.reclaims.saturating_add(1);
        Ok(())
    }

    pub(in crate::store) fn settle(
        &mut self,
        options: &Options,
        settlement: &Settlement,
        now: Timestamp,
    ) -> Result<Fate, Kind> {
        let fate = match &settlement.verdict {
            Verdict::Done => {
                self.enter(Event::Done, State::Done)?;
                self.end(options, now)
            }
            Verdict::Retry { at } => {
                self.enter(Event::Fail, pending(Some(*at), false, now))?;
                self.not_before = Some(*at);
                Fate::Stays
            }
            Verdict::Bury { reason } => {
                self.enter(Event::Bury, State::Dead)?;
                self.dead = Some(*reason);
                self.end(options, now)
            }
            Verdict::Release { at } => {
                let not_before = at.or(self.not_before);
                self.enter(Event::Release, pending(not_before, false, now))?;
                self.not_before = not_before;
                Fate::Stays
            }
        };
        self.counts = settlement.counts;
        Ok(fate)
    }

    /// Does what an amendment asks; what it says of queue and progress is the caller's.
    pub(in crate::store) fn amend(
        &mut self,
        options: &Options,
        amendment: &Amendment,
        group_busy: bool,
        now: Timestamp,
    ) -> Result<Fate, Kind> {
        match amendment {
            Amendment::Cancel => {
                self.enter(Event::Cancel, State::Cancelled)?;
                return Ok(self.end(options, now));
            }
            Amendment::Revive => self.revive(group_busy, now)?,
            Amendment::Reschedule(at) => {
                // What is held back by something else than time stays held back.
                let next = match self.state {
                    State::Waiting => State::Waiting,
                    _ => pending(*at, group_busy, now),
                };
                self.enter(Event::Reschedule, next)?;
                self.not_before = *at;
            }
            Amendment::Move(_) => self.refuse_claimed()?,
            Amendment::Progress(_) => {}
            Amendment::Remove => {
                self.refuse_claimed()?;
                return Ok(Fate::Leaves);
            }
        }
        Ok(Fate::Stays)
    }

    /// A revived task starts afresh, at the end of the line; prerequisites do not hold it any more.
    fn revive(&mut self, group_busy: bool, now: Timestamp) -> Result<(), Kind> {
        let not_before = self.not_before.max(Some(now));
        self.enter(Event::Revive, pending(not_before, group_busy, now))?;
        self.not_before = not_before;
        self.counts = Counts::default();
        self.dead = None;
        self.ended_at = None;
        Ok(())
    }

    pub(in crate::store) fn kept_until(&self, options: &Options) -> Option<Timestamp> {
        match (self.state, self.ended_at) {
            (State::Done, Some(ended_at)) => {
                Some(ended_at.saturating_add(options.retention.unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// Whether a task in its state keeps others from its unique key.
    pub(in crate::store) fn holds_key(&self, options: &Options) -> bool {
        holds_key_in(self.state, options)
    }

    /// Until when the unique key rests, as far as can be told by now.
    pub(in crate::store) fn rests_until(&self, options: &Options) -> Option<Timestamp> {
        let hold = options.unique.as_ref()?.hold;
        let after =
            |at: Option<Timestamp>, period: Option<Duration>| Some(at?.saturating_add(period?));
        let enqueued = after(self.published_at, hold.after_enqueued);
        let ended_at = self.ended_at.filter(|_| self.state != State::Cancelled);
        enqueued.max(after(ended_at, hold.after_ended))
    }

    /// Computes the claim order of a task that was published, or became due, at `at`.
    pub(in crate::store) fn rank(&self, options: &Options, at: Timestamp) -> i64 {
        let base = self.not_before.map_or(at, |not_before| not_before.max(at));
        base.saturating_add(options.malus()).as_micros()
    }

    /// Refuses a task that is in none of these states.
    pub(in crate::store) fn expect(&self, states: StateSet) -> Result<(), Kind> {
        if states.contains(self.state) {
            Ok(())
        } else {
            Err(self.state_changed())
        }
    }

    fn end(&mut self, options: &Options, now: Timestamp) -> Fate {
        self.ended_at = Some(now);
        if self.state == State::Done && options.retention.is_none() {
            Fate::Leaves
        } else {
            Fate::Stays
        }
    }

    fn refuse_claimed(&self) -> Result<(), Kind> {
        match self.state {
            State::Claimed | State::Staged => Err(self.state_changed()),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, event: Event, next: State) -> Result<(), Kind> {
        if !self.state.after(event).contains(&next) {
            return Err(self.state_changed());
        }
        self.state = next;
        Ok(())
    }

    fn state_changed(&self) -> Kind {
        Kind::StateChanged {
            task: self.id,
            found: self.state.name(),
        }
    }
}

/// Whether a task in this state keeps others from its unique key.
pub(in crate::store) fn holds_key_in(state: State, options: &Options) -> bool {
    options.unique.as_ref().is_some_and(|unique| {
        let is_running = state == State::Claimed;
        StateSet::PENDING.contains(state) || (is_running && unique.hold.until_ended)
    })
}

/// Where a task that nothing but time and its group can hold back goes.
fn pending(not_before: Option<Timestamp>, group_busy: bool, now: Timestamp) -> State {
    if not_before.is_some_and(|not_before| not_before > now) {
        State::Scheduled
    } else if group_busy {
        State::Waiting
    } else {
        State::Ready
    }
}
