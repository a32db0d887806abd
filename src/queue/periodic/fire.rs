//! Does about an entry what was decided: one read of its mark, and at most one batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cursor::{self, Cursor};
use super::decision::{Decision, decide};
use super::{CatchUp, PERIODIC_PREFIX, Periodic, PeriodicError};
use crate::id::TaskId;
use crate::queue::mark::Found;
use crate::queue::{EnqueueError, Queue, apply, check_name, check_options};
use crate::schedule::Schedule;
use crate::store::{self, Batch, Change, Kind, Store};
use crate::task::{Name, OnDuplicate, Options, Payload, Record, Unique};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// How long another transaction that is in the way is left alone.
const CONFLICT_DELAY: Duration = Duration::from_millis(100);

/// How long a full queue is left alone.
const FULL_DELAY: Duration = Duration::from_secs(1);

/// An entry that is fit for use, in its store.
pub(crate) struct Entry {
    name: String,
    /// The name of the mark and of the object that the tasks are about.
    key: String,
    queue: Queue,
    schedule: Schedule,
    kind: Name,
    payload: Payload,
    /// Those of every task, but for what depends on its time.
    options: Options,
    catch_up: CatchUp,
    expires_after: Option<Duration>,
    /// Whether the queue was full when it was tried last.
    is_held_up: AtomicBool,
}

/// What follows for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is due before this instant; `None` is never.
    At(Option<Timestamp>),
    /// There is more to do.
    AtOnce,
    /// Somebody else was faster, or is in the way until about this instant: nothing was done, and whoever was new is so
    /// still.
    Outrun(Timestamp),
    /// Somebody who started later has another schedule for this name.
    StoodDown,
}

impl Entry {
    /// Checks all that may be wrong with an entry.
    pub(crate) fn new(entry: Periodic, store: &Arc<dyn Store>) -> Result<Self, PeriodicError> {
        let name = entry.name.clone();
        let key = format!("{PERIODIC_PREFIX}{name}");
        Self::checked(entry, key, store).map_err(|source| PeriodicError { name, source })
    }

    fn checked(entry: Periodic, key: String, store: &Arc<dyn Store>) -> Result<Self, EnqueueError> {
        check_name("the name of a periodic entry", &entry.name)?;
        check_name("the mark of a periodic entry", &key)?;
        check_name("the kind of a task", &entry.kind)?;
        if entry.catch_up == CatchUp::Bounded(0) {
            let text = "to make up for none of the missed times, use `CatchUp::Skip`";
            return Err(EnqueueError::Invalid(text.to_owned()));
        }
        let queue = Queue::new(Arc::clone(store), entry.queue)?;
        let payload = entry.payload?;
        queue.check_size(&entry.kind, &payload)?;
        let is_unique = entry.unique.unwrap_or(!entry.catch_up.wants_each());
        let options = options(entry.options, &key, is_unique);
        check_options(&options, queue.name())?;
        Ok(Self {
            name: entry.name,
            schedule: entry.schedule,
            kind: entry.kind,
            catch_up: entry.catch_up,
            expires_after: entry.expires_after,
            key,
            queue,
            payload,
            options,
            is_held_up: AtomicBool::new(false),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Deals with what is due of the entry now, at most a batch. Whoever has just started is `new`. Returns
    /// how many tasks were enqueued, and what follows.
    ///
    /// # Errors
    /// Nothing was done; or, after [`Kind::Unknown`], perhaps it was, and the next call sees that.
    ///
    /// # Durability
    /// What was enqueued is on disk, and so is the mark that says so.
    pub(crate) fn step(
        &self,
        manager: &TransactionManager,
        new: bool,
    ) -> store::Result<(usize, Next)> {
        let store = self.queue.store();
        // The mark before the clock: what somebody else has dealt with is then never in the future of it.
        let mark = Found::read(&**store, self.key.clone())?;
        let now = store.now()?;
        let known = mark.value().and_then(cursor::read);
        let wanted = self.cursor(now, manager);
        match decide(known, wanted, &self.schedule, self.catch_up, new) {
            Decision::Wait(until) => Ok((0, Next::At(until))),
            Decision::StandDown => Ok((0, Next::StoodDown)),
            Decision::Move { cursor, fire } => self.fire((mark, now), cursor, fire, manager),
        }
    }

    /// Enqueues a task for each of these times. Where the queue has no room for all, as many as one; where it
    /// has none for that, none, and none of the times has been dealt with: what becomes of them when there is
    /// room is up to the policy for what was missed.
    fn fire(
        &self,
        (mark, now): (Found, Timestamp),
        mut cursor: Cursor,
        mut fire: Vec<Timestamp>,
        manager: &TransactionManager,
    ) -> store::Result<(usize, Next)> {
        loop {
            let batch = self.batch(mark.clone(), &cursor, &fire, now)?;
            match apply(self.queue.store(), manager, &batch) {
                Ok(_) => {
                    self.is_held_up.store(false, Ordering::Relaxed);
                    let next = match self.schedule.next_after(cursor.dealt_until) {
                        Some(at) if at <= now => Next::AtOnce,
                        later => Next::At(later),
                    };
                    return Ok((fire.len(), next));
                }
                Err(store::Error {
                    kind: Kind::QueueFull { .. },
                    ..
                }) => match fire.as_slice() {
                    [first, _, ..] => {
                        cursor.dealt_until = *first;
                        cursor.fired_for = Some(*first);
                        fire.truncate(1);
                    }
                    _ => return Ok((0, self.hold_up(now))),
                },
                Err(error) => return outrun(error, now).map(|next| (0, next)),
            }
        }
    }

    /// Waits for room in the queue, and says so the first time.
    fn hold_up(&self, now: Timestamp) -> Next {
        if !self.is_held_up.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                entry = %self.name, queue = self.queue.name(),
                "the queue is full; the tasks of this entry wait for room, and may be missed"
            );
        }
        Next::At(Some(now.saturating_add(FULL_DELAY)))
    }

    /// The cursor that has dealt with all times until now.
    fn cursor(&self, now: Timestamp, manager: &TransactionManager) -> Cursor {
        Cursor {
            schedule: self.schedule.to_string(),
            kind: self.kind.to_string(),
            queue: self.queue.name().to_owned(),
            catch_up: self.catch_up.to_string(),
            dealt_until: now,
            fired_for: None,
            written_by: manager.incarnation().to_string(),
        }
    }

    /// The mark goes first: who is too late is told so, and not of a task that is there already.
    fn batch(
        &self,
        mark: Found,
        cursor: &Cursor,
        fire: &[Timestamp],
        now: Timestamp,
    ) -> store::Result<Batch> {
        let mark = mark.saying(cursor, &**self.queue.store(), "write a mark")?;
        let mut options = self.options.clone();
        let settings = self.queue.known_settings(now)?;
        settings.complete(&self.kind, &mut options);
        let inserts = fire.iter().map(|at| self.insert(*at, options.clone(), now));
        let capacity = settings.capacity.filter(|_| !fire.is_empty());
        let room = capacity.map(|pending_max| Change::Room {
            queue: self.queue.name().to_owned(),
            pending_max,
        });
        Ok([mark].into_iter().chain(inserts).chain(room).collect())
    }

    /// The task of the time `at`.
    fn insert(&self, at: Timestamp, mut options: Options, now: Timestamp) -> Change {
        options.not_before = Some(at);
        if let Some(delay) = self.expires_after {
            options.expires_at = Some(at.saturating_add(delay));
        }
        let (kind, payload) = (self.kind.clone(), self.payload.clone());
        let record = Record::new(TaskId::new(now), self.queue.name(), kind, payload, now);
        Change::Insert(Box::new(record.with_options(options.shared())))
    }
}

/// The name, the schedule and the queue.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, schedule, queue) = (&self.name, &self.schedule, self.queue.name());
        write!(f, "{name}, {schedule}, into {queue}")
    }
}

/// The options of every task of an entry. A task that is refused would hold up its entry, so it merges.
fn options(mut options: Options, key: &str, is_unique: bool) -> Options {
    options.about.push(key.to_owned());
    let own = is_unique.then(|| Unique::new(key));
    options.unique = options.unique.or(own).map(|unique| Unique {
        on_duplicate: OnDuplicate::Merge,
        ..unique
    });
    options
}

/// What follows if somebody else was faster, or is in the way.
fn outrun(error: store::Error, now: Timestamp) -> store::Result<Next> {
    match error.kind {
        Kind::MarkChanged(_) => Ok(Next::Outrun(now)),
        // It may be a transaction in doubt, which stays for as long as its register cannot be asked.
        Kind::Conflict => Ok(Next::Outrun(now.saturating_add(CONFLICT_DELAY))),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::task::Format;

    fn entry(every: u64, store: &Arc<dyn Store>) -> Entry {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let schedule = Schedule::every(Duration::from_secs(every)).unwrap();
        let entry = Periodic::from_payload("sweep", schedule, "sweep", payload);
        Entry::new(entry, store).unwrap()
    }

    #[test]
    fn who_is_outrun_has_not_replaced_a_schedule() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let manager = TransactionManager::new();
        let (old, new) = (entry(60, &store), entry(90, &store));
        let seen = Found::read(&*store, new.key.clone()).unwrap();
        old.step(&manager, true).unwrap();
        let now = store.now().unwrap();
        let cursor = new.cursor(now, &manager);
        // The mark that was read is not the present one any more: the old schedule has fired meanwhile.
        let fired = new.fire((seen, now), cursor, Vec::new(), &manager);
        assert_eq!(fired.unwrap(), (0, Next::Outrun(now)));
        let (_, next) = new.step(&manager, true).unwrap();
        assert!(matches!(next, Next::At(Some(_))));
        assert_eq!(old.step(&manager, false).unwrap(), (0, Next::StoodDown));
    }
}
