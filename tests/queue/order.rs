//! In what order tasks come, as an operator says it: what a step of priority is worth, and what goes first.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};
use votive::id::{ConsumerId, Incarnation};
use votive::queue::{EnqueueError, Queue, settle_claim};
use votive::store::file::{self, FileStore};
use votive::store::memory::MemoryStore;
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{Claim, ClaimRequest, Kind, Settlement, Store, Verdict, Want};
use votive::task::{AGEING_MAX, FollowUp, GROUP_LIMIT_MAX, Options, Record};
use votive::time::{ManualClock, Timestamp};
use votive::txn::TransactionManager;

use crate::fixture::{greet, visible, volatile};

const MINUTE: Duration = Duration::from_secs(60);

fn set_ageing(queue: &Queue, manager: &TransactionManager, ageing: Option<Duration>) {
    let changed = queue.change_settings(manager, |settings| settings.ageing = ageing);
    changed.unwrap();
}

fn enqueue(queue: &Queue, manager: &TransactionManager, options: Options) -> Record {
    let mut txn = manager.begin().unwrap();
    let task = queue
        .enqueue_with(&mut txn, &greet("ann"), options)
        .unwrap();
    txn.commit().unwrap();
    queue.store().get(task).unwrap().unwrap().record
}

/// Claims the next task for somebody who goes on living.
fn claim(store: &dyn Store) -> Option<Claim> {
    let incarnation = Incarnation::random();
    std::mem::forget(store.attend(incarnation, MINUTE * 60_000).unwrap());
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "worker".into(),
        },
        wants: vec![Want {
            queue: "default".into(),
            count: 1,
        }],
        lease: MINUTE * 60_000,
    };
    let now = store.now().unwrap();
    store.claim(&request, now).unwrap().pop()
}

#[test]
fn every_producer_goes_by_what_is_said_of_its_queue() {
    let (queue, manager) = volatile();
    assert_eq!(
        enqueue(&queue, &manager, Options::default()).options.ageing,
        None
    );
    let other = Queue::new(Arc::clone(queue.store()), "default").unwrap();
    set_ageing(&queue, &manager, Some(MINUTE));
    for producer in [&queue, &other] {
        let record = enqueue(producer, &manager, Options::default());
        assert_eq!(record.options.ageing, Some(MINUTE));
    }
}

#[test]
fn a_task_that_says_what_a_step_is_worth_keeps_that() {
    let (queue, manager) = volatile();
    set_ageing(&queue, &manager, Some(MINUTE));
    let own = Options {
        ageing: Some(Duration::ZERO),
        ..Options::default()
    };
    let record = enqueue(&queue, &manager, own);
    assert_eq!(record.options.ageing, Some(Duration::ZERO));
}

#[test]
fn a_follow_up_goes_by_what_is_said_of_its_queue() {
    let (queue, manager) = volatile();
    queue
        .change_settings(&manager, |settings| {
            settings.ageing = Some(MINUTE);
            settings.top_kinds.insert("greet".to_owned());
        })
        .unwrap();
    let follow_up = FollowUp::new(&greet("bob")).unwrap();
    let first = Options {
        on_success: Some(Box::new(follow_up)),
        ..Options::default()
    };
    enqueue(&queue, &manager, first);
    let done = claim(&**queue.store()).unwrap();
    let mut txn = manager.begin().unwrap();
    let settlement = Settlement {
        task: done.record.id,
        token: done.token,
        verdict: Verdict::Done,
        counts: done.record.counts,
        account: None,
    };
    settle_claim(queue.store(), &mut txn, &done.record, settlement).unwrap();
    txn.commit().unwrap();
    assert_eq!(visible(&**queue.store()), ["bob"]);
    let options = claim(&**queue.store()).unwrap().record.options;
    assert_eq!((options.priority, options.ageing), (0, Some(MINUTE)));
}

#[test]
fn a_step_that_is_worth_too_much_is_refused_where_it_is_said() {
    let (queue, manager) = volatile();
    let absurd = AGEING_MAX + Duration::from_micros(1);
    let changed = queue.change_settings(&manager, |settings| settings.ageing = Some(absurd));
    let text = "a step of priority may be worth 2592000 s at most".to_owned();
    assert_eq!(changed.unwrap_err().kind, Kind::Invalid(text.clone()));
    assert_eq!(queue.settings().unwrap().ageing, None);
    let own = Options {
        ageing: Some(absurd),
        ..Options::default()
    };
    let mut txn = manager.begin().unwrap();
    let refused = queue
        .enqueue_with(&mut txn, &greet("ann"), own)
        .unwrap_err();
    assert!(matches!(refused, EnqueueError::Invalid(said) if said == text));
    txn.abort().unwrap();
}

#[test]
fn tasks_of_a_kind_with_a_limit_are_in_a_group() {
    let (queue, manager) = volatile();
    let changed = queue.change_settings(&manager, |settings| {
        settings.kind_limits.insert("greet".to_owned(), 2);
    });
    changed.unwrap();
    let own = |limit| Options {
        group: Some("own".to_owned()),
        group_limit: limit,
        ..Options::default()
    };
    let said = [Options::default(), own(None), own(Some(7))]
        .map(|options| enqueue(&queue, &manager, options).options);
    let group = said.each_ref().map(|options| options.group.as_deref());
    assert_eq!(group, [Some("greet"), Some("own"), Some("own")]);
    let limit = said.each_ref().map(|options| options.places());
    assert_eq!(limit, [2, 2, 7]);
}

#[test]
fn a_limit_without_a_place_or_with_too_many_is_refused_where_it_is_said() {
    let (queue, manager) = volatile();
    for limit in [0, GROUP_LIMIT_MAX + 1] {
        let changed = queue.change_settings(&manager, |settings| {
            settings.kind_limits.insert("greet".to_owned(), limit);
        });
        assert!(matches!(changed.unwrap_err().kind, Kind::Invalid(_)));
        let own = Options {
            group_limit: Some(limit),
            ..Options::default()
        };
        let mut txn = manager.begin().unwrap();
        let refused = queue.enqueue_with(&mut txn, &greet("ann"), own);
        assert!(matches!(refused, Err(EnqueueError::Invalid(_))));
    }
    assert!(queue.settings().unwrap().kind_limits.is_empty());
}

/// What happens next: so long passes, then a task of this priority comes, then so many are claimed. Before,
/// the operator may say what a step of priority is worth from now on.
type Turn = (u64, u8, usize, Option<Option<u64>>);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let ageing = prop_oneof![Just(None), Just(Some(0)), (1_u64..600).prop_map(Some)];
    let said = proptest::option::weighted(0.1, ageing);
    proptest::collection::vec((0_u64..400, 0_u8..20, 0_usize..3, said), 1..60)
}

/// Nothing starves: whatever comes, and whatever an operator says meanwhile, no task is overtaken by one that
/// was published after it had waited for as long as its priority was worth when it came.
fn nothing_starves(turns: &[Turn], store: Arc<dyn Store>, clock: &ManualClock) -> TestCaseResult {
    let manager = TransactionManager::new();
    let queue = Queue::new(store, "default").unwrap();
    let mut waiting = Vec::new();
    for (seconds, priority, claims, said) in turns {
        clock.advance(Duration::from_secs(*seconds));
        if let Some(ageing) = said {
            set_ageing(&queue, &manager, ageing.map(Duration::from_secs));
        }
        let options = Options {
            priority: *priority,
            ..Options::default()
        };
        waiting.push(enqueue(&queue, &manager, options));
        for _ in 0..*claims {
            let Some(claimed) = claim(&**queue.store()) else {
                break;
            };
            waiting.retain(|record| record.id != claimed.record.id);
            let came_at = claimed.record.published_at.unwrap();
            for passed in &waiting {
                let patience = passed.options.malus();
                let until = passed.published_at.unwrap().saturating_add(patience);
                prop_assert!(came_at <= until, "{:?} starves", passed);
            }
        }
    }
    prop_assert_eq!(queue.store().check().unwrap(), Vec::<String>::new());
    Ok(())
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000))
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn nothing_starves_in_memory(turns in turns()) {
        let clock = clock();
        let store = MemoryStore::with_clock(Arc::new(clock.clone()));
        nothing_starves(&turns, Arc::new(store), &clock)?;
    }
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn nothing_starves_in_sqlite(turns in turns()) {
        let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
        let options = sqlite::Options::default().clock(clock.clone());
        let store = SqliteStore::open(folder.path().join("tasks.db"), options).unwrap();
        nothing_starves(&turns, Arc::new(store), &clock)?;
    }

    #[test]
    fn nothing_starves_in_a_folder(turns in turns()) {
        let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
        let options = file::Options::default().clock(clock.clone());
        let store = FileStore::open(folder.path().join("tasks"), options).unwrap();
        nothing_starves(&turns, Arc::new(store), &clock)?;
    }
}
