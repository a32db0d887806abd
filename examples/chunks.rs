//! A task over many items, a chunk at a time: one item cannot be done, and is found.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::handler::Chunks;
use votive::store::{Amendment, Batch, Change};
use votive::task::{Options, RetryPolicy, State, StateSet};
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

const LONG: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Import {
    documents: Vec<u32>,
}

impl Task for Import {
    const KIND: &'static str = "import";

    fn options() -> Options {
        Options {
            retention: Some(Duration::from_secs(3_600)),
            timeout: Some(Duration::from_secs(30)),
            retry: RetryPolicy {
                attempts_max: 1,
                backoff_min: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            ..Options::default()
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;

    // Document 70 is damaged until somebody repairs it.
    let damaged = Arc::new(Mutex::new(BTreeSet::from([70])));
    let imported = Arc::new(Mutex::new(Vec::<u32>::new()));
    let (bad, seen) = (Arc::clone(&damaged), Arc::clone(&imported));
    let import = move |task: &Import, items: Range<usize>, _: &mut Context<'_>| {
        let documents = task.documents.get(items.clone()).unwrap_or_default();
        let bad = bad.lock().map_err(|_| "poisoned")?;
        if let Some(document) = documents.iter().find(|document| bad.contains(document)) {
            println!("items {items:?}: document {document} is damaged");
            return Err(BoxError::from(format!("document {document} is damaged")));
        }
        println!("items {items:?}: done");
        seen.lock().map_err(|_| "poisoned")?.extend(documents);
        Ok(())
    };
    let mut registry = Registry::new();
    registry.register(Chunks::new(
        32,
        |task: &Import| task.documents.len(),
        import,
    ))?;
    let running = Consumer::builder(store.clone(), registry)
        .queue("default")
        .start()?;

    let documents: Vec<u32> = (0..100).collect();
    let task = Import {
        documents: documents.clone(),
    };
    let (task, _) = manager.run(3, |txn| queue.enqueue(txn, &task))?;
    let task = queue.handle(task);
    let ended = task.wait(LONG)?;
    let position = ended.position.ok_or("it ran in chunks")?;
    println!(
        "{}: {} of {} done",
        ended.state, position.done, position.total
    );
    assert_eq!((ended.state, position.done), (State::Dead, 70));

    damaged.lock().map_err(|_| "poisoned")?.clear();
    let revive = Change::Amend {
        task: task.id(),
        expect: StateSet::of(&[State::Dead]),
        amendment: Amendment::Revive,
    };
    votive::queue::apply(&store, &manager, &Batch::new(vec![revive]))?;
    let ended = task.wait(LONG)?;
    println!("{}, each document once", ended.state);
    assert_eq!(ended.state, State::Done);
    assert_eq!(*imported.lock().map_err(|_| "poisoned")?, documents);
    running.stop();
    Ok(())
}
