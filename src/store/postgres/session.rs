//! Who executes statements: a transaction of the store's own, or one of an application.

use std::collections::HashMap;

use postgres::GenericClient;
use postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::error::{Fault, Result};
use super::schema::Schema;
use super::value::Value;

/// Executes statements in one transaction. In the text of each, `@.` stands for the schema.
pub(crate) trait Session {
    /// Executes a statement and returns its rows.
    fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>>;

    /// Executes a statement and returns how many rows it changed.
    fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64>;

    /// Executes a statement of which nobody wants to know anything, now or with the next one; if it
    /// fails, so does whatever follows it.
    fn later(&mut self, sql: &'static str, values: Vec<Value>) -> Result<()> {
        self.execute(sql, values).map(drop)
    }

    /// Executes a statement and returns its first row, if there is one.
    fn first(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Whether a statement returns a row.
    fn exists(&mut self, sql: &'static str, values: Vec<Value>) -> Result<bool> {
        Ok(self.first(sql, values)?.is_some())
    }
}

/// Statements that were prepared on one connection of an application.
#[derive(Default)]
pub(crate) struct Statements(HashMap<&'static str, Statement>);

/// A connection or a transaction of an application.
pub(crate) struct Foreign<'a, C> {
    client: &'a mut C,
    schema: &'a Schema,
    /// `None` if statements must not be prepared, as behind a pooler that hands connections round.
    statements: Option<&'a mut Statements>,
}

impl<'a, C: GenericClient> Foreign<'a, C> {
    /// Executes on `client`, and keeps what it prepares in `statements`.
    pub(crate) fn new(
        client: &'a mut C,
        schema: &'a Schema,
        statements: Option<&'a mut Statements>,
    ) -> Self {
        Self {
            client,
            schema,
            statements,
        }
    }

    fn prepared(&mut self, sql: &'static str, values: &[Value]) -> Result<Option<Statement>> {
        let Some(Statements(statements)) = self.statements.as_deref_mut() else {
            return Ok(None);
        };
        if let Some(statement) = statements.get(sql) {
            return Ok(Some(statement.clone()));
        }
        let types: Vec<_> = values.iter().map(Value::sql_type).collect();
        let statement = self.client.prepare_typed(&self.schema.text(sql), &types)?;
        statements.insert(sql, statement.clone());
        Ok(Some(statement))
    }
}

fn plain(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect()
}

fn typed(values: &[Value]) -> Vec<(&(dyn ToSql + Sync), postgres::types::Type)> {
    let pair = |value| (value as &(dyn ToSql + Sync), Value::sql_type(value));
    values.iter().map(pair).collect()
}

impl<C: GenericClient> Session for Foreign<'_, C> {
    fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = if let Some(statement) = self.prepared(sql, &values)? {
            self.client.query(&statement, &plain(&values))
        } else {
            let text = self.schema.text(sql);
            self.client.query_typed(&text, &typed(&values))
        };
        rows.map_err(Fault::from)
    }

    fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        let count = if let Some(statement) = self.prepared(sql, &values)? {
            self.client.execute(&statement, &plain(&values))
        } else {
            let text = self.schema.text(sql);
            self.client.execute_typed(&text, &typed(&values))
        };
        count.map_err(Fault::from)
    }
}
