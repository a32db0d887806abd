//! Tasks that cannot be read: damaged, or written by a newer version of votive.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::{ResourceId, TaskId};
use votive::queue::settle_claim;
use votive::store::sqlite::Options;
use votive::store::{
    Amendment, Batch, Change, Claim, Dispatch, Inspect, Interest, Stage, Store, Verdict,
};
use votive::task::{self, DeadReason, StateSet, Unique};
use votive::time::ManualClock;
use votive::txn::TransactionManager;

use crate::fixture::{Client, NOW, Place, done, place, record, settlement};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_task_that_cannot_be_read_holds_up_nobody() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue_many(3);
    let damage =
        "UPDATE votive_task SET options = x'ff' WHERE seq = (SELECT min(seq) FROM votive_task)";
    place.connection().execute(damage, []).unwrap();
    assert_eq!(client.claim().len(), 2);
    client.enqueue_many(1);
    assert_eq!(client.claim().len(), 1);
}

/// What a task says of itself, cut off, and as a newer version would write it.
const DAMAGED: &[u8] = &[1];
const NEWER: &[u8] = &[0xff];

/// Makes what a task says of itself unreadable.
fn replace(place: &Place, task: TaskId, options: &[u8]) {
    let replace = "UPDATE votive_task SET options = ?2 WHERE id = ?1";
    let connection = place.connection();
    let changed = connection.execute(replace, (task.to_bytes(), options));
    assert_eq!(changed.unwrap(), 1);
}

fn grouped() -> task::Options {
    task::Options {
        group: Some("vat".to_owned()),
        ..task::Options::default()
    }
}

fn ids(claims: &[Claim]) -> Vec<TaskId> {
    claims.iter().map(|claim| claim.record.id).collect()
}

#[test]
fn a_task_that_is_damaged_gives_up_its_key_and_its_place_in_a_group() {
    let place = place();
    let client = Client::open(&place.path);
    let first = client.enqueue_with(task::Options {
        unique: Some(Unique::new("vat/1").until_ended()),
        ..grouped()
    });
    let waiting = [(); 3].map(|()| client.enqueue_with(grouped()));
    for task in [first, waiting[0], waiting[2]] {
        replace(&place, task, DAMAGED);
    }
    // The first holds the place until it is claimed, and so set aside; the next is damaged, too.
    let claims = client.claim();
    assert_eq!(ids(&claims), [waiting[1]]);
    client.apply(done(&claims[0])).unwrap();
    let again = client.enqueue_with(task::Options {
        unique: Some(Unique::new("vat/1")),
        ..grouped()
    });
    assert_eq!(ids(&client.claim()), [again]);
}

#[test]
fn who_gives_way_when_a_damaged_task_leaves_its_group_is_not_claimed() {
    let place = place();
    let client = Client::open(&place.path);
    let enqueue = |places, priority| {
        client.enqueue_with(task::Options {
            group: Some("vat".to_owned()),
            group_limit: Some(places),
            priority,
            ..task::Options::default()
        })
    };
    let (first, damaged, urgent) = (enqueue(1, 5), enqueue(2, 5), enqueue(1, 0));
    replace(&place, damaged, DAMAGED);
    let claims = client.claim();
    assert_eq!(ids(&claims), [urgent]);
    client.apply(done(&claims[0])).unwrap();
    assert_eq!(ids(&client.claim()), [first]);
}

#[test]
fn a_task_of_a_newer_version_keeps_its_place_in_a_group_for_that() {
    let place = place();
    let client = Client::open(&place.path);
    let first = client.enqueue_with(grouped());
    client.enqueue_with(grouped());
    replace(&place, first, NEWER);
    assert_eq!(ids(&client.claim()), []);
    assert_eq!(ids(&client.claim()), []);
}

#[test]
fn a_scheduled_task_that_cannot_be_read_holds_up_nobody() {
    for unreadable in [DAMAGED, NEWER] {
        let place = place();
        let client = Client::open(&place.path);
        let delayed = || client.enqueue_with(task::Options::default().delay(MINUTE));
        let scheduled = [delayed(), delayed()];
        replace(&place, scheduled[0], unreadable);
        let claims = client.claim_at(NOW.saturating_add(2 * MINUTE));
        assert_eq!(ids(&claims), [scheduled[1]]);
    }
}

/// The number that stands for the state of a task.
fn state(place: &Place, task: TaskId) -> u8 {
    let find = "SELECT state FROM votive_task WHERE id = ?1";
    let found = place
        .connection()
        .query_row(find, [task.to_bytes()], |row| row.get(0));
    found.unwrap()
}

const READY: u8 = 3;
const CLAIMED: u8 = 4;
const DEAD: u8 = 6;

/// A task, and one that waits for it.
fn chain(client: &Client, group: Option<&str>) -> [TaskId; 2] {
    let first = client.enqueue().unwrap();
    let waiting = client.enqueue_with(task::Options {
        waits_for: vec![first],
        group: group.map(str::to_owned),
        ..task::Options::default()
    });
    [first, waiting]
}

/// Has the first of a chain be done.
fn finish_first(client: &Client, [first, waiting]: [TaskId; 2]) {
    let claims = client.claim();
    assert_eq!(ids(&claims), [first]);
    let arrive = Change::Arrive {
        task: waiting,
        done: first,
    };
    client
        .apply_at(vec![done(&claims[0]), arrive], NOW)
        .unwrap();
}

#[test]
fn a_task_that_cannot_be_read_has_no_end_refused_for_which_it_waits() {
    for (unreadable, group) in [DAMAGED, NEWER].into_iter().zip([None, Some("vat")]) {
        let place = place();
        let client = Client::open(&place.path);
        let tasks = chain(&client, group);
        let [_, waiting] = tasks;
        replace(&place, waiting, unreadable);
        finish_first(&client, tasks);
        assert_eq!(state(&place, waiting), READY);
    }
}

#[test]
fn what_a_staged_batch_has_pinned_is_let_go_although_it_cannot_be_read() {
    for unreadable in [DAMAGED, NEWER] {
        let place = place();
        let client = Client::open(&place.path);
        let tasks = chain(&client, None);
        let [_, waiting] = tasks;
        let cancel = Batch::new(vec![Change::Amend {
            task: waiting,
            expect: StateSet::ALL,
            amendment: Amendment::Cancel,
        }]);
        let (txn, register) = (client.txn(), ResourceId::random());
        client.store.stage(txn, register, &cancel, NOW).unwrap();
        finish_first(&client, tasks);
        replace(&place, waiting, unreadable);
        client.store.discard(txn).unwrap();
        assert_eq!(state(&place, waiting), READY);
        assert_eq!(ids(&client.claim()), []);
        assert_eq!(state(&place, waiting), CLAIMED, "and so set aside");
    }
}

#[test]
fn a_task_that_cannot_be_read_keeps_none_alive_for_which_it_waits() {
    let place = place();
    let client = Client::open(&place.path);
    let first = record();
    let waiting = client.enqueue_with(task::Options {
        waits_for: vec![first.id],
        ..task::Options::default()
    });
    let first = first.with_options(task::Options {
        announces: vec![waiting],
        ..task::Options::default()
    });
    client.apply(Change::Insert(Box::new(first))).unwrap();
    replace(&place, waiting, DAMAGED);
    let claim = client.claim().remove(0);
    let reason = DeadReason::Failed;
    let bury = settlement(&claim, Verdict::Bury { reason });
    let store: Arc<dyn Store> = Arc::new(place.open().unwrap());
    let mut txn = TransactionManager::new().begin().unwrap();
    settle_claim(&store, &mut txn, &claim.record, bury).unwrap();
    txn.commit().unwrap();
    assert_eq!(state(&place, claim.record.id), DEAD);
}

#[test]
fn nobody_is_woken_for_a_scheduled_task_of_a_newer_version_that_stays_for_that() {
    let place = place();
    let clock = ManualClock::new(NOW);
    let client = Client::open_with(&place.path, Options::default().clock(clock.clone()));
    let scheduled = client.enqueue_with(task::Options::default().delay(MINUTE));
    clock.advance(2 * MINUTE);
    let ready = Interest::Ready("default".to_owned());
    let wait = || {
        client
            .store
            .wait(std::slice::from_ref(&ready), Duration::ZERO)
    };
    assert_eq!(wait().unwrap(), Some(ready.clone()));
    replace(&place, scheduled, NEWER);
    assert_eq!(ids(&client.claim_at(client.store.now().unwrap())), []);
    assert_eq!(wait().unwrap(), None);
}

/// A task that is done, and kept for a minute.
fn finished(client: &Client) -> TaskId {
    let task = client.enqueue_with(task::Options {
        retention: Some(MINUTE),
        ..task::Options::default()
    });
    client.apply(done(&client.claim()[0])).unwrap();
    task
}

/// Enqueues a task when what is kept for a minute is past that.
fn enqueue_later(client: &Client) {
    let insert = Change::Insert(Box::new(record()));
    let later = NOW.saturating_add(2 * MINUTE);
    client.apply_at(vec![insert], later).unwrap();
}

fn is_there(place: &Place, task: TaskId) -> bool {
    let find = "SELECT EXISTS (SELECT 1 FROM votive_task WHERE id = ?1)";
    let found = place
        .connection()
        .query_row(find, [task.to_bytes()], |row| row.get(0));
    found.unwrap()
}

#[test]
fn a_kept_task_that_cannot_be_read_has_nobody_refused_when_its_time_is_over() {
    for (unreadable, stays) in [(DAMAGED, false), (NEWER, true)] {
        let place = place();
        let client = Client::open(&place.path);
        let kept = finished(&client);
        replace(&place, kept, unreadable);
        enqueue_later(&client);
        assert_eq!(is_there(&place, kept), stays);
        enqueue_later(&client);
    }
}

#[test]
fn what_a_newer_version_keeps_has_nothing_else_kept_for_longer() {
    let place = place();
    let client = Client::open(&place.path);
    // More than go at once.
    let newer = [(); 20].map(|()| finished(&client));
    let kept = finished(&client);
    for task in newer {
        replace(&place, task, NEWER);
    }
    enqueue_later(&client);
    assert!(!is_there(&place, kept));
    assert!(newer.iter().all(|task| is_there(&place, *task)));
}
