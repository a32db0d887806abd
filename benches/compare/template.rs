//! Rows that votive wrote, to be written again by hand: the raw loop writes the very same columns into
//! the very same tables, so that what is compared is the work around them.

use std::error::Error;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// A row of a table, to be inserted again under other identities.
#[derive(Clone)]
pub(crate) struct Template {
    sql: String,
    values: Vec<Value>,
    identity: usize,
}

impl Template {
    /// Reads the first row of `table`. The column `identity` gets a fresh value with each insert, the
    /// column `skip` (a rowid) is left to SQLite.
    pub(crate) fn read(
        connection: &Connection,
        table: &str,
        identity: &str,
        skip: Option<&str>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} LIMIT 1"))?;
        let names: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(String::from)
            .collect();
        let row = statement.query_row([], |row| {
            (0..names.len())
                .map(|column| row.get::<_, Value>(column))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let kept = || {
            names
                .iter()
                .zip(&row)
                .filter(|(name, _)| Some(name.as_str()) != skip)
        };
        let columns: Vec<&str> = kept().map(|(name, _)| name.as_str()).collect();
        let marks: Vec<String> = (1..=columns.len()).map(|mark| format!("?{mark}")).collect();
        Ok(Self {
            sql: format!(
                "INSERT INTO {table} ({}) VALUES ({})",
                columns.join(", "),
                marks.join(", ")
            ),
            values: kept().map(|(_, value)| value.clone()).collect(),
            identity: columns
                .iter()
                .position(|name| *name == identity)
                .ok_or("no such column")?,
        })
    }

    /// Inserts the row with the identity `id`.
    pub(crate) fn insert(&mut self, connection: &Connection, id: [u8; 16]) -> rusqlite::Result<()> {
        if let Some(identity) = self.values.get_mut(self.identity) {
            *identity = Value::Blob(id.to_vec());
        }
        connection
            .prepare_cached(&self.sql)?
            .execute(params_from_iter(&self.values))?;
        Ok(())
    }
}
