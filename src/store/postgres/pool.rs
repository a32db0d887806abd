//! Connections that are used again, and transactions on them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio_postgres::Row;

use super::connection::{Answer, Call, Connector, Link, Text, Wants, blocking};
use super::error::{Fault, Result};
use super::notify;
use super::options::Pooler;
use super::session::Session;
use super::value::Value;
use crate::failpoint;
use crate::store::Kind;

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It may be lost if the server crashes, until a later write is flushed.
    Deferred,
    /// It is on disk when it returns, and so is all that was written before it.
    Flushed,
}

/// How often a write is done again.
const TRIES: usize = 16;

/// Does a write again that [fell short](super::error::Fault::fell_short), since somebody was faster: with a task
/// that it had looked at and not yet locked. Nothing of it was done.
pub(super) fn again<T>(mut write: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match write() {
            Err(fault) if fault.fell_short() => {}
            done => return done,
        }
    }
    write()
}

/// One write of the contract.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'q> {
    pub(super) durability: Durability,
    /// Where a crash test may have the process die: before and after the COMMIT.
    pub(super) failpoints: [&'static str; 2],
    /// Who is told once it has committed, of those who wait: all who wait for this queue, or [`EVERYBODY`].
    pub(super) wakes: Option<&'q str>,
}

/// The connections of a store.
///
/// The latest one used is used next, so that few stay open; a broken one is not used again.
pub(super) struct Pool {
    connector: Arc<Connector>,
    state: Mutex<State>,
    returned: Condvar,
    process: u32,
}

#[derive(Default)]
struct State {
    idle: Vec<Link>,
    /// How many are open, idle or not.
    open: usize,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self {
            connector,
            state: Mutex::default(),
            returned: Condvar::new(),
            process: std::process::id(),
        }
    }

    pub(super) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Looks, in statements of which each sees its own state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&mut Look<'_>) -> Result<T>) -> Result<T> {
        blocking(|| {
            let mut borrowed = self.borrow()?;
            borrowed.with(|link| look(&mut Look(link)))
        })
    }

    /// Does the same, and waits for each answer up to `patience`: for who looks at everything.
    pub(super) fn read_patiently<T>(
        &self,
        patience: Duration,
        look: impl FnOnce(&mut Look<'_>) -> Result<T>,
    ) -> Result<T> {
        self.read(|session| {
            let usual = session.0.waits_up_to(patience);
            let found = look(session);
            session.0.waits_up_to(usual);
            found
        })
    }

    /// Runs `operation` in a transaction, all of it or nothing, and commits. An error whose kind is not
    /// [`Kind::Unknown`] promises that nothing changed.
    pub(super) fn write<T>(
        &self,
        write: Write<'_>,
        operation: impl FnOnce(&mut Txn<'_>) -> Result<T>,
    ) -> Result<T> {
        blocking(|| {
            let mut borrowed = self.borrow()?;
            borrowed.with(|link| {
                let mut txn = Txn::new(link, self.connector.begin(), write.durability);
                match operation(&mut txn) {
                    Ok(done) => txn.commit(write).map(|()| done),
                    Err(fault) => {
                        txn.roll_back();
                        Err(fault)
                    }
                }
            })
        })
    }

    /// Executes a statement that is a transaction by itself, and returns its rows. Whether its commit waits for the
    /// disk, the statement has to [say](deferred!) itself.
    pub(super) fn write_alone(
        &self,
        write: Write<'_>,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>> {
        if self.connector.options().pooler == Pooler::Transaction {
            return self.write(write, |txn| txn.query(sql, values));
        }
        blocking(|| {
            let mut borrowed = self.borrow()?;
            borrowed.with(|link| alone(link, write, sql, values))
        })
    }

    /// Refuses to go on in a fork: connections do not survive one.
    fn here(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Kind::Forked.into())
    }

    /// Takes an idle connection, or opens one; waits for one if there are too many.
    fn borrow(&self) -> Result<Borrowed<'_>> {
        self.here()?;
        let options = self.connector.options();
        let mut state = self.state.lock();
        let full =
            |state: &mut State| state.idle.is_empty() && state.open >= options.connections_max;
        let patience: Duration = options.answer_timeout;
        if full(&mut state) {
            self.returned.wait_while_for(&mut state, full, patience);
        }
        while let Some(mut link) = state.idle.pop() {
            if !link.is_broken() && !link.has_ended() {
                drop(state);
                return Ok(self.lend(link));
            }
            state.open -= 1;
        }
        if state.open >= options.connections_max {
            return Err(Kind::Unavailable.into());
        }
        state.open += 1;
        drop(state);
        let opened = self.connector.connect();
        if opened.is_err() {
            self.state.lock().open -= 1;
            self.returned.notify_one();
        }
        opened.map(|link| self.lend(link))
    }

    fn lend(&self, link: Link) -> Borrowed<'_> {
        Borrowed {
            pool: self,
            link: Some(link),
        }
    }
}

/// A connection that goes back when it is not needed any more.
struct Borrowed<'p> {
    pool: &'p Pool,
    link: Option<Link>,
}

impl Borrowed<'_> {
    fn with<T>(&mut self, work: impl FnOnce(&mut Link) -> Result<T>) -> Result<T> {
        let link = self.link.as_mut();
        work(link.ok_or(Kind::Other)?)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        match self.link.take() {
            // One that is left in the middle of something, by a panic, is not trusted either.
            Some(link) if !link.is_broken() && !std::thread::panicking() => state.idle.push(link),
            _ => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

/// Statements that are transactions of their own, for who only looks.
pub(super) struct Look<'l>(&'l mut Link);

impl Session for Look<'_> {
    fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        Ok(one(self.0, sql, values, Wants::Rows)?.rows)
    }

    fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        Ok(one(self.0, sql, values, Wants::Count)?.count)
    }
}

/// Statements that are writes by themselves.
pub(super) struct Alone<'p>(pub(super) &'p Pool, pub(super) Write<'static>);

impl Session for Alone<'_> {
    fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let Self(pool, write) = self;
        pool.write_alone(*write, sql, values)
    }

    fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        Ok(self.query(sql, values)?.len() as u64)
    }
}

/// Executes one statement by itself.
pub(super) fn one(
    link: &mut Link,
    sql: &'static str,
    values: Vec<Value>,
    wants: Wants,
) -> Result<Answer> {
    let call = Call {
        text: Text::Statement(sql),
        values,
        wants,
    };
    let answers = link.call(&[call])?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

/// What the rows of a statement are joined with so that its commit does not wait for the disk.
macro_rules! deferred {
    () => {
        " CROSS JOIN LATERAL (SELECT pg_catalog.set_config('synchronous_commit', 'off', true) OFFSET 0) deferred "
    };
}
pub(super) use deferred;

/// Executes a statement that is a transaction by itself, and tells those who wait.
fn alone(
    link: &mut Link,
    write: Write<'_>,
    sql: &'static str,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    let [before, after] = write.failpoints;
    failpoint::hit(before);
    if let Some(queue) = write.wakes {
        link.call_behind(tell(queue))?;
    }
    let call = Call {
        text: Text::Statement(sql),
        values,
        wants: Wants::Rows,
    };
    let answers = link.call(&[call]).map_err(uncertain)?;
    failpoint::hit(after);
    Ok(answers.into_iter().next().unwrap_or_default().rows)
}

/// The statement behind a commit that tells those who wait.
fn tell(queue: &str) -> Call {
    Call {
        text: Text::Statement(notify::NOTIFY),
        values: vec![queue.into()],
        wants: Wants::Rows,
    }
}

/// What a failure means of a call with which a commit was sent: if no answer came, nobody knows whether it was made.
fn uncertain(fault: Fault) -> Fault {
    if fault.is_fatal() {
        return fault.with_kind(Kind::Unknown);
    }
    fault
}

/// Executes commands by themselves.
pub(super) fn commands(link: &mut Link, commands: String) -> Result<()> {
    let call = Call {
        text: Text::Commands(commands),
        values: Vec::new(),
        wants: Wants::Count,
    };
    link.call(&[call]).map(drop)
}

/// Has the commit of a transaction that has begun wait for the disk, or not.
///
/// It is sent ahead of the answer to the beginning. If that failed, all that comes behind would be committed statement
/// by statement: then it ends the session, and does so before it is over itself, so that no pooler hands what follows
/// to another session. That it is [marked](Connector::begin) shows that a transaction has begun.
macro_rules! begun {
    ($synchronous_commit:literal) => {
        concat!(
            "SELECT CASE pg_catalog.current_setting('transaction_deferrable')
                 WHEN 'on' THEN pg_catalog.set_config('synchronous_commit', '",
            $synchronous_commit,
            "', true) IS NULL
                 ELSE pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())
                     AND pg_catalog.pg_sleep(1) IS NULL END"
        )
    };
}

impl Durability {
    fn begun(self) -> &'static str {
        match self {
            Self::Deferred => begun!("off"),
            Self::Flushed => begun!("on"),
        }
    }
}

/// A transaction. Its beginning, and what was said [`later`](Session::later), goes with the next
/// statement that somebody waits for.
pub(super) struct Txn<'l> {
    link: &'l mut Link,
    queued: Vec<Call>,
    /// Whether the server has heard of it.
    begun: bool,
    failed: bool,
}

impl<'l> Txn<'l> {
    fn new(link: &'l mut Link, begin: String, durability: Durability) -> Self {
        let call = |text| Call {
            text,
            values: Vec::new(),
            wants: Wants::Count,
        };
        Self {
            link,
            queued: vec![
                call(Text::Commands(begin)),
                call(Text::Statement(durability.begun())),
            ],
            begun: false,
            failed: false,
        }
    }

    /// Executes commands that have no parameters.
    pub(super) fn commands(&mut self, commands: String) -> Result<()> {
        self.send(Text::Commands(commands), Vec::new(), Wants::Count)
            .map(drop)
    }

    fn send(&mut self, text: Text, values: Vec<Value>, wants: Wants) -> Result<Answer> {
        self.queued.push(Call {
            text,
            values,
            wants,
        });
        let answers = self.flush()?;
        Ok(answers.into_iter().next_back().unwrap_or_default())
    }

    fn flush(&mut self) -> Result<Vec<Answer>> {
        let queued = std::mem::take(&mut self.queued);
        self.begun = true;
        let answers = self.link.call(&queued);
        self.failed |= answers.is_err();
        answers
    }

    /// Commits. A refusal by the server is definite; an answer that does not come leaves it unknown.
    pub(super) fn commit(mut self, write: Write<'_>) -> Result<()> {
        if self.failed {
            self.roll_back();
            return Err(Kind::Other.into());
        }
        let [before, after] = write.failpoints;
        failpoint::hit(before);
        self.queued.push(Call {
            text: Text::Commands("COMMIT".to_owned()),
            values: Vec::new(),
            wants: Wants::Count,
        });
        let told = match write.wakes {
            Some(queue) => self.link.call_behind(tell(queue)),
            None => Ok(()),
        };
        let committed = told.and_then(|()| self.flush().map(drop).map_err(uncertain));
        if let Err(fault) = committed {
            if !fault.is_fatal() {
                self.roll_back();
            }
            return Err(fault);
        }
        failpoint::hit(after);
        Ok(())
    }

    /// Ends it without a trace.
    pub(super) fn roll_back(self) {
        if !self.begun || self.link.is_broken() {
            return;
        }
        if let Err(fault) = commands(self.link, "ROLLBACK".to_owned()) {
            self.link.give_up();
            tracing::debug!(
                ?fault,
                "a connection is given up, and its transaction with it"
            );
        }
    }
}

impl Session for Txn<'_> {
    fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        Ok(self.send(Text::Statement(sql), values, Wants::Rows)?.rows)
    }

    fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        Ok(self.send(Text::Statement(sql), values, Wants::Count)?.count)
    }

    fn later(&mut self, sql: &'static str, values: Vec<Value>) -> Result<()> {
        self.queued.push(Call {
            text: Text::Statement(sql),
            values,
            wants: Wants::Count,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::PostgresStore;
    use crate::store::postgres::fixture::{WRITE, open};

    const MARK: &str = "INSERT INTO @.lease (incarnation, expires_at) VALUES (42, 0)";

    fn marks(store: &PostgresStore) -> usize {
        let rows = store.read(|session| {
            session.query(
                "SELECT incarnation FROM @.lease WHERE incarnation = 42",
                vec![],
            )
        });
        rows.unwrap().len()
    }

    #[test]
    fn nothing_that_was_sent_behind_a_beginning_that_failed_is_done() {
        let Some(store) = open("unbegun") else { return };
        let mut borrowed = store.pool.borrow().unwrap();
        let committed = borrowed.with(|link| {
            let mut txn = Txn::new(link, "SELECT 1 / 0".to_owned(), WRITE.durability);
            txn.later(MARK, Vec::new())?;
            txn.commit(WRITE)
        });
        drop(borrowed);
        assert!(committed.is_err());
        assert_eq!(marks(&store), 0);
    }
}
