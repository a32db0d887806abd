//! A small application: orders in a database of its own, a mail for each.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use votive::resource::rusqlite::Database;
use votive::store::memory::MemoryStore;
use votive::store::{Filter, Store};
use votive::task::Options;
use votive::txn::BoxError;
use votive::{Queue, Task, TransactionManager};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) order: u32,
}

impl Task for Mail {
    const KIND: &'static str = "mail";

    fn options() -> Options {
        Options {
            priority: 5,
            about: vec!["shop".to_owned()],
            ..Options::default()
        }
    }
}

pub(crate) fn mail(order: u32) -> Mail {
    let to = "ann".to_owned();
    Mail { to, order }
}

/// A queue in memory, and a manager.
pub(crate) fn memory() -> (Arc<dyn Store>, Queue, TransactionManager) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let queue = Queue::new(Arc::clone(&store), "mails").unwrap();
    (store, queue, TransactionManager::new())
}

/// Orders in one file, mails in another.
pub(crate) struct Shop {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Queue,
    pub(crate) manager: TransactionManager,
    pub(crate) orders: Database,
}

impl Shop {
    pub(crate) fn open(folder: &Path) -> Result<Self, BoxError> {
        let store = votive::open(&format!("sqlite:{}", folder.join("tasks.db").display()))?;
        let file = folder.join("orders.db");
        Database::migrate(&file)?;
        let orders = Database::open(&file)?;
        let manager = TransactionManager::new();
        manager.registers().insert(Arc::new(orders.clone()));
        manager.registers().insert(Arc::clone(&store) as _);
        let connection = Connection::open(&file)?;
        connection.execute_batch("CREATE TABLE IF NOT EXISTS placed (name TEXT NOT NULL)")?;
        Ok(Self {
            queue: Queue::new(Arc::clone(&store), "mails")?,
            store,
            manager,
            orders,
        })
    }

    /// Places an order and enqueues its mail, in one transaction.
    pub(crate) fn place(&self, name: &str) -> Result<(), BoxError> {
        let mut txn = self.manager.begin()?;
        insert(self.orders.join(&mut txn)?, name)?;
        self.queue.enqueue(&mut txn, &to(name))?;
        txn.commit()?;
        Ok(())
    }

    /// Places an order, and enqueues its mail when that has committed: what this project is against.
    pub(crate) fn place_carelessly(&self, name: &str) -> Result<(), BoxError> {
        let mut order = self.manager.begin()?;
        insert(self.orders.join(&mut order)?, name)?;
        order.commit()?;
        let mut txn = self.manager.begin()?;
        self.queue.enqueue(&mut txn, &to(name))?;
        txn.commit()?;
        Ok(())
    }

    pub(crate) fn placed(&self) -> Result<Vec<String>, BoxError> {
        let connection = Connection::open(self.orders.path())?;
        let mut select = connection.prepare("SELECT name FROM placed")?;
        let names = select.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn mailed(&self) -> Result<Vec<String>, BoxError> {
        let page = self.store.scan(&Filter::default(), None, 1_000_000)?;
        let tasks = page.tasks.into_iter();
        let names = tasks.map(|listed| Ok(listed.record.payload.decode::<Mail>()?.to));
        names.collect()
    }
}

fn insert(connection: &Connection, name: &str) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO placed VALUES (?1)", [name])
}

fn to(name: &str) -> Mail {
    let to = name.to_owned();
    Mail { to, order: 0 }
}
