//! *Enlisted, yours*: tasks are written on the application's own connection, in its transaction.

use std::path::Path;

use diesel::connection::{SimpleConnection, TransactionManager};
use diesel::deserialize::{self, QueryableByName};
use diesel::row::NamedRow;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel::{Connection, QueryResult, RunQueryDsl, SqliteConnection, sql_query};

use crate::queue::{Enlist, EnlistError, as_own};
use crate::store::render::{Statement, Value};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::inside::{PROBE, is_inside};
use crate::store::{Applied, Batch, Store};

/// The connection is in a transaction that Diesel has begun: of one begun by a statement of the
/// application's own it does not know. One that SQLite has ended by itself is none any more.
///
/// Whether the commit waits for the disk is the connection's `synchronous` to say.
impl Enlist for &mut SqliteConnection {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        let store: &SqliteStore = as_own(store)?;
        refuse_outside(self)?;
        let found = main_file(self).map_err(EnlistError::driver)?;
        if store.is_at(Path::new(&found)) {
            return Ok(());
        }
        Err(EnlistError::OtherDatabase {
            found,
            store: store.path().display().to_string(),
        })
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        // The transaction may have ended since it was checked; the connection is still the same.
        refuse_outside(self)?;
        let rendered = store.render(&batch, store.now()?)?;
        let written = self.transaction(|savepoint| {
            let mut statements = rendered.statements.iter();
            statements.try_for_each(|statement| execute(savepoint, statement))
        });
        written.map_err(|RolledBack(error)| error)?;
        Ok(Applied::default())
    }
}

/// Why the savepoint was left.
struct RolledBack(EnlistError);

impl From<diesel::result::Error> for RolledBack {
    fn from(error: diesel::result::Error) -> Self {
        Self(EnlistError::driver(error))
    }
}

/// Outside of a transaction what Diesel takes for a savepoint would be a transaction of its own.
fn refuse_outside(connection: &mut SqliteConnection) -> Result<(), EnlistError> {
    type Manager = <SqliteConnection as Connection>::TransactionManager;
    let status = Manager::transaction_manager_status_mut(connection);
    let depth = status.transaction_depth().map_err(EnlistError::driver)?;
    if depth.is_none() {
        return Err(EnlistError::NoTransaction);
    }
    let probed = connection.batch_execute(PROBE);
    let is_inside = is_inside(probed).map_err(EnlistError::driver)?;
    is_inside.then_some(()).ok_or(EnlistError::NoTransaction)
}

/// What is attached beside the main database does not count, since a commit over several files is not
/// atomic.
fn main_file(connection: &mut SqliteConnection) -> QueryResult<String> {
    let sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let found: File = sql_query(sql).get_result(connection)?;
    Ok(found.0)
}

fn execute(connection: &mut SqliteConnection, statement: &Statement) -> Result<(), RolledBack> {
    let mut query = sql_query(&statement.sql).into_boxed::<Sqlite>();
    for value in &statement.parameters {
        query = match value {
            Value::Integer(number) => query.bind::<Nullable<BigInt>, _>(*number),
            Value::Text(text) => query.bind::<Nullable<Text>, _>(text.as_deref()),
            Value::Bytes(bytes) => query.bind::<Nullable<Binary>, _>(bytes.as_deref()),
        };
    }
    let count = if statement.is_query {
        query.load::<Anything>(connection)?.len()
    } else {
        query.execute(connection)?
    };
    let judged = statement.judge(count as u64);
    judged.map_err(|refusal| RolledBack(refusal.into()))
}

/// A row of which nothing is read.
struct Anything;

impl QueryableByName<Sqlite> for Anything {
    fn build<'a>(_: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        Ok(Self)
    }
}

/// The name of a file.
struct File(String);

impl QueryableByName<Sqlite> for File {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        NamedRow::get::<Text, _>(row, "file").map(Self)
    }
}
