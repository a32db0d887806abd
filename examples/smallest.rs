//! The smallest program: one transaction, one task, one consumer.

use std::sync::mpsc;

use serde::{Deserialize, Serialize};
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Greet(String);

impl Task for Greet {
    const KIND: &'static str = "greet";
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;
    manager.run(3, |txn| queue.enqueue(txn, &Greet("world".into())))?;

    let (greeted, done) = mpsc::channel();
    let mut registry = Registry::new();
    registry.register(move |task: Greet, _: &mut Context<'_>| greeted.send(task.0))?;
    let running = Consumer::builder(store, registry)
        .queue("default")
        .start()?;
    println!("hello {}", done.recv()?);
    running.stop();
    Ok(())
}
