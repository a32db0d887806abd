//! A group of tasks and one more that sums up what they gave; and a chain that breaks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::queue::{Chain, Group};
use votive::task::{FollowUp, Options, RetryPolicy, State};
use votive::txn::BoxError;
use votive::{Consumer, Context, Queue, Registry, Task, TransactionManager};

const LONG: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Count(String);

impl Task for Count {
    const KIND: &'static str = "count";

    fn options() -> Options {
        Options {
            retry: RetryPolicy {
                attempts_max: 1,
                ..RetryPolicy::default()
            },
            ..Options::default()
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Sum;

impl Task for Sum {
    const KIND: &'static str = "sum";

    fn options() -> Options {
        Options {
            retention: Some(Duration::from_secs(3_600)),
            ..Options::default()
        }
    }
}

fn count(Count(text): Count, _: &mut Context<'_>) -> Result<usize, BoxError> {
    match text.split_whitespace().count() {
        0 => Err("a text without words".into()),
        words => Ok(words),
    }
}

/// Reads the results of the tasks that it waited for, all of which are done.
fn sum(_: Sum, context: &mut Context<'_>) -> Result<usize, BoxError> {
    let counts = context
        .prerequisites()
        .map(|task| task.result::<usize>(LONG));
    Ok(counts.sum::<Result<usize, _>>()?)
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (manager, store) = (TransactionManager::new(), votive::open("memory://")?);
    let queue = Queue::new(store.clone(), "default")?;
    let mut registry = Registry::new();
    registry.register(count)?.register(sum)?;
    let running = Consumer::builder(store.clone(), registry)
        .queue("default")
        .start()?;

    let texts = ["one", "and two", "and three more"];
    let (group, _) = manager.run(3, |txn| {
        let group = texts.iter().fold(Group::new(), |group, text| {
            group.add(Count((*text).to_owned()))
        });
        group.then(Sum).enqueue(&queue, txn)
    })?;
    let callback = group.callback.ok_or("it has a last task")?;
    let words: usize = queue.handle(callback).result(LONG)?;
    println!("{} texts have {words} words", group.members.len());
    assert_eq!(words, 6);

    let (chain, _) = manager.run(3, |txn| {
        let chain = Chain::new().then(Count(String::new())).then(Sum);
        let instead = FollowUp::with_options(&Sum, Sum::options());
        chain.on_failure(instead?).enqueue(&queue, txn)
    })?;
    let states = chain
        .iter()
        .map(|task| Ok(queue.handle(*task).wait(LONG)?.state));
    let states: Vec<State> = states.collect::<Result<_, votive::queue::WaitError>>()?;
    println!("a chain that breaks: {states:?}");
    assert_eq!(states, [State::Dead, State::Cancelled]);
    running.stop();
    Ok(())
}
