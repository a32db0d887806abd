//! In what order tasks run: by priority and age, kinds of the operator's choice first, and otherwise
//! first come, first served.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::consumer::Running;
use votive::store::Store;
use votive::store::memory::MemoryStore;
use votive::task::Options;
use votive::time::{ManualClock, Timestamp};
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

#[derive(Serialize, Deserialize)]
struct Say(String);

impl Task for Say {
    const KIND: &'static str = "say";
}

#[derive(Serialize, Deserialize)]
struct Shout(String);

impl Task for Shout {
    const KIND: &'static str = "shout";
}

/// A queue whose clock is moved by hand.
struct Stage {
    clock: ManualClock,
    queue: Queue,
    manager: TransactionManager,
}

impl Stage {
    fn new() -> Result<Self, BoxError> {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let store = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
        Ok(Self {
            clock,
            queue: Queue::new(store as Arc<dyn Store>, "default")?,
            manager: TransactionManager::new(),
        })
    }

    fn say(&self, text: &str, priority: u8) -> Result<(), BoxError> {
        let options = Options {
            priority,
            ..Options::default()
        };
        let enqueued = self.manager.run(3, |txn| {
            let task = Say(text.to_owned());
            self.queue.enqueue_with(txn, &task, options.clone())
        });
        enqueued.map(drop)?;
        Ok(())
    }

    fn shout(&self, text: &str) -> Result<(), BoxError> {
        let shout = Shout(text.to_owned());
        let enqueued = self.manager.run(3, |txn| self.queue.enqueue(txn, &shout));
        enqueued.map(drop)?;
        Ok(())
    }

    /// Runs what is there, one at a time, and returns the texts in that order.
    fn run(&self, count: usize) -> Result<Vec<String>, BoxError> {
        let (running, said) = self.consumer()?;
        let texts: Result<Vec<_>, _> = (0..count).map(|_| said.recv()).collect();
        running.stop();
        Ok(texts?)
    }

    fn consumer(&self) -> Result<(Running, Receiver<String>), BoxError> {
        let (sender, said) = mpsc::channel();
        let shouts = sender.clone();
        let mut registry = Registry::new();
        registry.register(move |task: Say, _: &mut Context<'_>| sender.send(task.0))?;
        registry.register(move |task: Shout, _: &mut Context<'_>| shouts.send(task.0))?;
        let store = Arc::clone(self.queue.store());
        let running = Consumer::builder(store, registry).start()?;
        Ok((running, said))
    }
}

fn main() -> Result<(), BoxError> {
    let stage = Stage::new()?;
    stage.say("usual", 10)?;
    stage.say("usual, later", 10)?;
    stage.say("urgent", 5)?;
    let order = stage.run(3)?;
    println!("by priority, then in order: {order:?}");
    assert_eq!(order, ["urgent", "usual", "usual, later"]);

    // A step of priority is worth five minutes of waiting, so that nothing waits for ever.
    stage.say("two steps behind, eleven minutes ago", 12)?;
    stage.clock.advance(Duration::from_secs(11 * 60));
    stage.say("new", 10)?;
    let order = stage.run(2)?;
    println!("who waits long enough comes: {order:?}");
    assert_eq!(order, ["two steps behind, eleven minutes ago", "new"]);

    // What an operator puts first goes first from now on, in all processes.
    stage.queue.change_settings(&stage.manager, |settings| {
        settings.top_kinds.insert(Shout::KIND.to_owned());
    })?;
    stage.say("usual", 10)?;
    stage.shout("of a kind that goes first")?;
    let order = stage.run(2)?;
    println!("kinds that go first: {order:?}");
    assert_eq!(order, ["of a kind that goes first", "usual"]);
    assert!(stage.queue.store().stats()?.queues.is_empty());
    Ok(())
}
