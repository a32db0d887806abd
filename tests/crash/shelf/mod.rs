//! Where notes and effects are kept: in a database of an application, or in a second queue.
#![cfg(test)]

mod postgres;
mod queue;
mod rusqlite;

use std::fs;
use std::sync::Arc;

use votive::queue::Queue;
use votive::store::Store;
use votive::txn::{TransactionManager, Work};

use crate::answer::Answer;
use crate::layout::Place;
use crate::site::Site;
use crate::store::Opened;
use crate::work::Ending;
use crate::world::Result;

use postgres::PostgresShelf;
use queue::QueueShelf;
pub(crate) use queue::refuse;
use rusqlite::SqliteShelf;

/// What a shelf is for; the name of its table, or of its queue.
pub(crate) const NOTES: &str = "note";
pub(crate) const EFFECTS: &str = "effect";

/// Keeps names that are written in the transactions that enqueue and settle tasks.
pub(crate) trait Shelf: Send + Sync {
    /// Writes a name in a transaction, whose commit is refused if this is wanted.
    fn write(&self, work: &mut Work, name: &str, is_refused: bool) -> Result<()>;

    /// Writes a task's name and enqueues it in a transaction that the application ends by itself.
    fn enqueue_by_itself(&self, _queue: &Queue, _task: &Answer, _ending: Ending) -> Result<()> {
        Err("this shelf has no connection of the application's own".into())
    }

    /// The names that are there, in order, doubled ones twice.
    fn names(&self) -> Result<Vec<String>>;

    /// Makes its register known.
    fn introduce(&self, manager: &TransactionManager);
}

/// What shelves are opened from.
pub(crate) struct Ground<'a> {
    pub(crate) site: &'a Site,
    pub(crate) tasks: &'a Opened,
    /// The second store, if there is one.
    pub(crate) second: Option<Arc<dyn Store>>,
    /// Whether the application does not wait for the disk.
    pub(crate) is_careless: bool,
}

impl Ground<'_> {
    /// The address of the Postgres database of a shelf.
    fn database(&self, table: &str) -> String {
        let number = if table == NOTES { 1 } else { 2 };
        self.site.database(number)
    }

    /// Opens a shelf, and makes it if it is missing.
    pub(crate) fn open(&self, table: &'static str, place: Place) -> Result<Arc<dyn Shelf>> {
        Ok(match (place, self.tasks) {
            (Place::Ours | Place::Yours, Opened::Sqlite(store)) => Arc::new(SqliteShelf::sharing(
                Arc::clone(store),
                table,
                self.is_careless,
            )?),
            (Place::Sqlite, _) => {
                let path = self.site.file(&format!("{table}.db"));
                Arc::new(SqliteShelf::open(&path, table, self.is_careless)?)
            }
            (Place::Queue(_), _) => {
                let second = self.second.as_ref().ok_or("there is no second store")?;
                Arc::new(QueueShelf::new(Arc::clone(second), table)?)
            }
            (Place::Ours | Place::Yours, Opened::Postgres(store)) => {
                let url = self.site.database(0);
                self.once(table, || postgres::make_tables(&url))?;
                Arc::new(PostgresShelf::sharing(Arc::clone(store), url, table)?)
            }
            (Place::Ours | Place::Yours, Opened::Other(_)) => {
                return Err("no application shares this store's database".into());
            }
            (Place::Postgres, _) => {
                let url = self.database(table);
                self.once(table, || {
                    postgres::make_register(&url)?;
                    postgres::make_tables(&url)
                })?;
                Arc::new(PostgresShelf::open(url, table)?)
            }
            (Place::Preparing, _) => {
                let url = self.database(table);
                self.once(table, || postgres::make_tables(&url))?;
                Arc::new(PostgresShelf::preparing(url, table)?)
            }
        })
    }

    /// Makes what a shelf needs in a server, unless an earlier child has.
    fn once(&self, table: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let note = self.site.file(&format!("{table}.made"));
        if !note.exists() {
            make()?;
            fs::write(note, "")?;
        }
        Ok(())
    }
}
