//! The proof: what is in the databases when all is done.

use std::fmt;

use rusqlite::Connection;
use votive::store::{Filter, Store};
use votive::task::StateSet;
use votive::txn::BoxError;

/// What the databases say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Documents: transactions that committed.
    pub committed: i64,
    /// Documents that a task indexed.
    pub indexed: i64,
    /// Tasks that ran, or are left, although no document of theirs committed.
    pub aborted_visible: i64,
    /// Runs beyond the first of a document; and what the total lost or gained.
    pub doubled: i64,
    /// Tasks that are left, and transactions in doubt.
    pub left: usize,
}

impl Proof {
    /// Reads the databases.
    pub(crate) fn read(reader: &Connection, store: &dyn Store) -> Result<Self, BoxError> {
        let count = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0));
        let pending = Filter {
            states: Some(StateSet::ALL),
            ..Filter::default()
        };
        // Before all else: while something is left, the other numbers still grow.
        let left = store.scan(&pending, None, 1_000)?.tasks.len()
            + usize::try_from(store.stats()?.in_doubt)?;
        Ok(Self {
            committed: count("SELECT count(*) FROM document")?,
            indexed: count(
                "SELECT count(DISTINCT document) FROM indexed
                 WHERE document IN (SELECT id FROM document)",
            )?,
            aborted_visible: count(
                "SELECT count(*) FROM indexed WHERE document NOT IN (SELECT id FROM document)",
            )?,
            doubled: count("SELECT count(*) - count(DISTINCT document) FROM indexed")?
                + count("SELECT abs(documents - (SELECT count(*) FROM indexed)) FROM total")?,
            left,
        })
    }

    /// Whether nothing was lost, nothing doubled, and nothing aborted was seen.
    pub(crate) fn holds(&self) -> bool {
        self.committed == self.indexed
            && self.aborted_visible == 0
            && self.doubled == 0
            && self.left == 0
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            committed,
            indexed,
            aborted_visible,
            doubled,
            ..
        } = self;
        let sign = if committed == indexed { '=' } else { '≠' };
        write!(
            f,
            "committed {committed} {sign} indexed {indexed}, \
             aborted {aborted_visible} visible, doubled {doubled}"
        )
    }
}
