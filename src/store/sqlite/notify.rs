//! Waiting for work: woken at once by this process's own commits, within a millisecond or so by those
//! of other processes, and in any case after the poll interval.
//!
//! A commit of another process shows as a change of the write-ahead log, of which the kernel tells. It
//! tells when the log is written, though, and the commit is seen by readers only after the log was
//! flushed; so from then on `data_version` is asked, at growing intervals, until it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::SqliteStore;
use super::claim;
use super::error::Result;
use super::row::Bytes;
use super::tasks;
use crate::id::TaskId;
use crate::store::Interest;
use crate::store::notify::{Bell, Look, Nudges, Watcher, or_poll};
use crate::time::Timestamp;

/// The shortest sleep, lest rounding turns waiting into spinning.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The first and the last pause between two looks at `data_version` after the log was written.
const LOOK_PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(500)];

impl SqliteStore {
    /// Waits until an interest may be served.
    pub(super) fn wait_for(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Result<Option<Interest>> {
        let _waiting = self.watcher.as_ref().map(Watcher::wait);
        let mut rest = self.bell.rest(timeout);
        let marks = self.read(|connection| marks(connection, interests))?;
        rest.until_served(|| {
            let now = self.clock_now();
            self.read(|connection| self.look(connection, interests, &marks, now))
        })
    }

    /// Looks whether an interest may be served; `marks` has the values when the wait began.
    fn look(
        &self,
        connection: &Connection,
        interests: &[Interest],
        marks: &[Option<Vec<u8>>],
        now: Timestamp,
    ) -> Result<Look> {
        let mut quiet = Duration::MAX;
        let departed = self.departed_holders(connection)?;
        for (interest, mark) in interests.iter().zip(marks) {
            let served = match interest {
                Interest::Ready(queue) => {
                    if let Some(due_at) = claim::next_due_at(connection, queue, now)? {
                        quiet = quiet.min(due_at.since(now).max(SLEEP_MIN));
                    }
                    claim::is_ready(connection, queue, now)?
                        || claim::any_holds(connection, &departed, queue)?
                }
                Interest::Settled(task) => is_settled(connection, *task)?,
                Interest::Mark(key) => tasks::mark(connection, key)? != *mark,
            };
            if served {
                return Ok(Look::Served(interest.clone()));
            }
        }
        Ok(Look::Quiet(quiet.min(self.poll_interval)))
    }
}

fn marks(connection: &Connection, interests: &[Interest]) -> Result<Vec<Option<Vec<u8>>>> {
    let marks = interests.iter().map(|interest| match interest {
        Interest::Mark(key) => tasks::mark(connection, key),
        _ => Ok(None),
    });
    marks.collect()
}

/// Follows an alias: a merged task has ended when the one that it merged into has.
fn is_settled(connection: &Connection, task: TaskId) -> Result<bool> {
    match tasks::follow(connection, task, Bytes::Left)? {
        Some(row) => Ok(row.record.state.is_ended()),
        None => Ok(!tasks::is_staged(connection, task)?),
    }
}

/// Watches the write-ahead log for commits of other processes. `connection` is kept for `data_version`.
pub(super) fn watch(
    path: &Path,
    connection: Connection,
    bell: Arc<Bell>,
) -> Result<Option<Watcher>> {
    let version = data_version(&connection)?;
    let mut follower = Follower {
        connection,
        version,
        bell,
    };
    let watcher = Watcher::start(log_of(path), move |nudges| {
        if let Err(fault) = follower.await_commit(nudges) {
            tracing::warn!(?fault, "a commit may be noticed only by polling");
        }
    });
    Ok(or_poll(watcher))
}

struct Follower {
    connection: Connection,
    version: i64,
    bell: Arc<Bell>,
}

impl Follower {
    /// Asks at growing intervals whether what was written can be seen, until nothing has come for long.
    fn await_commit(&mut self, nudges: &Nudges) -> Result<()> {
        let [first, last] = LOOK_PAUSES;
        let mut pause = first;
        while pause < last && nudges.is_waited_for() {
            let version = data_version(&self.connection)?;
            if version != self.version {
                self.version = version;
                self.bell.ring();
                pause = first;
            }
            match nudges.next_within(pause) {
                Some(is_written) => pause = next_pause(pause, is_written),
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// After a write the pauses begin anew: what was written before says nothing of how long this flush takes.
/// They grow slowly, so that a commit is seen late by no more than a quarter of its flush.
fn next_pause(pause: Duration, is_written: bool) -> Duration {
    let [first, _] = LOOK_PAUSES;
    if is_written { first } else { pause + pause / 4 }
}

fn data_version(connection: &Connection) -> Result<i64> {
    let mut pragma = connection.prepare_cached("PRAGMA data_version")?;
    Ok(pragma.query_row([], |row| row.get(0))?)
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_is_looked_after_as_soon_as_the_first() {
        let [first, last] = LOOK_PAUSES;
        let mut pause = first;
        for _ in 0..20 {
            pause = next_pause(pause, false);
        }
        assert!(pause > first && pause < last);
        assert_eq!(next_pause(pause, true), first);
    }
}
