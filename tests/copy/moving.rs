//! What is moved, what stays, and how a task comes to the other store.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId};
use votive::queue::{self, CopyError};
use votive::store::{Amendment, Change, Claim, ClaimRequest, Presence, Store, Want};
use votive::task::{Options, Record, State, Unique};

use crate::pair::{Pair, enqueue, ids, record};

const HOUR: Duration = Duration::from_secs(3_600);

/// Claims the first task of a pair, for as long as the presence lives.
fn claim(pair: &Pair) -> (Presence, Claim) {
    let incarnation = Incarnation::random();
    let presence = pair.from.attend(incarnation, HOUR).unwrap();
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "worker".to_owned(),
        },
        wants: vec![Want {
            queue: "default".to_owned(),
            count: 1,
        }],
        lease: HOUR,
    };
    let claims = pair.from.claim(&request, pair.from.now().unwrap());
    (presence, claims.unwrap().remove(0))
}

fn set(key: &str, value: &[u8]) -> Change {
    Change::Mark {
        key: key.to_owned(),
        expect: None,
        value: Some(value.to_vec()),
    }
}

#[test]
fn a_task_comes_as_it_left_in_every_state_that_nobody_is_at_work_on() {
    let pair = Pair::new();
    let delayed = Options {
        delay: Some(HOUR),
        ..Options::default()
    };
    let tasks = [(); 2].map(|()| pair.enqueue(Options::default()));
    let scheduled = pair.enqueue(delayed);
    pair.amend(tasks[1], Amendment::Cancel);
    let all = [tasks[0], tasks[1], scheduled];
    let before: Vec<Record> = all.map(|task| record(&*pair.from, task)).into();
    assert_eq!(pair.copy().tasks, 3);
    let after: Vec<Record> = all.map(|task| record(&*pair.to, task)).into();
    assert_eq!(before, after);
    assert!(ids(&*pair.from).is_empty());
}

#[test]
fn tasks_of_a_group_come_with_its_limit_and_their_order() {
    let pair = Pair::new();
    let placed = |priority| Options {
        group: Some("group".to_owned()),
        group_limit: Some(2),
        ageing: Some(Duration::from_secs(60)),
        priority,
        ..Options::default()
    };
    let tasks = [10, 9, 0, 11].map(|priority| pair.enqueue(placed(priority)));
    let states = |store: &dyn Store| tasks.map(|task| record(store, task).state);
    let before = states(&*pair.from);
    assert!(pair.copy().is_complete());
    assert_eq!(states(&*pair.to), before);
    let waiting = before.iter().filter(|state| **state == State::Waiting);
    assert_eq!(waiting.count(), 2);
    assert_eq!(record(&*pair.to, tasks[0]).options.group_limit, Some(2));
}

#[test]
fn nothing_is_left_to_a_second_copy() {
    let pair = Pair::new();
    for _ in 0..250 {
        pair.enqueue(Options::default());
    }
    let copied = pair.copy();
    assert_eq!((copied.tasks, copied.is_complete()), (250, true));
    assert_eq!(pair.copy(), queue::Copied::default());
}

#[test]
fn one_queue_is_moved_and_the_others_stay() {
    let pair = Pair::new();
    let (moved, stays) = (
        pair.enqueue(Options::default()),
        pair.enqueue(Options::default()),
    );
    pair.amend(moved, Amendment::Move("other".to_owned()));
    pair.apply(&pair.from, set("cursor", b"7"));
    let copied = queue::copy(&pair.from, &pair.to, &pair.manager, Some("other")).unwrap();
    assert_eq!((copied.tasks, copied.marks), (1, 0));
    assert_eq!(ids(&*pair.from), [stays].into());
}

#[test]
fn a_claimed_task_stays_with_its_consumer_and_is_counted() {
    let pair = Pair::new();
    let task = pair.enqueue(Options::default());
    let (_presence, _claim) = claim(&pair);
    let copied = pair.copy();
    assert_eq!((copied.tasks, copied.claimed), (0, 1));
    assert!(!copied.is_complete());
    assert_eq!(record(&*pair.from, task).state, State::Claimed);
}

#[test]
fn what_the_dead_have_claimed_is_moved() {
    let pair = Pair::new();
    let task = pair.enqueue(Options::default());
    drop(claim(&pair));
    assert!(pair.copy().is_complete());
    let moved = record(&*pair.to, task);
    assert_eq!((moved.state, moved.counts.reclaims), (State::Ready, 1));
}

#[test]
fn marks_are_moved_but_not_those_that_are_the_store_s_own() {
    let pair = Pair::new();
    for key in ["cursor", "consumer/web", "turn/recovery"] {
        pair.apply(&pair.from, set(key, b"7"));
    }
    assert_eq!(pair.copy().marks, 1);
    assert_eq!(pair.to.mark("cursor").unwrap(), Some(b"7".to_vec()));
    assert_eq!(pair.from.mark("cursor").unwrap(), None);
    assert_eq!(pair.to.marks("").unwrap().len(), 1);
}

#[test]
fn a_mark_that_the_other_store_has_is_not_overwritten() {
    let pair = Pair::new();
    pair.apply(&pair.from, set("cursor", b"7"));
    pair.apply(&pair.to, set("cursor", b"8"));
    let copied = pair.copy();
    assert_eq!(copied.left[0].what, "cursor");
    assert_eq!(pair.to.mark("cursor").unwrap(), Some(b"8".to_vec()));
    assert_eq!(pair.from.mark("cursor").unwrap(), Some(b"7".to_vec()));
}

#[test]
fn a_task_whose_key_is_held_in_the_other_store_merges_there() {
    let pair = Pair::new();
    let options = || Options {
        unique: Some(Unique {
            on_duplicate: votive::task::OnDuplicate::Merge,
            ..Unique::new("key")
        }),
        ..Options::default()
    };
    let holder = enqueue(&pair.to, &pair.manager, options());
    let task = pair.enqueue(options());
    assert_eq!(pair.copy().merged, 1);
    assert_eq!(record(&*pair.to, task).id, holder);
}

#[test]
fn a_task_waits_there_for_what_is_not_done_and_for_nothing_else() {
    let pair = Pair::new();
    let (pending, gone) = (
        pair.enqueue(Options::default()),
        pair.enqueue(Options::default()),
    );
    let enqueue_waiting = |on: &[_]| {
        let options = Options {
            waits_for: on.to_vec(),
            ..Options::default()
        };
        let like = record(&*pair.from, pending);
        let (id, now) = (TaskId::new(like.enqueued_at), like.enqueued_at);
        let record = Record::new(id, like.queue, like.kind, like.payload, now);
        let insert = Change::Insert(Box::new(record.with_options(options)));
        pair.apply(&pair.from, insert);
        id
    };
    let (held, free) = (enqueue_waiting(&[pending, gone]), enqueue_waiting(&[gone]));
    pair.amend(gone, Amendment::Remove);
    pair.copy();
    assert_eq!(record(&*pair.to, held).options.waits_for, [pending]);
    assert_eq!(record(&*pair.to, held).state, State::Waiting);
    assert_eq!(record(&*pair.to, free).state, State::Ready);
}

#[test]
fn a_task_that_both_stores_have_is_kept_once() {
    let pair = Pair::new();
    let task = pair.enqueue(Options::default());
    let mut twin = record(&*pair.from, task);
    twin.state = State::Staged;
    pair.apply(&pair.to, Change::Insert(Box::new(twin)));
    assert_eq!(pair.copy().known, 1);
    assert!(ids(&*pair.from).is_empty());
    assert_eq!(ids(&*pair.to), [task].into());
}

#[test]
fn a_store_is_not_copied_into_itself() {
    let pair = Pair::new();
    let copied = queue::copy(&pair.from, &Arc::clone(&pair.from), &pair.manager, None);
    assert!(matches!(copied, Err(CopyError::SameStore)));
}
