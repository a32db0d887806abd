//! Tasks declared by their functions: what is enqueued, what is found, and what runs.
#![cfg(test)]

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use votive::handler::{Declared, Registry};
use votive::id::TaskId;
use votive::queue::{Draft, EnqueueError};
use votive::task::{Hold, OnDuplicate, Payload, PayloadError, PayloadLimits, Record, Uniqueness};
use votive::{Consumer, Context, Queue, Queues, Task, TransactionManager, Work};

/// Where the functions below say what they did. The tests of this file take turns.
static SAID: Mutex<Option<Sender<String>>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());

fn say(text: String) {
    if let Some(said) = &*SAID.lock() {
        said.send(text).unwrap();
    }
}

#[votive::task(
    queue = "mail",
    priority = 5,
    attempts = 3,
    timeout = "30s",
    retention = "1h"
)]
fn send_mail(context: &mut Context<'_>, to: String, subject: String) {
    say(format!(
        "{to}: {subject}, attempt {}",
        context.attempt().number
    ));
}

#[votive::task]
fn add(left: i64, right: i64) {
    say(format!("{}", left + right));
}

#[votive::task(kind = "nightly.cleaning")]
fn clean() {
    say("clean".to_owned());
}

#[votive::task]
fn relay(context: &mut Context<'_>, to: String) -> Result<(), EnqueueError> {
    context.enqueue_draft(send_mail::task(to, "relayed"))?;
    Ok(())
}

#[votive::task(attempts = 1, retention = "1h")]
fn fail(reason: String) -> Result<(), io::Error> {
    Err(io::Error::other(reason))
}

#[votive::task(unique, group = "index")]
fn index(document: i64, #[serde(default)] deep: bool) {
    say(format!("{document} {deep}"));
}

#[votive::task(unique(refuse))]
fn bill(customer: String) {
    say(customer);
}

#[votive::task(unique(refuse, after_enqueued = "1h", after_ended = "10m"))]
fn invoice(customer: String) {
    say(customer);
}

#[votive::task(version = 2, upgrade = older, group = "grown", group_limit = 2)]
fn grow(name: String, size: u32) {
    say(format!("{name} {size}"));
}

/// Before version 2 there was no size.
fn older(payload: &Payload) -> Result<grow, PayloadError> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Older {
        name: String,
    }
    impl Task for Older {
        const KIND: &'static str = grow::KIND;
    }
    let Older { name } = payload.decode()?;
    Ok(grow { name, size: 1 })
}

fn queues() -> (Queues, TransactionManager) {
    (
        Queues::new(votive::open("memory://").unwrap()),
        TransactionManager::new(),
    )
}

/// Commits what `work` enqueues, and returns how it is stored.
fn stored(work: impl FnOnce(&Queues, &mut Work) -> Result<TaskId, EnqueueError>) -> Record {
    let (queues, manager) = queues();
    let mut txn = manager.begin().unwrap();
    let id = work(&queues, &mut txn).unwrap();
    txn.commit().unwrap();
    queues.store().get(id).unwrap().unwrap().record
}

/// What the discovered functions say when they run what `work` enqueues, `count` lines of it.
fn run(count: usize, work: impl FnOnce(&Queues, &mut Work)) -> Vec<String> {
    let _turn = TURN.lock();
    let (said, heard) = channel();
    *SAID.lock() = Some(said);
    let (queues, manager) = queues();
    let mut txn = manager.begin().unwrap();
    work(&queues, &mut txn);
    txn.commit().unwrap();
    let running = Consumer::builder(Arc::clone(queues.store()), Registry::discovered().unwrap())
        .queue("default")
        .queue("mail")
        .start()
        .unwrap();
    let lines = (0..count).map(|_| heard.recv_timeout(Duration::from_secs(30)).unwrap());
    let lines = lines.collect();
    running.stop();
    lines
}

#[test]
fn a_declared_function_is_called_as_before() {
    let _turn = TURN.lock();
    let (said, heard) = channel();
    *SAID.lock() = Some(said);
    add(1, 2);
    assert_eq!(heard.recv().unwrap(), "3");
    assert!(fail("no".to_owned()).is_err());
}

#[test]
fn a_task_is_stored_with_the_queue_and_the_options_of_its_declaration() {
    let record = stored(|queues, work| send_mail::enqueue(queues, work, "ann", "hello"));
    let options = &record.options;
    assert_eq!((&*record.kind, &*record.queue), ("send_mail", "mail"));
    assert_eq!((options.priority, options.retry.attempts_max), (5, 3));
    assert_eq!(options.timeout, Some(Duration::from_secs(30)));
    assert_eq!(options.retention, Some(Duration::from_secs(3600)));
}

#[test]
fn a_draft_changes_what_the_declaration_says() {
    let draft = || {
        send_mail::task("ann", "hello")
            .priority(1)
            .delay(Duration::from_secs(9))
    };
    let record = stored(|queues, work| draft().enqueue(queues, work));
    assert_eq!(
        (record.options.priority, record.options.retry.attempts_max),
        (1, 3)
    );
    assert_eq!(record.options.delay, Some(Duration::from_secs(9)));
}

#[test]
fn a_queue_takes_a_task_whatever_its_declaration_says() {
    let record = stored(|queues, work| {
        let queue: Queue = queues.queue("urgent")?;
        send_mail::enqueue(&queue, work, "ann", "hello")
    });
    assert_eq!(record.queue, "urgent");
}

#[test]
fn a_task_may_be_enqueued_as_the_value_that_it_is() {
    let record = stored(|queues, work| queues.enqueue(work, &add { left: 1, right: 2 }));
    let add { left, right } = record.payload.decode().unwrap();
    assert_eq!((left, right), (1, 2));
}

#[test]
fn a_discovered_function_runs_with_its_arguments_and_its_context() {
    let said = run(2, |queues, work| {
        send_mail::enqueue(queues, work, "ann", "hello").unwrap();
        clean::enqueue(queues, work).unwrap();
    });
    assert!(
        said.contains(&"ann: hello, attempt 1".to_owned()),
        "{said:?}"
    );
    assert!(said.contains(&"clean".to_owned()), "{said:?}");
}

#[test]
fn a_handler_enqueues_into_the_queue_of_another_kind() {
    let said = run(1, |queues, work| {
        relay::enqueue(queues, work, "ben").unwrap();
    });
    assert_eq!(said, ["ben: relayed, attempt 1"]);
}

#[test]
fn an_error_that_is_returned_is_a_failed_attempt() {
    let (queues, manager) = queues();
    let (task, _) = manager
        .run(1, |txn| fail::enqueue(&queues, txn, "no"))
        .unwrap();
    let store = Arc::clone(queues.store());
    let running = Consumer::builder(Arc::clone(&store), Registry::discovered().unwrap())
        .start()
        .unwrap();
    let settled = [votive::store::Interest::Settled(task)];
    while store.get(task).unwrap().unwrap().record.failure().is_none() {
        store.wait(&settled, Duration::from_secs(1)).unwrap();
    }
    running.stop();
    let record = store.get(task).unwrap().unwrap().record;
    assert_eq!(record.failure().unwrap().chain, ["no"]);
}

#[test]
fn of_tasks_with_equal_arguments_one_waits_if_they_are_unique() {
    let said = run(2, |queues, work| {
        for (document, deep) in [(1, false), (1, true), (1, false)] {
            index::enqueue(queues, work, document, deep).unwrap();
        }
    });
    assert_eq!(said, ["1 false", "1 true"]);
}

#[test]
fn a_second_task_with_equal_arguments_is_refused_where_the_declaration_says_so() {
    let (queues, manager) = queues();
    let enqueue = || manager.run(1, |txn| bill::enqueue(&queues, txn, "ann"));
    enqueue().unwrap();
    assert!(enqueue().is_err());
    assert_eq!(bill::UNIQUE, Some(Uniqueness::REFUSE));
}

#[test]
fn a_key_is_held_for_as_long_as_the_declaration_says() {
    let record = stored(|queues, work| invoice::enqueue(queues, work, "ann".to_owned()));
    let unique = record.options.unique.as_ref().unwrap();
    let hold = Hold {
        until_ended: true,
        after_enqueued: Some(Duration::from_secs(3_600)),
        after_ended: Some(Duration::from_secs(600)),
    };
    assert_eq!(
        (unique.on_duplicate, unique.hold),
        (OnDuplicate::Refuse, hold)
    );
}

#[test]
fn a_group_has_as_many_places_as_the_declaration_says() {
    let record = stored(|queues, work| grow::enqueue(queues, work, "ann".to_owned(), 1));
    assert_eq!(record.options.group.as_deref(), Some("grown"));
    assert_eq!(record.options.group_limit, Some(2));
}

#[test]
fn a_key_of_the_callers_own_takes_the_place_of_the_arguments() {
    let record = stored(|queues, work| index::task(1, false).unique("mine").enqueue(queues, work));
    assert_eq!(record.options.unique.as_ref().unwrap().key, "mine");
}

#[test]
fn arguments_of_an_older_version_are_read_by_the_function_that_upgrades() {
    let payload = Payload::from_json(r#"{"name": "ann"}"#, 1, PayloadLimits::default()).unwrap();
    let said = run(1, |queues, work| {
        let queue = queues.queue("default").unwrap();
        let options = grow::options();
        queue
            .enqueue_payload(work, grow::KIND, payload, options)
            .unwrap();
    });
    assert_eq!(said, ["ann 1"]);
}

#[test]
fn serde_attributes_of_an_argument_go_to_its_field() {
    let payload = Payload::from_json(r#"{"document": 7}"#, 0, PayloadLimits::default()).unwrap();
    let task: index = payload.decode().unwrap();
    assert_eq!((task.document, task.deep), (7, false));
}

#[test]
fn a_declared_task_is_registered_by_hand_as_well() {
    let mut registry = Registry::new();
    registry
        .declare::<add>()
        .unwrap()
        .declare::<clean>()
        .unwrap();
    assert_eq!(
        registry.kinds().collect::<Vec<_>>(),
        ["add", "nightly.cleaning"]
    );
    assert_eq!(add::ORIGIN.name, "declare::add");
}

#[test]
fn a_draft_knows_its_task_and_its_options() {
    let (task, options) = Draft::new(add { left: 1, right: 2 })
        .group("sums")
        .into_parts();
    assert_eq!((task.left, task.right), (1, 2));
    assert_eq!(options.group.as_deref(), Some("sums"));
}
