//! Hooks: a log of all that a consumer does, kept by the application. What a hook does changes nothing of
//! what becomes of a task, even if it panics.

use std::error::Error;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};
use votive::consumer::Event;
use votive::task::{Options, RetryPolicy};
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Fetch {
    page: String,
}

impl Task for Fetch {
    const KIND: &'static str = "fetch";

    /// Tried twice, the second time at once.
    fn options() -> Options {
        Options {
            retry: RetryPolicy {
                attempts_max: 2,
                backoff_min: std::time::Duration::ZERO,
                ..RetryPolicy::default()
            },
            ..Options::default()
        }
    }
}

fn fetch(task: Fetch, context: &mut Context<'_>) -> Result<(), String> {
    let Fetch { page } = task;
    match (&*page, context.attempt().number) {
        ("slow", 1) => Err("the server is asleep".to_owned()),
        ("gone", _) => Err("there is no such page".to_owned()),
        _ => Ok(()),
    }
}

/// Returns what is to be written down of an event.
fn line(event: &Event<'_>) -> String {
    match event {
        Event::Executing { record, attempt } => {
            format!("{} starts attempt {}", record.kind, attempt.number)
        }
        Event::Retrying { failure, .. } => {
            format!("tried again after: {}", failure.chain.join(": "))
        }
        Event::Dead { reason, .. } => format!("given up: {reason:?}"),
        other => other.name().to_owned(),
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;
    for page in ["slow", "gone"] {
        let page = page.to_owned();
        manager.run(3, |txn| queue.enqueue(txn, &Fetch { page: page.clone() }))?;
    }

    let (tell, told) = mpsc::channel();
    let mut registry = Registry::new();
    registry.register(fetch)?;
    let running = Consumer::builder(store, registry)
        .on(|event| {
            assert!(
                event.name() != "committed",
                "a hook that panics is only logged"
            );
        })
        .on(move |event| drop(tell.send(line(event))))
        .start()?;

    let mut log = Vec::new();
    while !log.iter().any(|line: &String| line.starts_with("given up"))
        || !log.iter().any(|line| line == "committed")
    {
        log.push(told.recv()?);
    }
    let stats = running.stop().stats;
    log.extend(told.iter());
    println!("{}", log.join("\n"));
    assert_eq!(log.first().map(String::as_str), Some("started"));
    assert_eq!(log.last().map(String::as_str), Some("stopped"));
    assert_eq!(
        (stats.executed, stats.done, stats.retried, stats.dead),
        (4, 1, 2, 1)
    );
    Ok(())
}
