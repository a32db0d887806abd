//! A shelf in a Postgres database: that of the tasks, or another one.
#![cfg(test)]

use std::sync::Arc;

use parking_lot::Mutex;
use postgres::{Client, NoTls, Transaction};
use votive::failpoint;
use votive::queue::Queue;
use votive::resource::postgres::{Database, Options};
use votive::store::postgres::PostgresStore;
use votive::txn::{TransactionManager, Work};

use super::Shelf;
use crate::answer::Answer;
use crate::work::Ending;
use crate::world::Result;

/// `needs` refers to what is never there, and is looked after only at the COMMIT, or at the PREPARE: whoever
/// sets it is refused then.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS nobody (id bigint PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS note (
        name text NOT NULL, needs bigint REFERENCES nobody DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE IF NOT EXISTS effect (
        name text NOT NULL, needs bigint REFERENCES nobody DEFERRABLE INITIALLY DEFERRED)";

/// Makes what shelves need in the database at `url`.
pub(crate) fn make_tables(url: &str) -> Result<()> {
    Ok(Client::connect(url, NoTls)?.batch_execute(TABLES)?)
}

/// Makes a register there, too.
pub(crate) fn make_register(url: &str) -> Result<()> {
    Database::migrate(url, Options::default())?;
    Ok(())
}

pub(crate) struct PostgresShelf {
    url: String,
    database: Database,
    table: &'static str,
    /// The application's own connection, once it needs one.
    client: Mutex<Option<Client>>,
}

impl PostgresShelf {
    /// In the database of the tasks, which is at `url`.
    pub(crate) fn sharing(
        store: Arc<PostgresStore>,
        url: String,
        table: &'static str,
    ) -> Result<Self> {
        Ok(Self::new(Database::sharing(store)?, url, table))
    }

    /// In a database of its own, which decides.
    pub(crate) fn open(url: String, table: &'static str) -> Result<Self> {
        Ok(Self::new(Database::open(&url)?, url, table))
    }

    /// In a database of its own, which promises.
    pub(crate) fn preparing(url: String, table: &'static str) -> Result<Self> {
        Ok(Self::new(Database::preparing(&url)?, url, table))
    }

    fn new(database: Database, url: String, table: &'static str) -> Self {
        Self {
            url,
            database,
            table,
            client: Mutex::default(),
        }
    }

    /// Lends the application's own connection, one for all that it does: a server has a process for each.
    fn with_client<T>(&self, work: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
        let mut slot = self.client.lock();
        let mut client = match slot.take() {
            Some(client) => client,
            None => Client::connect(&self.url, NoTls)?,
        };
        let done = work(&mut client)?;
        *slot = Some(client);
        Ok(done)
    }

    fn insert(&self) -> String {
        format!("INSERT INTO {} VALUES ($1, $2)", self.table)
    }

    fn write_and_enqueue(
        &self,
        transaction: &mut Transaction<'_>,
        queue: &Queue,
        (task, ending): (&Answer, Ending),
    ) -> Result<()> {
        let needs = (ending == Ending::Refusal).then_some(1_i64);
        transaction.execute(&self.insert(), &[&task.name(), &needs])?;
        queue.enlist(transaction)?.enqueue(task)?;
        Ok(())
    }
}

impl Shelf for PostgresShelf {
    fn write(&self, work: &mut Work, name: &str, is_refused: bool) -> Result<()> {
        let needs = is_refused.then_some(1_i64);
        self.database
            .join(work)?
            .execute(&self.insert(), &[&name, &needs])?;
        Ok(())
    }

    fn enqueue_by_itself(&self, queue: &Queue, task: &Answer, ending: Ending) -> Result<()> {
        self.with_client(|client| {
            let mut transaction = client.transaction()?;
            self.write_and_enqueue(&mut transaction, queue, (task, ending))?;
            if ending == Ending::Abort {
                return Ok(transaction.rollback()?);
            }
            failpoint::hit("application.before_commit");
            let committed = transaction.commit();
            failpoint::hit("application.after_commit");
            match (committed, ending) {
                (Ok(()), Ending::Refusal) => Err("a COMMIT was not refused".into()),
                (Err(error), Ending::Commit) => Err(error.into()),
                _ => Ok(()),
            }
        })
    }

    fn names(&self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM {} ORDER BY name COLLATE \"C\"",
            self.table
        );
        let rows = self.with_client(|client| Ok(client.query(&sql, &[])?))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn introduce(&self, manager: &TransactionManager) {
        self.database.introduce(manager.registers());
    }
}
