//! A shelf in a Postgres database: that of the tasks, or another one.
#![cfg(test)]

use std::sync::Arc;

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

pub(crate) struct PostgresShelf {
    url: String,
    database: Database,
    table: &'static str,
}

impl PostgresShelf {
    /// In the database of the tasks, which is at `url`.
    pub(crate) fn sharing(
        store: Arc<PostgresStore>,
        url: String,
        table: &'static str,
    ) -> Result<Self> {
        Self::new(Database::sharing(store)?, url, table)
    }

    /// In a database of its own, which decides.
    pub(crate) fn open(url: String, table: &'static str) -> Result<Self> {
        Database::migrate(&url, Options::default())?;
        Self::new(Database::open(&url)?, url, table)
    }

    /// In a database of its own, which promises.
    pub(crate) fn preparing(url: String, table: &'static str) -> Result<Self> {
        Self::new(Database::preparing(&url)?, url, table)
    }

    fn new(database: Database, url: String, table: &'static str) -> Result<Self> {
        Client::connect(&url, NoTls)?.batch_execute(TABLES)?;
        Ok(Self {
            url,
            database,
            table,
        })
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
        let mut client = Client::connect(&self.url, NoTls)?;
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
    }

    fn names(&self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM {} ORDER BY name COLLATE \"C\"",
            self.table
        );
        let rows = Client::connect(&self.url, NoTls)?.query(&sql, &[])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn introduce(&self, manager: &TransactionManager) {
        self.database.introduce(manager.registers());
    }
}
