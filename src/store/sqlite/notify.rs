//! Waiting for work: woken at once by this process's own commits, within a millisecond or so by those
//! of other processes, and in any case after the poll interval.
//!
//! A commit of another process shows as a change of the write-ahead log, of which the kernel tells. It
//! tells when the log is written, though, and the commit is seen by readers only after the log was
//! flushed; so from then on `data_version` is asked, at growing intervals, until it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::SqliteStore;
use super::claim;
use super::error::{Fault, Result};
use super::row::Bytes;
use super::tasks;
use crate::id::TaskId;
use crate::store::Interest;
use crate::time::Timestamp;

/// The shortest sleep, lest rounding turns waiting into spinning.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The first and the last pause between two looks at `data_version` after the log was written.
const LOOK_PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(500)];

/// Wakes those who wait in this process.
#[derive(Default)]
pub(super) struct Bell {
    rings: Mutex<Rings>,
    rung: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rings {
    count: u64,
    interrupts: u64,
}

impl Bell {
    /// Has everybody look.
    pub(super) fn ring(&self) {
        self.rings.lock().count += 1;
        self.rung.notify_all();
    }

    /// Has everybody go home.
    pub(super) fn interrupt(&self) {
        self.rings.lock().interrupts += 1;
        self.rung.notify_all();
    }

    fn rings(&self) -> Rings {
        *self.rings.lock()
    }

    fn wait_for_more(&self, than: Rings, timeout: Duration) {
        let mut rings = self.rings.lock();
        let same =
            |rings: &mut Rings| (rings.count, rings.interrupts) == (than.count, than.interrupts);
        self.rung.wait_while_for(&mut rings, same, timeout);
    }
}

impl SqliteStore {
    /// Waits until an interest may be served.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that reads a timer"
    )]
    pub(super) fn wait_for(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Result<Option<Interest>> {
        let started = Instant::now();
        let _waiting = self.watcher.as_ref().map(Watcher::wait);
        let first = self.bell.rings();
        let marks = self.read(|connection| marks(connection, interests))?;
        loop {
            let rings = self.bell.rings();
            let now = self.clock_now();
            let look = self.read(|connection| self.look(connection, interests, &marks, now))?;
            let quiet = match look {
                Look::Served(interest) => return Ok(Some(interest)),
                Look::Quiet(quiet) => quiet.min(self.poll_interval),
            };
            let Some(left) = timeout.checked_sub(started.elapsed()) else {
                return Ok(None);
            };
            if self.bell.rings().interrupts != first.interrupts {
                return Ok(None);
            }
            self.bell.wait_for_more(rings, quiet.min(left));
        }
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
                    if let Some(due_at) = claim::next_due_at(connection, queue)? {
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
        Ok(Look::Quiet(quiet))
    }
}

enum Look {
    Served(Interest),
    /// For this long nothing but a commit can serve anybody.
    Quiet(Duration),
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

/// Watches the write-ahead log for commits of other processes; has the only thread of the store.
///
/// The kernel is asked only while somebody waits: a log that is written by those who are busy wakes
/// nobody.
pub(super) struct Watcher {
    shared: Arc<Watching>,
    nudge: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Watching {
    log: PathBuf,
    bell: Arc<Bell>,
    waiters: AtomicUsize,
    watch: Mutex<Watch>,
}

struct Watch {
    /// `None` when the store is being closed.
    watcher: Option<RecommendedWatcher>,
    is_on: bool,
}

/// Somebody waits for as long as this lives.
pub(super) struct Waiting<'w>(&'w Watcher);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.shared.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watcher {
    /// Starts to ring `bell`. `connection` is kept for `data_version`.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that has a thread"
    )]
    pub(super) fn start(path: &Path, connection: Connection, bell: Arc<Bell>) -> Result<Self> {
        let version = data_version(&connection)?;
        let (nudge, nudges) = crossbeam_channel::bounded(1);
        let written = nudge.clone();
        let watcher = notify::recommended_watcher(move |_: notify::Result<_>| send(&written));
        let shared = Arc::new(Watching {
            log: log_of(path),
            bell,
            waiters: AtomicUsize::new(0),
            watch: Mutex::new(Watch {
                watcher: Some(watcher.map_err(not_watching)?),
                is_on: false,
            }),
        });
        let follower = Follower {
            connection,
            version,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::spawn(move || follower.follow(&nudges));
        Ok(Self {
            shared,
            nudge: Some(nudge),
            thread: Some(thread),
        })
    }

    /// Has the log watched while the caller waits.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.shared.waiters.fetch_add(1, Ordering::SeqCst);
        if self.shared.turn_on() {
            // What was written before may become visible only now.
            self.nudge.iter().for_each(send);
        }
        Waiting(self)
    }
}

/// One nudge that is not yet taken stands for all, and nobody takes one when the store is closed.
fn send(nudge: &Sender<()>) {
    if let Err(TrySendError::Disconnected(())) = nudge.try_send(()) {
        tracing::trace!("nobody waits for the write-ahead log any more");
    }
}

impl Watching {
    /// Returns whether the watch was off.
    fn turn_on(&self) -> bool {
        let mut watch = self.watch.lock();
        let was_off = !std::mem::replace(&mut watch.is_on, true);
        if was_off && let Some(watcher) = &mut watch.watcher {
            let on = watcher.watch(&self.log, RecursiveMode::NonRecursive);
            self.complain(on);
        }
        was_off
    }

    /// Ends the watch unless somebody waits.
    fn turn_off(&self) {
        let mut watch = self.watch.lock();
        if self.waiters.load(Ordering::SeqCst) > 0 || !watch.is_on {
            return;
        }
        watch.is_on = false;
        if let Some(watcher) = &mut watch.watcher {
            let off = watcher.unwatch(&self.log);
            self.complain(off);
        }
    }

    fn complain(&self, done: notify::Result<()>) {
        if let Err(error) = done {
            let log = self.log.display();
            tracing::warn!(%error, %log, "commits of other processes may be noticed only by polling");
        }
    }
}

/// Without anybody left to nudge it the thread ends.
impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.watch.lock().watcher = None;
        self.nudge = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that watches the write-ahead log panicked");
        }
    }
}

struct Follower {
    connection: Connection,
    version: i64,
    shared: Arc<Watching>,
}

impl Follower {
    fn follow(mut self, nudges: &Receiver<()>) {
        while nudges.recv().is_ok() {
            if self.shared.waiters.load(Ordering::SeqCst) == 0 {
                self.shared.turn_off();
            } else if let Err(fault) = self.await_commit(nudges) {
                tracing::warn!(?fault, "a commit may be noticed only by polling");
            }
        }
    }

    /// Asks at growing intervals whether what was written can be seen, until nothing has come for long.
    fn await_commit(&mut self, nudges: &Receiver<()>) -> Result<()> {
        let [first, last] = LOOK_PAUSES;
        let mut pause = first;
        while pause < last && self.shared.waiters.load(Ordering::SeqCst) > 0 {
            let version = data_version(&self.connection)?;
            if version != self.version {
                self.version = version;
                self.shared.bell.ring();
                pause = first;
            }
            match nudges.recv_timeout(pause) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => pause *= 2,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }
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

fn not_watching(error: notify::Error) -> Fault {
    std::io::Error::other(error).into()
}
