//! Group commit: writes that arrive together share one transaction, and so one wait for the disk.
//!
//! There is no thread of its own. Callers line up; the first one leads: it takes who is there, does their
//! work, commits once, and only then hands out the results, refusals too, since a refusal may be due to
//! another member that was not yet committed. Only where a member was refused is all of it done again, with a
//! savepoint for each: savepoints cost more than the work of a small write. A lone write waits for nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::connection::set_synchronous;
use super::error::{Fault, Result};
use super::gate::Gate;
use crate::failpoint;
use crate::store::Kind;

/// How many writes share a transaction at most.
const MEMBERS_MAX: usize = 256;

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// It may be lost by a power failure until a later write is flushed.
    Deferred,
    /// It is on disk when it returns, and so is all that was written before it.
    Flushed,
}

/// One write of the contract.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) durability: Durability,
    /// Where a crash test may have the process die: before and after the COMMIT.
    pub(super) failpoints: [&'static str; 2],
}

/// The writing side of a store.
pub(super) struct Writer {
    line: Mutex<Line>,
    moved: Condvar,
    connection: Mutex<WriteConnection>,
    gate: Arc<Gate>,
    busy_timeout: Duration,
    commits: AtomicU64,
}

#[derive(Default)]
struct Line {
    members: VecDeque<Box<dyn Member>>,
    /// How many are being led; nobody else leads meanwhile.
    led: usize,
}

struct WriteConnection {
    connection: Connection,
    durability: Durability,
}

impl Writer {
    /// Takes a connection whose `synchronous` is FULL.
    pub(super) fn new(connection: Connection, gate: Arc<Gate>, busy_timeout: Duration) -> Self {
        Self {
            line: Mutex::default(),
            moved: Condvar::new(),
            connection: Mutex::new(WriteConnection {
                connection,
                durability: Durability::Flushed,
            }),
            gate,
            busy_timeout,
            commits: AtomicU64::new(0),
        }
    }

    /// How many transactions were committed.
    pub(super) fn commit_count(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How many writes have lined up and are not done.
    pub(super) fn waiting(&self) -> usize {
        let line = self.line.lock();
        line.members.len() + line.led
    }

    /// Runs `operation` in a write transaction, all of it or nothing, and commits.
    ///
    /// An error whose kind is not [`Kind::Unknown`] promises that nothing changed. What `operation` did is rolled
    /// back where it is called again.
    pub(super) fn run<T: Send + 'static>(
        &self,
        write: Write,
        operation: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::new(Mutex::new(None));
        let job = Box::new(Job {
            write,
            operation,
            result: None,
            slot: Arc::clone(&slot),
        });
        let mut line = self.line.lock();
        line.members.push_back(job);
        loop {
            if let Some(result) = slot.lock().take() {
                return result;
            }
            if line.led > 0 {
                self.moved.wait(&mut line);
                continue;
            }
            let count = line.members.len().min(MEMBERS_MAX);
            let members = line.members.drain(..count).collect();
            line.led = count;
            drop(line);
            let lead = Lead(self);
            self.lead(members);
            drop(lead);
            line = self.line.lock();
        }
    }

    fn lead(&self, mut members: Vec<Box<dyn Member>>) {
        let ended = self.transact(&mut members);
        for member in members {
            member.end(&ended);
        }
    }

    fn transact(&self, members: &mut [Box<dyn Member>]) -> Result<()> {
        let pass = self.gate.pass(self.busy_timeout);
        let _pass = pass.ok_or(Kind::Unavailable)?;
        let mut writer = self.connection.lock();
        writer.be(members.iter().map(|member| member.write().durability).max())?;
        let connection = &writer.connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let _rollback = RollBack(connection);
        if !work(connection, members)? {
            return Ok(());
        }
        let hit = |when: fn([&'static str; 2]) -> &'static str| {
            for member in members.iter() {
                failpoint::hit(when(member.write().failpoints));
            }
        };
        hit(|[before, _]| before);
        commit(connection)?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        hit(|[_, after]| after);
        Ok(())
    }
}

/// Does the members' work; `false` if none of it succeeded.
fn work(connection: &Connection, members: &mut [Box<dyn Member>]) -> Result<bool> {
    let mut all = members.iter_mut();
    if all.all(|member| member.work(connection).is_ok()) {
        return Ok(true);
    }
    if members.len() == 1 {
        return Ok(false);
    }
    // Something may have rolled back all members together already.
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    work_apart(connection, members)
}

/// The same with a savepoint for each member.
fn work_apart(connection: &Connection, members: &mut [Box<dyn Member>]) -> Result<bool> {
    let mut any = false;
    for member in members {
        connection.prepare_cached("SAVEPOINT member")?.execute([])?;
        let done = member.work(connection);
        if let Err(fault) = &done {
            // A full disk, for one, may have rolled back all members together.
            if connection.is_autocommit() {
                return Err(fault.clone());
            }
            connection
                .prepare_cached("ROLLBACK TO member")?
                .execute([])?;
        }
        connection.prepare_cached("RELEASE member")?.execute([])?;
        any |= done.is_ok();
    }
    Ok(any)
}

/// Commits. When the transaction is still open after a failure, nothing has happened and it is rolled
/// back; when it is not, the end of the log may or may not be on disk, unless there was no room for it.
fn commit(connection: &Connection) -> Result<()> {
    let failed = match connection.prepare_cached("COMMIT")?.execute([]) {
        Ok(_) => return Ok(()),
        Err(error) => Fault::from(error),
    };
    let full = failed.kind == Kind::Full && failed.is_definitely_full();
    if connection.is_autocommit() && !full {
        return Err(failed.with_kind(Kind::Unknown));
    }
    Err(failed)
}

impl WriteConnection {
    fn be(&mut self, durability: Option<Durability>) -> Result<()> {
        match durability {
            Some(durability) if durability != self.durability => {
                set_synchronous(&self.connection, durability == Durability::Flushed)?;
                self.durability = durability;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Lets the next one lead, even if this one panics.
struct Lead<'w>(&'w Writer);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.line.lock().led = 0;
        self.0.moved.notify_all();
    }
}

/// Leaves no transaction open behind, whatever happens.
struct RollBack<'c>(&'c Connection);

impl Drop for RollBack<'_> {
    fn drop(&mut self) {
        if self.0.is_autocommit() {
            return;
        }
        if let Err(error) = self.0.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

/// One write in the line, whatever it returns.
trait Member: Send {
    fn write(&self) -> Write;
    /// Does the work, perhaps again, and keeps the result.
    fn work(&mut self, connection: &Connection) -> std::result::Result<(), Fault>;
    /// Hands out the result, or the failure of the whole group.
    fn end(self: Box<Self>, ended: &Result<()>);
}

struct Job<T, F> {
    write: Write,
    operation: F,
    result: Option<Result<T>>,
    slot: Arc<Mutex<Option<Result<T>>>>,
}

impl<T, F> Member for Job<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T> + Send,
{
    fn write(&self) -> Write {
        self.write
    }

    fn work(&mut self, connection: &Connection) -> std::result::Result<(), Fault> {
        let result = (self.operation)(connection);
        let done = result.as_ref().map(drop).map_err(Fault::clone);
        self.result = Some(result);
        done
    }

    fn end(mut self: Box<Self>, ended: &Result<()>) {
        let result = match ended {
            Ok(()) => self.result.take(),
            Err(fault) => Some(Err(fault.clone())),
        };
        *self.slot.lock() = result;
    }
}

/// A job that ends without a result had a leader that panicked: nobody is left waiting for it.
impl<T, F> Drop for Job<T, F> {
    fn drop(&mut self) {
        self.slot
            .lock()
            .get_or_insert_with(|| Err(Kind::Unknown.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const WRITE: Write = Write {
        durability: Durability::Flushed,
        failpoints: ["", ""],
    };

    fn writer(folder: &tempfile::TempDir) -> Writer {
        let path = folder.path().join("test.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA user_version = 0").unwrap();
        let gate = Gate::of(&path).unwrap();
        Writer::new(connection, gate, Duration::from_secs(60))
    }

    fn count(connection: &Connection) -> Result<i64> {
        Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// A write that can be counted.
    fn count_up(connection: &Connection) -> Result<i64> {
        let next = count(connection)? + 1;
        connection.pragma_update(None, "user_version", next)?;
        Ok(next)
    }

    #[test]
    fn a_refused_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let refused: Result<()> = writer.run(WRITE, |connection| {
            count_up(connection)?;
            Err(Kind::Conflict.into())
        });
        assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
        assert_eq!(writer.run(WRITE, count).unwrap(), 0);
    }

    #[test]
    fn a_member_that_is_refused_takes_nobody_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let refuse = |connection: &Connection| -> Result<i64> {
            count_up(connection)?;
            Err(Kind::Conflict.into())
        };
        std::thread::scope(|threads| {
            let (go, gone) = mpsc::channel::<()>();
            threads.spawn(|| writer.run(WRITE, move |_| Ok(gone.recv().unwrap())));
            let wait_for = |count| {
                while writer.waiting() < count {
                    std::thread::yield_now();
                }
            };
            wait_for(1);
            let first = threads.spawn(|| writer.run(WRITE, count_up));
            wait_for(2);
            let refused = threads.spawn(|| writer.run(WRITE, refuse));
            wait_for(3);
            let last = threads.spawn(|| writer.run(WRITE, count_up));
            wait_for(4);
            go.send(()).unwrap();
            let refused = refused.join().unwrap().unwrap_err();
            assert_eq!(refused.kind, Kind::Conflict);
            assert_eq!(first.join().unwrap().unwrap(), 1);
            assert_eq!(last.join().unwrap().unwrap(), 2);
        });
        assert_eq!(writer.run(WRITE, count).unwrap(), 2);
    }

    #[test]
    fn nobody_is_left_waiting_for_a_leader_that_panics() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        std::thread::scope(|threads| {
            let (started, start) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            let leader = threads.spawn(|| {
                writer.run(WRITE, move |_| -> Result<()> {
                    started.send(()).unwrap();
                    gone.recv().unwrap();
                    panic!("on purpose");
                })
            });
            start.recv().unwrap();
            let follower = threads.spawn(|| writer.run(WRITE, count_up));
            while writer.waiting() < 2 {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
            assert!(leader.join().is_err());
            assert_eq!(follower.join().unwrap().unwrap(), 1);
        });
        assert_eq!(writer.run(WRITE, count).unwrap(), 1);
    }

    #[test]
    fn a_write_is_flushed_only_if_a_member_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let synchronous = |durability| {
            let write = Write {
                durability,
                ..WRITE
            };
            let ask =
                |connection: &Connection| {
                    Ok(connection
                        .pragma_query_value(None, "synchronous", |row| row.get::<_, u8>(0))?)
                };
            writer.run(write, ask).unwrap()
        };
        assert_eq!(synchronous(Durability::Deferred), 1);
        assert_eq!(synchronous(Durability::Flushed), 2);
    }
}
