//! When tasks run: later, not before, not after, again and again, and at another time than was said first.

use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::task::Options;
use votive::txn::BoxError;
use votive::{Consumer, Context, Periodic, Queue, Registry, Schedule, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Say(String);

impl Task for Say {
    const KIND: &'static str = "say";
}

fn main() -> Result<(), BoxError> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;
    let say = |what: &str| Say(what.to_owned());
    let (now, second) = (store.now()?, Duration::from_secs(1));

    let options = Options::default();
    let mut txn = manager.begin()?;
    let later = options.clone().delay(second); // after the commit
    queue.enqueue_with(&mut txn, &say("a second later"), later)?;
    let then = options.clone().not_before(now.saturating_add(second * 2));
    queue.enqueue_with(&mut txn, &say("at that time"), then)?;
    let stale = options.clone().expires_at(now); // becomes dead instead
    queue.enqueue_with(&mut txn, &say("too late"), stale)?;
    let far = options.delay(Duration::from_secs(3_600));
    let moved = queue.enqueue_with(&mut txn, &say("not in an hour, but now"), far)?;
    txn.commit()?;

    let mut txn = manager.begin()?;
    queue.reschedule(&mut txn, moved, None)?; // as soon as this commits
    txn.commit()?;

    let (says, said) = mpsc::channel();
    let mut registry = Registry::new();
    registry.register(move |task: Say, context: &mut Context<'_>| {
        says.send((task.0, context.attempt().not_before))
    })?;
    let tick = Schedule::every(second)?;
    let running = Consumer::builder(store, registry)
        .periodic(Periodic::new("tick", tick.clone(), &say("every second")))
        .start()?;
    let nightly = Schedule::cron("30 2 * * *")?.in_zone("Europe/Rome")?;
    for schedule in [&tick, &nightly] {
        let next = schedule.next_after(now).ok_or("never")?;
        println!("{} Next: {}.", schedule.describe(), schedule.local(next));
    }
    for (what, due) in said.iter().take(6) {
        let due = due.map_or_else(String::new, |due| format!(", due at {due}"));
        println!("{what}{due}");
    }
    running.stop();
    Ok(())
}
