//! Statements that put tasks into a store: how a driver that votive does not know enlists.
//!
//! A store whose capabilities say that it [renders](field@crate::store::Capabilities::renders) [turns a
//! batch](crate::store::Store::render) into statements, and [`Queue::render`] a task. Whoever executes them, all of
//! them and in their order, in a transaction of the store's own database, and finds the number of rows that each must
//! change or return, has written the batch: it is visible when that transaction commits, and gone when it rolls back.
//!
//! [`Queue::render`]: ../../queue/struct.Queue.html#method.render

use crate::id::TaskId;
use crate::time::Timestamp;

/// The version of the form of what is rendered: the types of parameters, and what is to be expected of
/// a statement. It has nothing to do with the version of the tables, which the statements fit.
pub const VERSION: u32 = 1;

/// A batch as statements.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rendered {
    /// [`VERSION`] of the program that rendered.
    pub version: u32,
    /// The statements, to be executed in this order.
    pub statements: Vec<Statement>,
    /// When it was rendered: the time of publishing of its tasks.
    pub now: Timestamp,
}

impl Rendered {
    /// Wraps statements; called by stores.
    #[must_use]
    pub fn new(statements: Vec<Statement>, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            statements,
            now,
        }
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Statement {
    /// Its text; parameters are `?1`, `?2` … for SQLite and `$1`, `$2` … for Postgres. Nothing that a
    /// producer said is in it.
    pub sql: String,
    /// The values of the parameters, in order.
    pub parameters: Vec<Value>,
    /// Whether it returns rows, as a `SELECT` does; otherwise it changes some.
    pub is_query: bool,
    /// How many rows it must change, or return if it is a query; `None` is any number. Where it is another
    /// number the transaction must be rolled back, or taken back to a savepoint before the first statement:
    /// `refusal` says why.
    pub expect: Option<u64>,
    /// What it means if the number is another; its text is for people.
    pub refusal: Option<Refusal>,
}

/// Why a statement has another number of rows than expected: the store refuses. Nothing is wrong with the
/// database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection is to another database than that of the store that rendered.
    #[error("the connection is to another database than the store `{store}`")]
    OtherStore {
        /// What the store tells its database from others by.
        store: String,
    },
    /// A task of this id is there already.
    #[error("task {0} is there already")]
    TaskExists(TaskId),
    /// Another task holds the unique key, a transaction in doubt has reserved it, or it rests.
    #[error("the unique key `{key}` of task {task} is held, at rest or reserved")]
    KeyTaken {
        /// The task that wants the key.
        task: TaskId,
        /// The key.
        key: String,
    },
    /// As many tasks of the queue are pending as may be.
    #[error("the queue `{queue}` is full: at most {pending_max} of its tasks may be pending")]
    QueueFull {
        /// The queue.
        queue: String,
        /// How many tasks may be pending in it.
        pending_max: u64,
    },
    /// A statement had this number of rows, which should not be possible.
    #[error("a statement changed or returned {count} rows, which should not be possible")]
    Unexpected {
        /// The number of rows.
        count: u64,
    },
}

impl Statement {
    /// Makes a statement that changes any number of rows; called by stores.
    #[must_use]
    pub fn change(sql: impl Into<String>, parameters: Vec<Value>) -> Self {
        Self {
            sql: sql.into(),
            parameters,
            is_query: false,
            expect: None,
            refusal: None,
        }
    }

    /// Makes a statement that returns one row; called by stores.
    #[must_use]
    pub fn query(sql: impl Into<String>, parameters: Vec<Value>) -> Self {
        Self {
            is_query: true,
            expect: Some(1),
            ..Self::change(sql, parameters)
        }
    }

    /// Says what it means if the number of rows is another; called by stores.
    #[must_use]
    pub fn or(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Judges the number of rows that the statement has changed or returned; called by drivers.
    ///
    /// # Errors
    /// The refusal, for which the transaction goes back to where it was before the first statement. What
    /// a store did not name is [`Refusal::Unexpected`].
    pub fn judge(&self, count: u64) -> Result<(), Refusal> {
        if self.expect.is_none_or(|expect| expect == count) {
            return Ok(());
        }
        let unexpected = Refusal::Unexpected { count };
        Err(self.refusal.clone().unwrap_or(unexpected))
    }
}

/// The value of a parameter. Its type is known even where the value is null, as some drivers ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A 64-bit number: `INTEGER`, `bigint`.
    Integer(Option<i64>),
    /// `TEXT`, `text`.
    Text(Option<String>),
    /// `BLOB`, `bytea`.
    Bytes(Option<Vec<u8>>),
}
