//! A connection with the statements that are executed on it again and again, each looked up once.

use std::cell::{Cell, RefCell};
use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, Params, Result, Row};

/// A connection for the length of a batch, or of all that share a commit.
///
/// The driver looks a statement up by what its text says, before and after each use. Here it is found by where its text
/// is, and goes back to the driver at the end.
pub(crate) struct Statements<'c> {
    connection: &'c Connection,
    idle: RefCell<Vec<(&'static str, CachedStatement<'c>)>>,
    pruned: Cell<bool>,
    /// Whether the last task that ended had nothing but a group, as far as is known: what the next one is likely to
    /// have.
    pub(super) last_had_group: Cell<bool>,
}

impl<'c> Statements<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            idle: RefCell::default(),
            pruned: Cell::default(),
            last_had_group: Cell::default(),
        }
    }

    /// Executes a statement that returns no rows, and returns how many it has changed.
    pub(super) fn run(&self, sql: &'static str, values: impl Params) -> Result<usize> {
        self.with(sql, |statement| statement.execute(values))
    }

    /// Executes a statement that returns one row, and reads that.
    pub(super) fn ask<T>(
        &self,
        sql: &'static str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with(sql, |statement| statement.query_row(values, read))
    }

    /// Whether it is the first time that somebody asks: what is past its time is looked for once.
    pub(super) fn is_to_prune(&self) -> bool {
        !self.pruned.replace(true)
    }

    fn with<T>(
        &self,
        sql: &'static str,
        execute: impl FnOnce(&mut CachedStatement<'c>) -> Result<T>,
    ) -> Result<T> {
        let mut statement = match self.take(sql) {
            Some(statement) => statement,
            None => self.connection.prepare_cached(sql)?,
        };
        let executed = execute(&mut statement);
        self.idle.borrow_mut().push((sql, statement));
        executed
    }

    /// Takes a statement that nobody is using.
    fn take(&self, sql: &'static str) -> Option<CachedStatement<'c>> {
        let mut idle = self.idle.borrow_mut();
        let place = idle.iter().position(|(text, _)| std::ptr::eq(*text, sql))?;
        Some(idle.swap_remove(place).1)
    }
}

impl Deref for Statements<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SELECT 1";

    fn one(row: &Row<'_>) -> Result<i64> {
        row.get(0)
    }

    #[test]
    fn a_statement_is_kept_once_however_often_it_is_executed() {
        let connection = Connection::open_in_memory().unwrap();
        let statements = Statements::new(&connection);
        for _ in 0..3 {
            assert_eq!(statements.ask(ONE, [], one), Ok(1));
        }
        assert_eq!(statements.idle.borrow().len(), 1);
    }

    #[test]
    fn one_that_is_in_use_is_not_given_to_another() {
        let connection = Connection::open_in_memory().unwrap();
        let statements = Statements::new(&connection);
        let both = statements.ask(ONE, [], |row| {
            Ok((one(row)?, statements.ask(ONE, [], one)?))
        });
        assert_eq!(both, Ok((1, 1)));
        assert_eq!(statements.idle.borrow().len(), 2);
    }

    #[test]
    fn what_went_wrong_once_can_be_tried_again() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (n UNIQUE)")
            .unwrap();
        let statements = Statements::new(&connection);
        let insert = |n: i64| statements.run("INSERT INTO t VALUES (?1)", [n]);
        assert_eq!(insert(1), Ok(1));
        assert!(insert(1).is_err());
        assert_eq!(insert(2), Ok(1));
    }
}
