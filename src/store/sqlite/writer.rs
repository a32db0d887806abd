//! Group commit, by the [line](crate::store::line) of those who write: who leads does everybody's work in one
//! transaction, and commits it once. Only where a member was refused is all of it done again, with a savepoint for
//! each: savepoints cost more than the work of a small write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::connection::{empty_log, set_synchronous};
use super::error::{Fault, Result};
use super::gate::Gate;
use super::statements::Statements;
use crate::failpoint;
use crate::store::Kind;
use crate::store::line::{self, Line};

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
    line: Line<Job, Fault>,
    connection: Mutex<WriteConnection>,
    gate: Arc<Gate>,
    busy_timeout: Duration,
    commits: AtomicU64,
}

type Member = line::Member<Job, Fault>;

/// A write that has lined up. It keeps its result where its caller finds it.
struct Job {
    write: Write,
    operation: Operation,
}

type Operation = Box<dyn FnMut(&Statements<'_>) -> Result<()> + Send>;

struct WriteConnection {
    connection: Connection,
    durability: Durability,
    /// Whether a flush has failed since the log began. The system may have dropped what was written before without one,
    /// and what is appended behind such a hole is lost with the power, however well it is flushed.
    has_holes: bool,
}

impl Writer {
    /// Takes a connection whose `synchronous` is FULL.
    pub(super) fn new(connection: Connection, gate: Arc<Gate>, busy_timeout: Duration) -> Self {
        Self {
            line: Line::default(),
            connection: Mutex::new(WriteConnection {
                connection,
                durability: Durability::Flushed,
                has_holes: false,
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
        self.line.waiting()
    }

    /// Runs `operation` in a write transaction, all of it or nothing, and commits.
    ///
    /// An error whose kind is not [`Kind::Unknown`] promises that nothing changed. What `operation` did is rolled
    /// back where it is called again.
    pub(super) fn run<T: Send + 'static>(
        &self,
        write: Write,
        mut operation: impl FnMut(&Statements<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let operation = move |connection: &Statements<'_>| {
            *keep.lock() = Some(operation(connection)?);
            Ok(())
        };
        let job = Job {
            write,
            operation: Box::new(operation),
        };
        self.line.run(job, |members| self.transact(members))?;
        let result = kept.lock().take();
        result.ok_or(Kind::Unknown.into())
    }

    fn transact(&self, members: &mut [Member]) -> Result<()> {
        let pass = self.gate.pass(self.busy_timeout);
        let _pass = pass.ok_or(Kind::Unavailable)?;
        let mut writer = self.connection.lock();
        writer.mend()?;
        writer.be(members
            .iter()
            .map(|member| member.job.write.durability)
            .max())?;
        let done = self.write(&writer.connection, members);
        writer.note(&done);
        done
    }

    /// Does what the members ask in one transaction, and commits it if any of it succeeded.
    fn write(&self, connection: &Connection, members: &mut [Member]) -> Result<()> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let _rollback = RollBack(connection);
        if !work(connection, members)? {
            return Ok(());
        }
        let hit = |when: fn([&'static str; 2]) -> &'static str| {
            for member in members.iter() {
                failpoint::hit(when(member.job.write.failpoints));
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
fn work(connection: &Connection, members: &mut [Member]) -> Result<bool> {
    if work_together(connection, members) {
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
    work_apart(&Statements::new(connection), members)
}

/// Returns whether all of it succeeded; it stops at the first that is refused.
fn work_together(connection: &Connection, members: &mut [Member]) -> bool {
    let connection = Statements::new(connection);
    let mut all = members.iter_mut();
    all.all(|member| member.work(&connection).is_ok())
}

/// The same with a savepoint for each member.
fn work_apart(connection: &Statements<'_>, members: &mut [Member]) -> Result<bool> {
    let mut any = false;
    for member in members {
        connection.prepare_cached("SAVEPOINT member")?.execute([])?;
        let done = member.work(connection);
        if let Err(fault) = done {
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

    /// Notes whether it is known what is on disk.
    fn note(&mut self, written: &Result<()>) {
        if let Err(fault) = written
            && fault.kind == Kind::Unknown
        {
            tracing::error!(
                ?fault,
                "nothing is written until all of the log is in the database"
            );
            self.has_holes = true;
        }
    }

    /// Has the log begin anew, without holes, if it may have some: all of it is copied into the database before.
    fn mend(&mut self) -> Result<()> {
        if self.has_holes {
            self.be(Some(Durability::Flushed))?;
            empty_log(&self.connection)?;
            self.has_holes = false;
        }
        Ok(())
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

impl Member {
    /// Does the work, perhaps again, and keeps what became of it.
    fn work(&mut self, connection: &Statements<'_>) -> std::result::Result<(), &Fault> {
        self.result = (self.job.operation)(connection);
        self.result.as_ref().copied()
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
        connection.busy_timeout(Duration::ZERO).unwrap();
        let usual = "PRAGMA journal_mode = WAL; PRAGMA user_version = 0";
        connection.execute_batch(usual).unwrap();
        let gate = Gate::of(&path).unwrap();
        Writer::new(connection, gate, Duration::from_secs(60))
    }

    fn count(connection: &Statements<'_>) -> Result<i64> {
        Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// A write that can be counted.
    fn count_up(connection: &Statements<'_>) -> Result<i64> {
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
        let refuse = |connection: &Statements<'_>| -> Result<i64> {
            count_up(connection)?;
            Err(Kind::Conflict.into())
        };
        std::thread::scope(|threads| {
            let (go, gone) = mpsc::channel::<()>();
            threads.spawn(|| {
                writer.run(WRITE, move |_| {
                    gone.recv().unwrap();
                    Ok(())
                })
            });
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
    fn after_a_flush_that_failed_the_log_begins_anew_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let [path, log] = ["test.db", "test.db-wal"].map(|name| folder.path().join(name));
        let size = || std::fs::metadata(&log).unwrap().len();
        assert_eq!(writer.run(WRITE, count_up).unwrap(), 1);
        let before = size();
        writer.connection.lock().note(&Err(Kind::Unknown.into()));
        let reader = Connection::open(path).unwrap();
        let read = "BEGIN; SELECT count(*) FROM sqlite_schema";
        reader.execute_batch(read).unwrap();
        // Who reads the log keeps it from being given up.
        let refused = writer.run(WRITE, count_up).unwrap_err();
        assert_eq!((refused.kind, size()), (Kind::Unavailable, before));
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(writer.run(WRITE, count_up).unwrap(), 2);
        assert!(size() <= before, "{} are more than {before}", size());
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
                |connection: &Statements<'_>| {
                    Ok(connection
                        .pragma_query_value(None, "synchronous", |row| row.get::<_, u8>(0))?)
                };
            writer.run(write, ask).unwrap()
        };
        assert_eq!(synchronous(Durability::Deferred), 1);
        assert_eq!(synchronous(Durability::Flushed), 2);
    }
}
