//! Tasks about objects: which are in flight for one, and whether it may be changed now.
//!
//! ```console
//! cargo run --example about
//! ```

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::queue::{Guarded, guard, unfinished_about};
use votive::store::Interest;
use votive::task::Options;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

/// Reindexes a sample, and all analyses of it.
#[derive(Serialize, Deserialize)]
struct Reindex {
    sample: String,
}

impl Task for Reindex {
    const KIND: &'static str = "reindex";
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let store = votive::open("memory://")?;
    let manager = TransactionManager::new();
    let queue = Queue::new(store.clone(), "default")?;

    // The first object is the task's context, the others are concerned too.
    let about = ["sample/7", "analysis/70", "analysis/71"].map(str::to_owned);
    let options = Options {
        about: about.to_vec(),
        user: Some("ann".to_owned()),
        ..Options::default()
    };
    let reindex = Reindex {
        sample: "sample/7".to_owned(),
    };
    let mut txn = manager.begin()?;
    let task = queue.enqueue_with(&mut txn, &reindex, options)?;
    txn.commit()?;

    let found = unfinished_about(&*store, "analysis/71")?;
    let users: Vec<_> = found
        .iter()
        .map(|found| &found.record.options.user)
        .collect();
    println!("analysis/71 is concerned by tasks of {users:?}");
    assert_eq!(users, [&Some("ann".to_owned())]);

    // Before a transition that the task does not expect:
    match guard(&store, "sample/7", None) {
        Err(Guarded::Busy { tasks, .. }) => assert_eq!(tasks, [task]),
        other => return Err(format!("not refused by its task: {other:?}").into()),
    }
    println!("sample/7 may not be changed yet");

    let mut registry = Registry::new();
    registry.register(|task: Reindex, context: &mut Context<'_>| {
        context.guard(&task.sample) // its own task is not in its way
    })?;
    let running = Consumer::builder(store.clone(), registry).start()?;
    while guard(&store, "sample/7", None).is_err() {
        store.wait(&[Interest::Settled(task)], Duration::from_secs(10))?;
    }
    assert_eq!(running.stop().stats.done, 1);
    println!("sample/7 may be changed now");
    Ok(())
}
