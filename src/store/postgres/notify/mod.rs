//! Waiting for work: woken by the commits of this process and, by way of the server, by those of others;
//! in any case after the poll interval.
//!
//! A commit tells those who wait in a transaction of its own, which is sent right behind it: a NOTIFY
//! inside would have all such commits of the cluster wait for each other's flush. It tells only if
//! somebody waits, which a row in `sleeper` says: whoever is about to wait writes the row, commits, and
//! then looks; whoever commits looks for the row afterwards. One of the two sees the other.

mod clock;
mod front;
mod keeper;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(super) use clock::StoreClock;
pub(super) use front::Fronts;
pub(super) use keeper::{Keeper, Shared};

use super::PostgresStore;
use super::error::Result;
use super::options::Pooler;
use super::pool::{Durability, Write};
use super::reclaim::departed;
use super::row::{column, optional_instant};
use super::session::Session;
use super::tasks;
use crate::id::TaskId;
use crate::store::Interest;
use crate::store::notify::Look;
use crate::task::StateSet;
use crate::time::Timestamp;

/// The name of the channel; there is one for each store of a database.
pub(super) const CHANNEL: &str =
    "SELECT 'votive_' || '@.task'::pg_catalog.regclass::oid::pg_catalog.text";

/// Stands for all queues where a notification says of which queue it is: no queue has this name.
pub(super) const EVERYBODY: &str = "";

/// Tells those who listen, whether they wait or not. It names no queue, so that a transaction which says it more than
/// once sends one notification.
pub(super) const ECHO: &str = "SELECT pg_catalog.pg_notify(
    'votive_' || '@.task'::pg_catalog.regclass::oid::pg_catalog.text, '')";

/// Tells those who wait for a queue, or [`EVERYBODY`]. To be sent after the commit that it tells of.
pub(super) const NOTIFY: &str = "SELECT pg_catalog.pg_notify(
    'votive_' || '@.task'::pg_catalog.regclass::oid::pg_catalog.text, $1)
    FROM @.sleeper WHERE until > pg_catalog.clock_timestamp() LIMIT 1";

/// For how long one is taken for waiting after saying so, and how often one who waits says so.
const SLEEPER: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(10)];

/// The shortest sleep, lest rounding turns waiting into spinning.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// How long one waits who finds at once that there is something, after a claim that found nothing: what is there is
/// locked by a transaction, and looking for it again and again would only burn time.
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

const SLEEP: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: None,
};

/// What a store remembers of waiting.
#[derive(Default)]
pub(super) struct Waiting {
    /// When it last said that somebody waits here.
    said: Mutex<Option<Instant>>,
    /// Whether the last claim found nothing.
    in_vain: Mutex<bool>,
    /// The queues that somebody has waited for, and whether tasks of them were notified of since.
    awaited: Mutex<BTreeMap<String, bool>>,
}

impl Waiting {
    /// Notes whether a claim found something.
    pub(super) fn claimed(&self, count: usize) {
        *self.in_vain.lock() = count == 0;
    }

    /// Whether what one who waits has found by so many looks is what the last claim could not get. What was not
    /// there when he looked first is new.
    fn is_out_of_reach(&self, looks: u32) -> bool {
        let in_vain = std::mem::take(&mut *self.in_vain.lock());
        in_vain && looks == 1
    }

    /// Begins to wait: what was notified of before is found by the first look.
    fn begin(&self, interests: &[Interest]) {
        let mut awaited = self.awaited.lock();
        for queue in interests.iter().filter_map(queue_of) {
            awaited.insert(queue.to_owned(), false);
        }
    }

    /// Notes that tasks of a queue are ready.
    fn notified(&self, queue: &str) {
        if let Some(notified) = self.awaited.lock().get_mut(queue) {
            *notified = true;
        }
    }

    /// The interest in a queue that was notified of while somebody waited: he need not look before he claims.
    fn take_notified(&self, interests: &[Interest]) -> Option<Interest> {
        let mut awaited = self.awaited.lock();
        let mut is_notified = |interest: &&Interest| {
            let notified = queue_of(interest).and_then(|queue| awaited.get_mut(queue));
            notified.is_some_and(std::mem::take)
        };
        interests.iter().find(&mut is_notified).cloned()
    }

    /// Has it said again that somebody waits: the server may have lost it.
    pub(super) fn say_again(&self) {
        *self.said.lock() = None;
    }
}

impl PostgresStore {
    /// Waits until an interest may be served.
    pub(super) fn wait_for(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Result<Option<Interest>> {
        self.keeper.listen();
        self.waiting.begin(interests);
        let mut rest = self.bell.rest(timeout);
        let marks = self.read(|session| marks(session, interests))?;
        let mut looks = 0;
        let served = rest.until_served(|| {
            looks += 1;
            self.say_waiting()?;
            // Only a look tells what was there before somebody waited.
            let notified = (looks > 1).then(|| self.waiting.take_notified(interests));
            if let Some(interest) = notified.flatten() {
                return Ok(Look::Served(interest));
            }
            let now = self.clock_now()?;
            self.read(|session| self.look(session, interests, &marks, now))
        })?;
        if matches!(served, Some(Interest::Ready(_))) && self.waiting.is_out_of_reach(looks) {
            rest.pause(LOCKED_PAUSE);
        }
        Ok(served)
    }

    /// Has those who commit in other processes tell of it.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that reads a timer"
    )]
    fn say_waiting(&self) -> Result<()> {
        let [until, again] = SLEEPER;
        let mut said = self.waiting.said.lock();
        let is_known = said.is_some_and(|said| said.elapsed() < again);
        if is_known || self.pool.connector().options().pooler == Pooler::Transaction {
            return Ok(());
        }
        let now = Instant::now();
        self.write(SLEEP, |session| {
            let seconds = i64::try_from(until.as_secs()).unwrap_or(i64::MAX);
            session.later(
                "DELETE FROM @.sleeper WHERE until < pg_catalog.clock_timestamp() - interval '1 hour'",
                Vec::new(),
            )?;
            session.later(
                "INSERT INTO @.sleeper (id, until)
                 VALUES ($1, pg_catalog.clock_timestamp() + $2 * interval '1 second')
                 ON CONFLICT (id) DO UPDATE SET until = EXCLUDED.until",
                vec![self.instance.into(), seconds.into()],
            )
        })?;
        *said = Some(now);
        Ok(())
    }

    /// How long a wait goes without a look if nothing wakes it.
    fn poll_interval(&self) -> Duration {
        let interval = self.pool.connector().options().poll_interval;
        if self.keeper.is_listening() {
            interval
        } else {
            interval / 10
        }
    }

    /// Looks whether an interest may be served; `marks` has the values when the wait began.
    fn look(
        &self,
        session: &mut dyn Session,
        interests: &[Interest],
        marks: &[Option<Vec<u8>>],
        now: Timestamp,
    ) -> Result<Look> {
        let mut quiet = Duration::MAX;
        for (interest, mark) in interests.iter().zip(marks) {
            let served = match interest {
                Interest::Ready(queue) => {
                    let (ready, due_at) = self.look_at(session, queue, now)?;
                    if let Some(due_at) = due_at {
                        quiet = quiet.min(due_at.since(now).max(SLEEP_MIN));
                    }
                    ready
                }
                Interest::Settled(task) => is_settled(session, *task)?,
                Interest::Mark(key) => tasks::mark(session, key)? != *mark,
            };
            if served {
                return Ok(Look::Served(interest.clone()));
            }
        }
        Ok(Look::Quiet(quiet.min(self.poll_interval())))
    }

    /// Whether a claim on a queue would find something, and when the next task of it is due.
    pub(super) fn look_at(
        &self,
        session: &mut dyn Session,
        queue: &str,
        now: Timestamp,
    ) -> Result<(bool, Option<Timestamp>)> {
        let row = session.first(
            concat!(
                "SELECT EXISTS (SELECT 1 FROM @.ready r WHERE r.queue = $1) OR EXISTS ",
                departed!("$2", "$3"),
                ", (SELECT min(t.not_before) FROM @.task t WHERE t.queue = $1 AND t.state = 2
                     AND t.pinned IS NULL)"
            ),
            vec![queue.into(), now.into(), self.own_consumers()],
        )?;
        let Some(row) = row else {
            return Ok((false, None));
        };
        let due_at = optional_instant(&row, 1)?;
        let is_due = due_at.is_some_and(|due_at| due_at <= now);
        Ok((column::<bool>(&row, 0)? || is_due, due_at))
    }
}

fn queue_of(interest: &Interest) -> Option<&str> {
    match interest {
        Interest::Ready(queue) => Some(queue),
        _ => None,
    }
}

fn marks(session: &mut dyn Session, interests: &[Interest]) -> Result<Vec<Option<Vec<u8>>>> {
    let marks = interests.iter().map(|interest| match interest {
        Interest::Mark(key) => tasks::mark(session, key),
        _ => Ok(None),
    });
    marks.collect()
}

fn is_settled(session: &mut dyn Session, task: TaskId) -> Result<bool> {
    let state = tasks::follow(session, task)?.map(|row| row.record.state);
    match state {
        Some(state) => Ok(StateSet::ENDED.contains(state)),
        None => Ok(!tasks::is_staged(session, task)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_found_at_once_after_a_claim_in_vain_is_out_of_reach() {
        let waiting = Waiting::default();
        let found = |claimed, looks| {
            waiting.claimed(claimed);
            waiting.is_out_of_reach(looks)
        };
        assert!(found(0, 1) && !waiting.is_out_of_reach(1));
        assert!(!found(0, 2) && !found(1, 1));
    }

    #[test]
    fn only_what_is_notified_of_while_somebody_waits_for_it_needs_no_look() {
        let waiting = Waiting::default();
        let of = |queue: &str| {
            [
                Interest::Mark("m".to_owned()),
                Interest::Ready(queue.to_owned()),
            ]
        };
        waiting.notified("a");
        waiting.begin(&of("a"));
        assert_eq!(waiting.take_notified(&of("a")), None);
        waiting.notified("b");
        waiting.notified(EVERYBODY);
        assert!(waiting.take_notified(&of("a")).is_none());
        waiting.notified("a");
        assert_eq!(
            waiting.take_notified(&of("a")),
            Some(Interest::Ready("a".to_owned()))
        );
        assert_eq!(waiting.take_notified(&of("a")), None);
        waiting.notified("a");
        waiting.begin(&of("a"));
        assert_eq!(waiting.take_notified(&of("a")), None);
    }
}
