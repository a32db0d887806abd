//! A complete store of a third party, as small as an honest one can be: one file, written anew with every
//! change. It passes the suite `conformance` (`cargo test --test toy_store`), and is opened by a URL like
//! any other. `docs/writing-a-store.md` goes through it.

mod book;
mod changes;
mod dispatch;
mod store;

use std::sync::Arc;

use votive::store::Kind;
use votive::time::SystemClock;
use votive::{Queue, Schemes, TransactionManager};

use crate::store::ToyStore;

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

impl votive::Task for Greet {
    const KIND: &'static str = "greet";
}

fn unavailable(failed: std::io::Error) -> votive::store::Error {
    store::error(Kind::Unavailable, "open its file").with_source(failed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut schemes = Schemes::default();
    schemes.add("toy", "toy:///path", |url| {
        url.allow(&[])?;
        let path = url.file()?;
        let store = ToyStore::open(&path, Arc::new(SystemClock));
        Ok(Arc::new(store.map_err(unavailable)?))
    })?;
    let folder = tempfile::tempdir()?;
    let url = format!("toy://{}/tasks.toy", folder.path().display());
    let store = schemes.open(&url)?;
    let queue = Queue::new(Arc::clone(&store), "default")?;
    let mut txn = TransactionManager::new().begin()?;
    let name = "Ada".to_owned();
    let task = queue.enqueue(&mut txn, &Greet { name })?;
    println!(
        "before the commit: {:?}",
        store.get(task)?.map(|found| found.record.state)
    );
    txn.commit()?;
    println!(
        "after the commit: {:?}",
        store.get(task)?.map(|found| found.record.state)
    );
    Ok(())
}
