//! Immediate mode: for tests and development, tasks run where they are committed.

use std::error::Error;
use std::sync::Mutex;

use votive::queue::EnqueueError;
use votive::{Consumer, Context, Queues, Registry, TransactionManager};

/// What was done, in order.
static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn done(what: String) {
    println!("{what}");
    if let Ok(mut done) = DONE.lock() {
        done.push(what);
    }
}

#[votive::task]
fn welcome(context: &mut Context<'_>, name: String) -> Result<(), EnqueueError> {
    done(format!("welcome {name}"));
    context.enqueue_draft(remind::task(name))?;
    Ok(())
}

#[votive::task(queue = "mail")]
fn remind(name: String) -> Result<(), String> {
    done(format!("remind {name}"));
    Err(format!("{name} has no address"))
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (manager, queues) = (
        TransactionManager::new(),
        Queues::new(votive::open("memory://")?),
    );
    let immediate = Consumer::builder(queues.store().clone(), Registry::discovered()?)
        .manager(manager.clone())
        .immediate()?;

    let mut txn = manager.begin()?;
    welcome::enqueue(&queues, &mut txn, "ann")?;
    done("commit".to_owned());
    txn.commit()?;
    done("committed".to_owned());

    let done = DONE.lock().map_err(|_| "a task panicked")?;
    assert_eq!(*done, ["commit", "welcome ann", "remind ann", "committed"]);
    let failed = immediate.take_failed();
    for failure in &failed {
        println!("{failure}");
    }
    let [failure] = &failed[..] else {
        return Err("exactly one task was to fail".into());
    };
    assert_eq!(
        (&*failure.kind, &*failure.chain),
        ("remind", &["ann has no address".to_owned()][..])
    );
    Ok(())
}
