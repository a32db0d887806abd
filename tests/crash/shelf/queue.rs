//! A shelf that is a second queue, in a store of its own: what is written there are tasks that nobody
//! runs.
#![cfg(test)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::queue::{self, Queue};
use votive::store::{Change, Filter, Store};
use votive::txn::{TransactionManager, Work};

use super::Shelf;
use crate::world::Result;

/// A mark that has a value nowhere; whoever says that it has one is refused when it votes.
const NOBODY: &str = "nobody";

#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
}

impl Task for Written {
    const KIND: &'static str = "written";
}

pub(crate) struct QueueShelf {
    store: Arc<dyn Store>,
    queue: Queue,
}

impl QueueShelf {
    pub(crate) fn new(store: Arc<dyn Store>, name: &'static str) -> Result<Self> {
        let queue = Queue::new(Arc::clone(&store), name)?;
        Ok(Self { store, queue })
    }
}

impl Shelf for QueueShelf {
    fn write(&self, work: &mut Work, name: &str, is_refused: bool) -> Result<()> {
        let name = name.to_owned();
        self.queue.enqueue(work, &Written { name })?;
        if is_refused {
            refuse(&self.store, work)?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        let filter = Filter {
            queue: Some(self.queue.name().to_owned()),
            ..Filter::default()
        };
        let page = self.store.scan(&filter, None, 100_000)?;
        let written = page
            .tasks
            .iter()
            .map(|listed| listed.record.payload.decode::<Written>());
        let names = written.map(|written| Ok(written?.name));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn introduce(&self, manager: &TransactionManager) {
        manager.registers().insert(Arc::clone(&self.store) as _);
    }
}

/// Has a store refuse a transaction when it votes.
pub(crate) fn refuse(store: &Arc<dyn Store>, work: &mut Work) -> Result<()> {
    let (key, expect) = (NOBODY.to_owned(), Some(b"somebody".to_vec()));
    let value = None;
    Ok(queue::change(
        store,
        work,
        Change::Mark { key, expect, value },
    )?)
}
