//! Tasks declared by their functions: a shop that takes an order, and what follows from it.

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use votive::queue::EnqueueError;
use votive::store::Interest;
use votive::{Consumer, Context, Queues, Registry, TransactionManager};

/// What was done, for the checks at the end.
static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn done(what: String) {
    println!("{what}");
    if let Ok(mut done) = DONE.lock() {
        done.push(what);
    }
}

#[votive::task(retention = "1h")]
fn ship(context: &mut Context<'_>, order: u64, to: String) -> Result<(), EnqueueError> {
    done(format!("ship order {order} to {to}"));
    // Visible when this task is done, and only then.
    context.enqueue_draft(send_mail::task(to, format!("order {order} is on its way")))?;
    Ok(())
}

#[votive::task(
    queue = "mail",
    attempts = 3,
    timeout = "30s",
    retention = "1h",
    unique
)]
fn send_mail(to: String, subject: String) {
    done(format!("mail to {to}: {subject}"));
}

#[votive::task(kind = "stock.count", queue = "stock", priority = 20)]
fn count_stock() {
    done("count the stock".to_owned());
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (manager, queues) = (
        TransactionManager::new(),
        Queues::new(votive::open("memory://")?),
    );

    // A declared function is still a function.
    send_mail("ann".into(), "called, not enqueued".into());

    // All of it is enqueued, or none; of two equal mails there is one.
    let mut txn = manager.begin()?;
    ship::enqueue(&queues, &mut txn, 7, "ann")?;
    send_mail::enqueue(&queues, &mut txn, "ann", "thank you")?;
    send_mail::enqueue(&queues, &mut txn, "ann", "thank you")?;
    count_stock::task()
        .delay(Duration::from_secs(3_600))
        .enqueue(&queues, &mut txn)?;
    txn.commit()?;

    let registry = Registry::discovered()?;
    for info in registry.infos() {
        println!(
            "found {} for the queue {}: {}",
            info.kind, info.queue, info.origin
        );
    }
    let kinds: Vec<_> = registry.kinds().collect();
    assert_eq!(kinds, ["send_mail", "ship", "stock.count"]);

    let running = Consumer::builder(queues.store().clone(), registry)
        .queue("default")
        .queue("mail")
        .queue("stock")
        .start()?;
    while running.stats().done < 3 {
        let ready = ["default", "mail"].map(|queue| Interest::Ready(queue.to_owned()));
        queues.store().wait(&ready, Duration::from_millis(10))?;
    }
    running.stop();

    let mut done = DONE.lock().map_err(|_| "a task panicked")?.split_off(1);
    done.sort();
    let expected = [
        "mail to ann: order 7 is on its way",
        "mail to ann: thank you",
        "ship order 7 to ann",
    ];
    assert_eq!(done, expected); // the stock is counted in an hour
    Ok(())
}
