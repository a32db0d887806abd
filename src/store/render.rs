//! Statements that put tasks into a store: how a driver that votive does not know enlists.
//!
//! A store whose capabilities say that it [renders](field@crate::store::Capabilities::renders) turns a batch
//! into statements. Whoever executes them, all of them and in their order, in a transaction of the
//! store's own database, and finds the number of rows that each must change or return, has written the
//! batch: it is visible when that transaction commits, and gone when it rolls back.

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
    /// How many rows it must change, or return if it is a query; `None` is any number. Where it is another
    /// number the transaction must be rolled back, or taken back to a savepoint before the first statement:
    /// `refusal` says why.
    pub expect: Option<u64>,
    /// What it means if the number is another.
    pub refusal: String,
}

impl Statement {
    /// Makes a statement; called by stores.
    #[must_use]
    pub fn new(sql: impl Into<String>, parameters: Vec<Value>, expect: Option<u64>) -> Self {
        Self {
            sql: sql.into(),
            parameters,
            expect,
            refusal: String::new(),
        }
    }

    /// Says what it means if another number of rows changes.
    #[must_use]
    pub fn or(mut self, refusal: impl Into<String>) -> Self {
        self.refusal = refusal.into();
        self
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
