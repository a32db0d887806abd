//! An application enqueues in the transactions of its own driver: what it enqueues is there if and only if
//! they committed.
#![cfg(test)]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use votive::queue::{EnlistError, Queue, Settings};
use votive::store::Filter;
use votive::store::memory::MemoryStore;
use votive::store::render::Refusal;
use votive::task::{OnDuplicate, Options, State, Unique};
use votive::{Consumer, Context, Registry, TransactionManager};
use votive_orm_tests::{Application, Does, Droppable, End, Home, Losing, Ping, Step, Unguarded};

/// An application, its database and a queue in that.
struct World<H, A> {
    home: H,
    application: A,
    queue: Queue,
}

impl<H: Home, A: Application> World<H, A> {
    fn new() -> Option<Self> {
        let home = H::make()?;
        Some(Self {
            application: A::connect(home.place()).unwrap(),
            queue: Queue::new(home.place().store.clone(), "default").unwrap(),
            home,
        })
    }

    fn transact(&mut self, steps: &[Step], end: End) -> Does {
        self.application.transact(&self.queue, steps, end).unwrap()
    }

    /// The states of the tasks, of which some may not be there.
    fn states(&self, does: &Does) -> Vec<Option<State>> {
        let store = self.queue.store();
        let state = |task: &_| store.get(*task).unwrap().map(|listed| listed.record.state);
        does.tasks.iter().map(state).collect()
    }

    fn task_count(&self) -> usize {
        let found = self.queue.store().scan(&Filter::default(), None, 100);
        found.unwrap().tasks.len()
    }
}

fn plain() -> Step {
    Step::Enqueue(Options::default())
}

fn alone() -> Options {
    Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new("it's")
        }),
        ..Options::default()
    }
}

fn a_task_is_there_if_and_only_if_the_transaction_committed<H: Home, A: Application>(
    mut world: World<H, A>,
) {
    let committed = world.transact(&[Step::Note, plain(), Step::Note], End::Commit);
    let rolled_back = world.transact(&[Step::Note, plain()], End::RollBack);
    assert_eq!(world.states(&committed), [Some(State::Ready)]);
    assert_eq!(world.states(&rolled_back), [None]);
    assert_eq!(world.application.notes().unwrap(), 2);
}

fn a_task_goes_with_the_transaction_within_that_it_is_in<H: Home, A: Application>(
    mut world: World<H, A>,
) {
    let rolled_back = Step::Within(vec![Step::Note, plain()], End::RollBack);
    let kept = Step::Within(vec![plain(), Step::Note], End::Commit);
    let does = world.transact(&[rolled_back, kept, plain()], End::Commit);
    let ready = Some(State::Ready);
    assert_eq!(world.states(&does), [None, ready, ready]);
    assert_eq!(world.application.notes().unwrap(), 1);
}

fn after_a_refusal_the_transaction_goes_on<H: Home, A: Application>(mut world: World<H, A>) {
    let steps = [
        Step::Enqueue(alone()),
        Step::Note,
        Step::Try(alone()),
        Step::Note,
        plain(),
    ];
    let does = world.transact(&steps, End::Commit);
    assert!(matches!(
        &does.refusals[..],
        [EnlistError::Refused(Refusal::KeyTaken { key, .. })] if key == "it's"
    ));
    assert_eq!(world.states(&does), [Some(State::Ready); 2]);
    assert_eq!(world.task_count(), 2);
    assert_eq!(world.application.notes().unwrap(), 2);
}

fn a_task_merges_into_the_one_that_holds_its_key<H: Home, A: Application>(mut world: World<H, A>) {
    let merging = || {
        let unique = Some(Unique::new("it's"));
        Step::Enqueue(Options {
            unique,
            ..Options::default()
        })
    };
    let does = world.transact(&[merging(), merging()], End::Commit);
    assert_eq!(world.states(&does), [Some(State::Ready); 2]);
    assert_eq!(world.task_count(), 1);
}

fn a_queue_takes_no_more_than_its_capacity<H: Home, A: Application>(mut world: World<H, A>) {
    let manager = TransactionManager::new();
    let set = |settings: &mut Settings| settings.capacity = Some(2);
    world.queue.change_settings(&manager, set).unwrap();
    let excess = || Step::Try(Options::default());
    let does = world.transact(&[plain(), plain(), excess()], End::Commit);
    let later = world.transact(&[excess()], End::Commit);
    for does in [&does, &later] {
        assert!(matches!(
            &does.refusals[..],
            [EnlistError::Refused(Refusal::QueueFull {
                pending_max: 2,
                ..
            })]
        ));
    }
    assert_eq!(world.task_count(), 2);
}

fn outside_of_a_transaction_it_is_refused<H: Home, A: Unguarded>(mut world: World<H, A>) {
    let before = world.application.enlist_outside(&world.queue);
    world.transact(&[plain()], End::Commit);
    let after = world.application.enlist_outside(&world.queue);
    for outside in [before, after] {
        assert!(matches!(outside, Err(EnlistError::NoTransaction)));
    }
}

fn after_sqlite_has_taken_back_the_transaction_it_is_refused<H: Home, A: Losing>(
    mut world: World<H, A>,
) {
    for refused in world.application.lose(&world.queue).unwrap() {
        assert!(
            matches!(refused, Err(EnlistError::NoTransaction)),
            "{refused:?}"
        );
    }
    assert_eq!(world.task_count(), 0);
}

fn a_store_that_is_not_in_the_database_is_refused<H: Home, A: Application>(mut world: World<H, A>) {
    let memory = Queue::new(Arc::new(MemoryStore::new()), "default").unwrap();
    let refused = world.application.enlist(&memory).unwrap().unwrap_err();
    assert!(matches!(
        refused,
        EnlistError::OtherBackend { backend: "memory" }
    ));
    let other = Queue::new(world.home.elsewhere().store.clone(), "default").unwrap();
    let refused = world.application.enlist(&other).unwrap().unwrap_err();
    assert!(
        matches!(refused, EnlistError::OtherDatabase { .. }),
        "{refused}"
    );
    world.application.enlist(&world.queue).unwrap().unwrap();
}

fn after_a_future_that_is_dropped_halfway_the_transaction_goes_on<H: Home, A: Droppable>(
    mut world: World<H, A>,
) {
    let dropped = world.application.drop_halfway(&world.queue).unwrap();
    assert_eq!(world.application.notes().unwrap(), 1);
    // The last was not dropped; of the others each one that waited for nothing but its end has written its task.
    let tasks = world.task_count();
    assert!((1..=dropped + 1).contains(&tasks), "{tasks} of {dropped}");
    assert!(world.queue.store().check().unwrap().is_empty());
}

fn a_consumer_runs_the_task<H: Home, A: Application>(mut world: World<H, A>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let mut registry = Registry::new();
    registry
        .register(move |ping: Ping, _: &mut Context<'_>| sender.send(ping.0))
        .unwrap();
    let running = Consumer::builder(world.queue.store().clone(), registry)
        .queue("default")
        .start()
        .unwrap();
    world.transact(&[plain()], End::Commit);
    let ran = receiver.recv_timeout(Duration::from_secs(30));
    running.stop();
    assert_eq!(ran, Ok(7));
}

/// Makes tests of claims in a world.
macro_rules! in_world {
    ($world:ident: $application:ident, $home:ident, $($claim:ident)*) => {
        mod $world {
            $(#[test]
            fn $claim() {
                type World = super::World<votive_orm_tests::$home, votive_orm_tests::$application>;
                let Some(world) = World::new() else { return };
                super::$claim(world);
            })*
        }
    };
}

/// The same of those that every driver makes good, and of further ones.
macro_rules! in_each_world {
    ($($world:ident: $application:ident, $home:ident, $($further:ident)*;)*) => {
        $(in_world! {
            $world: $application, $home,
            a_task_is_there_if_and_only_if_the_transaction_committed
            a_task_goes_with_the_transaction_within_that_it_is_in
            after_a_refusal_the_transaction_goes_on
            a_task_merges_into_the_one_that_holds_its_key
            a_queue_takes_no_more_than_its_capacity
            a_store_that_is_not_in_the_database_is_refused
            a_consumer_runs_the_task
            $($further)*
        })*
    };
}

in_each_world! {
    diesel_on_sqlite: Diesel, Sqlite,
        outside_of_a_transaction_it_is_refused
        after_sqlite_has_taken_back_the_transaction_it_is_refused;
    sqlx_on_sqlite: SqlxSqlite, Sqlite,
        outside_of_a_transaction_it_is_refused
        after_sqlite_has_taken_back_the_transaction_it_is_refused
        after_a_future_that_is_dropped_halfway_the_transaction_goes_on;
    sqlx_on_postgres: SqlxPostgres, Postgres,
        outside_of_a_transaction_it_is_refused
        after_a_future_that_is_dropped_halfway_the_transaction_goes_on;
    seaorm_on_sqlite: SeaOrm, Sqlite, after_sqlite_has_taken_back_the_transaction_it_is_refused;
    seaorm_on_postgres: SeaOrm, Postgres,;
}
