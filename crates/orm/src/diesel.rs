//! An application that uses Diesel.

use diesel::connection::SimpleConnection;
use diesel::deserialize::QueryableByName;
use diesel::row::NamedRow;
use diesel::sqlite::Sqlite;
use diesel::{Connection, RunQueryDsl, SqliteConnection, sql_query};
use votive::queue::{EnlistError, Queue};

use crate::step::LOSE;
use crate::{Application, Does, End, Losing, Ping, Place, Result, Step, Unguarded};

/// A connection of Diesel's.
pub struct Diesel(SqliteConnection);

/// Why a transaction is rolled back.
enum Why {
    Wanted,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<diesel::result::Error> for Why {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Why {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::Failed(error)
    }
}

type Done = std::result::Result<(), Why>;

/// A wanted rollback is no failure.
fn wanted(done: Done) -> Result<()> {
    match done {
        Ok(()) | Err(Why::Wanted) => Ok(()),
        Err(Why::Failed(error)) => Err(error),
    }
}

fn perform(
    connection: &mut SqliteConnection,
    queue: &Queue,
    (steps, end): (&[Step], End),
    does: &mut Does,
) -> Done {
    for step in steps {
        match step {
            Step::Note => connection.batch_execute("INSERT INTO note VALUES (1)")?,
            Step::Enqueue(options) | Step::Try(options) => {
                let enlisted = queue.enlist(&mut *connection);
                let mut enlisted = enlisted.map_err(|error| Why::Failed(error.into()))?;
                let done = enlisted.enqueue_with(&Ping(7), options.clone());
                does.note(done, matches!(step, Step::Try(_)))?;
            }
            Step::Within(steps, end) => {
                let done = connection
                    .transaction(|savepoint| perform(savepoint, queue, (steps, *end), does));
                wanted(done)?;
            }
        }
    }
    match end {
        End::Commit => Ok(()),
        End::RollBack => Err(Why::Wanted),
    }
}

struct Row;

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(_: &impl NamedRow<'a, Sqlite>) -> diesel::deserialize::Result<Self> {
        Ok(Self)
    }
}

impl Application for Diesel {
    fn connect(place: &Place) -> Result<Self> {
        let mut connection = SqliteConnection::establish(&place.url)?;
        connection.batch_execute(
            "PRAGMA busy_timeout = 5000; CREATE TABLE IF NOT EXISTS note (n integer CHECK (n > 0))",
        )?;
        Ok(Self(connection))
    }

    fn transact(&mut self, queue: &Queue, steps: &[Step], end: End) -> Result<Does> {
        let mut does = Does::default();
        let done = self.0.immediate_transaction(|connection| {
            perform(connection, queue, (steps, end), &mut does)
        });
        wanted(done).map(|()| does)
    }

    fn enlist(&mut self, queue: &Queue) -> Result<std::result::Result<(), EnlistError>> {
        let enlisted = self.0.immediate_transaction(|connection| {
            diesel::QueryResult::Ok(queue.enlist(connection).map(drop))
        })?;
        Ok(enlisted)
    }

    fn notes(&mut self) -> Result<usize> {
        let rows: Vec<Row> = sql_query("SELECT n FROM note").load(&mut self.0)?;
        Ok(rows.len())
    }
}

impl Unguarded for Diesel {
    fn enlist_outside(&mut self, queue: &Queue) -> std::result::Result<(), EnlistError> {
        queue.enlist(&mut self.0).map(drop)
    }
}

impl Losing for Diesel {
    fn lose(&mut self, queue: &Queue) -> Result<[std::result::Result<(), EnlistError>; 2]> {
        self.0.begin_test_transaction()?;
        let mut enlisted = queue.enlist(&mut self.0)?;
        drop(sql_query(LOSE).execute(&mut **enlisted.transaction()));
        let written = enlisted.enqueue(&Ping(7)).map(drop);
        let enlisted = queue.enlist(&mut self.0).map(drop);
        Ok([written, enlisted])
    }
}
