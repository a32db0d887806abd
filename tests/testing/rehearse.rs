//! One task in a transaction that is rolled back.
#![cfg(test)]

use serde_json::json;
use votive::handler::{Context, Registry};
use votive::queue::Queue;
use votive::store::Filter;
use votive::testing::{Expected, rehearse};
use votive::txn::{BoxError, Retryable};

use crate::shop::{Mail, Shop, mail, memory};

#[test]
fn a_rehearsal_shows_what_a_handler_would_enqueue_and_leaves_nothing() {
    let (store, queue, manager) = memory();
    let mut registry = Registry::new();
    let handler = |task: Mail, context: &mut Context<'_>| -> Result<(), BoxError> {
        assert_eq!(context.attempt().number, 1);
        context.enqueue(&mail(task.order + 1))?;
        Ok(())
    };
    registry.register(handler).unwrap();
    let rehearsal = rehearse(&queue, &manager, &registry, &mail(7)).unwrap();
    rehearsal.result.unwrap();
    let expected = Expected::task::<Mail>().with(json!({ "order": 8 }));
    assert!(matches!(&rehearsal.enqueued[..], [one] if expected.matches(one)));
    assert!(
        store
            .scan(&Filter::default(), None, 10)
            .unwrap()
            .tasks
            .is_empty()
    );
}

#[test]
fn a_rehearsal_undoes_what_the_handler_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(folder.path()).unwrap();
    let orders = shop.orders.clone();
    let mut registry = Registry::new();
    registry
        .register(
            move |task: Mail, context: &mut Context<'_>| -> Result<(), BoxError> {
                let session = orders.join(context.work())?;
                session.execute("INSERT INTO placed VALUES (?1)", [task.to])?;
                Ok(())
            },
        )
        .unwrap();
    let queue = Queue::new(shop.store.clone(), "mails").unwrap();
    let rehearsal = rehearse(&queue, &shop.manager, &registry, &mail(7)).unwrap();
    rehearsal.result.unwrap();
    assert!(shop.placed().unwrap().is_empty());
}

#[test]
fn a_rehearsal_tells_a_conflict_from_a_failure() {
    let (_, queue, manager) = memory();
    let mut registry = Registry::new();
    let handler = |task: Mail, _: &mut Context<'_>| -> Result<(), BoxError> {
        match task.order {
            0 => Err("no such order".into()),
            _ => Err(Retryable("the order is busy".into()).into()),
        }
    };
    registry.register(handler).unwrap();
    let of = |order| rehearse(&queue, &manager, &registry, &mail(order)).unwrap();
    let (failed, conflict) = (of(0), of(1));
    assert!(failed.result.is_err() && !failed.is_conflict);
    assert!(conflict.result.is_err() && conflict.is_conflict);
}
