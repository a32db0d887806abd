//! The timetable: one thread that sleeps until the next time of a periodic entry is due by the store's clock, and
//! then deals with it. Every consumer that has the entry does so; the entry's mark sees to it that each
//! time becomes one task.

use std::collections::BTreeSet;
use std::time::Duration;

use super::builder::{Builder, StartError};
use super::core::Core;
use super::timer::Backoff;
#[cfg(feature = "macros")]
use crate::handler::{InvalidSchedule, periodic_declarations};
use crate::queue::{Entry, Next, Periodic};
use crate::store::Result;
use crate::time::Timestamp;

/// At least this often the mark of an entry is read: it may have been removed, or be another's now.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

impl Builder {
    /// Adds an entry to the timetable: a task that is enqueued at each time of a schedule, once for all
    /// consumers of the store that have the entry. Its queue need not be one that the consumer serves.
    /// Defaults to none.
    pub fn periodic(mut self, entry: Periodic) -> Self {
        self.periodic.push(entry);
        self
    }

    /// Adds every periodic task that is declared in the program by `#[votive::periodic]`.
    ///
    /// # Errors
    /// The schedule or the time zone of one cannot be read; the error names its function.
    #[cfg(feature = "macros")]
    pub fn periodic_discovered(mut self) -> std::result::Result<Self, InvalidSchedule> {
        for declaration in periodic_declarations() {
            self.periodic.push(declaration.entry()?);
        }
        Ok(self)
    }

    /// Leaves the timetable to other consumers of the store: the entries are checked, and that is all.
    pub fn no_periodic(mut self) -> Self {
        self.no_periodic = true;
        self
    }

    /// Checks the entries, and returns those to be kept.
    pub(super) fn timetable(&mut self) -> std::result::Result<Vec<Entry>, StartError> {
        let mut names = BTreeSet::new();
        let mut timetable = Vec::new();
        for entry in self.periodic.drain(..) {
            if !names.insert(entry.name().to_owned()) {
                let name = entry.name();
                let text = format!("the periodic entry `{name}` is named twice");
                return Err(StartError::Invalid(text));
            }
            timetable.push(Entry::new(entry, &self.store)?);
        }
        if self.no_periodic {
            timetable.clear();
        }
        Ok(timetable)
    }
}

/// Where the consumer is with an entry.
struct Place<'e> {
    entry: &'e Entry,
    /// Nothing has been done about it yet: its schedule may replace that of who ran before.
    new: bool,
    next: Next,
    looked_at: Timestamp,
}

impl<'e> Place<'e> {
    fn new(entry: &'e Entry) -> Self {
        Self {
            entry,
            new: true,
            next: Next::AtOnce,
            looked_at: Timestamp::EPOCH,
        }
    }

    /// How long nothing need be done; a clock that went back is a reason to look.
    fn rests(&self, now: Timestamp) -> Duration {
        let look = self.looked_at.saturating_add(LOOK_INTERVAL);
        match self.next {
            _ if now < self.looked_at => Duration::ZERO,
            Next::AtOnce => Duration::ZERO,
            Next::At(Some(at)) | Next::Outrun(at) => at.min(look).since(now),
            Next::At(None) | Next::StoodDown => look.since(now),
        }
    }

    fn step(&mut self, core: &Core, now: Timestamp) -> Result<()> {
        let (fired, next) = self.entry.step(&core.manager, self.new)?;
        core.counters.count(|stats| stats.fired += fired as u64);
        if next == Next::StoodDown && self.next != Next::StoodDown {
            tracing::warn!(
                consumer = %core.id, entry = self.entry.name(),
                "somebody who started later has another schedule for this entry, which is left to them"
            );
        }
        self.follow(next, now);
        Ok(())
    }

    /// Goes by what a look at `now` has found.
    fn follow(&mut self, next: Next, now: Timestamp) {
        self.new &= matches!(next, Next::Outrun(_));
        self.next = next;
        self.looked_at = now;
    }
}

/// Keeps the timetable until the consumer begins to stop.
pub(super) fn run(core: &Core) {
    let mut places: Vec<_> = core.timetable.iter().map(Place::new).collect();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let wait = match round(core, &mut places) {
            Ok(wait) => {
                backoff.reset();
                wait
            }
            Err(error) => {
                core.store_failed("keep the timetable", &error);
                backoff.next()
            }
        };
        if core.backlog.closes_within(wait) {
            return;
        }
    }
}

/// Takes one step with each entry that is due, and returns how long to wait: no longer than between two looks
/// at a queue, since the store's clock may be put forward.
///
/// # Errors
/// One of the entries failed; the others went on.
fn round(core: &Core, places: &mut [Place<'_>]) -> Result<Duration> {
    let now = core.store.now()?;
    let mut failed = Ok(());
    let mut wait = core.settings.poll_interval;
    for place in places {
        if place.rests(now).is_zero() {
            failed = place.step(core, now).and(failed);
        }
        wait = wait.min(place.rests(now));
    }
    failed.map(|()| wait)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schedule::Schedule;
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use crate::task::{Format, Payload};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn who_was_outrun_is_as_new_as_before_and_looks_again() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let schedule = Schedule::every(Duration::from_secs(60)).unwrap();
        let entry = Periodic::from_payload("sweep", schedule, "sweep", payload);
        let entry = Entry::new(entry, &store).unwrap();
        let mut place = Place::new(&entry);
        place.follow(Next::Outrun(NOW), NOW);
        assert!(place.new && place.rests(NOW).is_zero());
        place.follow(Next::At(None), NOW);
        assert!(!place.new);
    }
}
