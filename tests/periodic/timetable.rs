//! What a timetable promises, on every store.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::queue::{Queue, remove_periodic};
use votive::txn::TransactionManager;
use votive::{CatchUp, Registry};

use crate::scene::{QUEUE, START, Scene, entry, seconds, until};

const HOUR: Duration = Duration::from_secs(3_600);

fn each_time_becomes_one_task_for_all_consumers(scene: &Scene) {
    let minutely = || entry("minutely", "every 1m").unique(false);
    let _both = [scene.keeps([minutely()]), scene.keeps([minutely()])];
    for minute in 1..=5 {
        scene.pass(60, "minutely", minute * 60);
    }
    assert_eq!(scene.times("minutely"), [60, 120, 180, 240, 300]);
}

/// Lets ten minutes go by without a consumer; the one that comes then fires for these times.
#[track_caller]
fn after_ten_minutes(scene: &Scene, catch_up: CatchUp, late: u64, expected: &[u64]) {
    let ticks = || entry("ticks", "every 1m").catch_up(catch_up);
    scene.keeps([ticks()]).stop();
    scene.clock.advance(Duration::from_secs(600 + late));
    let _running = scene.keeps([ticks()]);
    until(|| scene.dealt("ticks") == 600);
    assert_eq!(scene.times("ticks"), expected);
}

fn what_was_missed_is_made_up_for_once(scene: &Scene) {
    after_ten_minutes(scene, CatchUp::Once, 59, &[600]);
}

fn what_was_missed_is_left_out_if_wanted(scene: &Scene) {
    after_ten_minutes(scene, CatchUp::Skip, 1, &[600]);
}

fn all_that_was_missed_is_made_up_for_if_wanted(scene: &Scene) {
    let all: Vec<_> = (1..=10).map(|minute| minute * 60).collect();
    after_ten_minutes(scene, CatchUp::All, 1, &all);
}

fn the_last_that_were_missed_are_made_up_for_if_wanted(scene: &Scene) {
    after_ten_minutes(scene, CatchUp::Bounded(3), 1, &[480, 540, 600]);
}

/// Sets the capacity of the queue of the tests.
fn limit(scene: &Scene, capacity: Option<u64>) {
    let queue = Queue::new(Arc::clone(&scene.store), QUEUE).unwrap();
    let changed = queue.change_settings(&TransactionManager::new(), |settings| {
        settings.capacity = capacity;
    });
    changed.unwrap();
}

fn times_wait_for_room_in_a_full_queue(scene: &Scene) {
    limit(scene, Some(2));
    let _running = scene.keeps([
        entry("ticks", "every 1m").catch_up(CatchUp::All),
        entry("elsewhere", "every 1m")
            .queue("elsewhere")
            .unique(false),
    ]);
    scene.pass(60, "ticks", 60);
    scene.pass(60, "ticks", 120);
    scene.clock.advance(Duration::from_secs(300));
    until(|| scene.dealt("elsewhere") == 420);
    assert_eq!(
        (scene.dealt("ticks"), scene.times("ticks")),
        (120, vec![60, 120])
    );
    limit(scene, Some(4));
    scene.clock.advance(Duration::from_secs(2));
    until(|| scene.times("ticks") == [60, 120, 180, 240]);
    limit(scene, None);
    scene.clock.advance(Duration::from_secs(2));
    until(|| scene.times("ticks") == [60, 120, 180, 240, 300, 360, 420]);
}

fn what_was_missed_at_a_full_queue_is_made_up_for_once(scene: &Scene) {
    limit(scene, Some(0));
    let _running = scene.keeps([
        entry("ticks", "every 1m"),
        entry("elsewhere", "every 1m").queue("elsewhere"),
    ]);
    scene.clock.advance(Duration::from_secs(600));
    until(|| scene.dealt("elsewhere") == 600);
    assert_eq!(scene.times("ticks"), [0_u64; 0]);
    limit(scene, Some(1));
    scene.clock.advance(Duration::from_secs(2));
    until(|| scene.dealt("ticks") == 600);
    assert_eq!(scene.times("ticks"), [600]);
}

fn a_clock_that_is_put_forward_is_an_outage(scene: &Scene) {
    let _running = scene.keeps([entry("ticks", "every 1s").catch_up(CatchUp::Bounded(250))]);
    scene.pass(1_000, "ticks", 1_000);
    let last: Vec<_> = (751..=1_000).collect();
    assert_eq!(scene.times("ticks"), last);
}

fn a_clock_that_was_put_back_a_little_is_waited_for(scene: &Scene) {
    scene.set_dealt("ticks", "every 1m", START.saturating_add(HOUR));
    let _running = scene.keeps([entry("ticks", "every 1m"), entry("witness", "every 1m")]);
    scene.pass(120, "witness", 120);
    assert_eq!(
        (scene.times("ticks"), scene.dealt("ticks")),
        (vec![], 3_600)
    );
    scene.pass(3_600, "ticks", 3_720);
    assert_eq!(scene.times("ticks"), [3_720]);
}

fn a_clock_that_was_put_back_far_is_obeyed(scene: &Scene) {
    scene.set_dealt("ticks", "every 1m", START.saturating_add(HOUR * 24));
    let _running = scene.keeps([entry("ticks", "every 1m")]);
    until(|| scene.dealt("ticks") == 0);
    scene.pass(60, "ticks", 60);
    assert_eq!(scene.times("ticks"), [60]);
}

fn a_changed_schedule_makes_up_for_nothing(scene: &Scene) {
    scene
        .keeps([entry("report", "0 5 * * *").catch_up(CatchUp::All)])
        .stop();
    scene.clock.advance(HOUR * 48);
    let changed = || entry("report", "30 * * * * in Europe/Rome").catch_up(CatchUp::All);
    let _running = scene.keeps([changed()]);
    assert_eq!(scene.dealt("report"), 48 * 3_600);
    scene.pass(1_800, "report", 48 * 3_600 + 1_800);
    assert_eq!(scene.times("report"), [48 * 3_600 + 1_800]);
}

fn who_ran_before_a_schedule_was_changed_leaves_it_alone(scene: &Scene) {
    let _old = scene.keeps([entry("report", "every 1m"), entry("witness", "every 1m")]);
    let _new = scene.keeps([entry("report", "every 1h")]);
    for minute in 1..=3 {
        scene.pass(60, "witness", minute * 60);
    }
    assert!(scene.times("report").is_empty());
    scene.pass(3_420, "report", 3_600);
    assert_eq!(scene.times("report"), [3_600]);
}

fn a_removed_entry_rests_and_can_be_forgotten(scene: &Scene) {
    scene.keeps([entry("report", "every 1m")]).stop();
    let _running = scene.keeps([entry("witness", "every 1m")]);
    scene.pass(60, "witness", 60);
    assert_eq!((scene.times("report"), scene.dealt("report")), (vec![], 0));
    let manager = TransactionManager::new();
    assert!(remove_periodic(&scene.store, &manager, "report").unwrap());
    assert!(!remove_periodic(&scene.store, &manager, "report").unwrap());
    let _again = scene.keeps([entry("report", "every 1m")]);
    assert_eq!((scene.times("report"), scene.dealt("report")), (vec![], 60));
}

fn slow_tasks_do_not_pile_up_unless_wanted(scene: &Scene) {
    let _running = scene.keeps([
        entry("merging", "every 1m"),
        entry("piling", "every 1m").unique(false),
    ]);
    for minute in 1..=3 {
        scene.pass(60, "piling", minute * 60);
    }
    assert_eq!(scene.times("piling"), [60, 120, 180]);
    assert_eq!(scene.times("merging"), [60]);
}

fn a_task_knows_its_time_and_when_it_is_too_late(scene: &Scene) {
    let _running = scene.keeps([entry("report", "every 1m").expires_after(HOUR)]);
    scene.pass(75, "report", 60);
    let filter = votive::store::Filter::default();
    let listed = scene.store.scan(&filter, None, 10).unwrap().tasks;
    let options = &listed[0].record.options;
    assert_eq!(options.not_before.map(seconds), Some(60));
    assert_eq!(options.expires_at.map(seconds), Some(3_660));
    assert_eq!(options.about, ["periodic/report"]);
}

fn a_handler_is_told_the_time(scene: &Scene) {
    let (tells, told) = crossbeam_channel::unbounded();
    let mut registry = Registry::new();
    let handler = move |_: crate::scene::Sweep, context: &mut votive::Context<'_>| {
        tells.send(context.attempt().not_before.map(seconds))
    };
    registry.register(handler).unwrap();
    let store = std::sync::Arc::clone(&scene.store);
    let consumer = votive::Consumer::builder(store, registry).queue(crate::scene::QUEUE);
    let consumer = consumer.poll_interval(Duration::from_millis(5));
    let _running = consumer
        .periodic(entry("report", "every 1m"))
        .start()
        .unwrap();
    until(|| scene.find("report").is_some());
    scene.clock.advance(Duration::from_secs(77));
    assert_eq!(told.recv_timeout(crate::scene::LONG).unwrap(), Some(60));
}

fn who_keeps_no_timetable_fires_nothing(scene: &Scene) {
    let builder = scene.builder().periodic(entry("report", "every 1m"));
    let idle = builder.no_periodic().start().unwrap();
    let _running = scene.keeps([entry("witness", "every 1m")]);
    scene.pass(60, "witness", 60);
    assert_eq!(idle.stop().stats.fired, 0);
    assert!(scene.find("report").is_none());
}

#[test]
fn each_store_has_a_timetable_of_its_own() {
    let scenes = [stores::memory(), stores::memory()];
    let entry = || entry("report", "every 1m");
    let _both = [scenes[0].keeps([entry()]), scenes[1].keeps([entry()])];
    scenes[0].pass(60, "report", 60);
    assert_eq!(scenes[0].times("report"), [60]);
    scenes[1].pass(120, "report", 120);
    assert_eq!(scenes[1].times("report"), [120]);
    assert_eq!(scenes[0].dealt("report"), 60);
}

/// The stores, each with the clock of the scene.
mod stores {
    use std::sync::Arc;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use votive::store::file::FileStore;
    use votive::store::memory::MemoryStore;
    use votive::store::postgres::PostgresStore;
    use votive::store::redis::RedisStore;
    use votive::store::sqlite::SqliteStore;
    use votive::store::{file, postgres, redis, sqlite};
    use votive_testbed::{Postgres, Redis, or_skip};

    use crate::scene::Scene;

    static REDIS: LazyLock<Option<Redis>> =
        LazyLock::new(|| or_skip(Redis::start(votive_testbed::redis::Options::default())));
    static POSTGRES: LazyLock<Option<Postgres>> =
        LazyLock::new(|| or_skip(Postgres::start(votive_testbed::postgres::Options::default())));
    static SCENES: AtomicU32 = AtomicU32::new(0);

    fn name() -> String {
        format!("scene_{}", SCENES.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn memory() -> Scene {
        let open = |clock| Arc::new(MemoryStore::with_clock(Arc::new(clock))) as _;
        Scene::of(open, None)
    }

    pub(super) fn sqlite() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.db");
        let open = |clock| {
            let options = sqlite::Options::default().clock(clock);
            Arc::new(SqliteStore::open(path, options).unwrap()) as _
        };
        Scene::of(open, Some(Box::new(folder)))
    }

    pub(super) fn file() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let open = |clock| {
            let options = file::Options::default().clock(clock);
            Arc::new(FileStore::open(path, options).unwrap()) as _
        };
        Scene::of(open, Some(Box::new(folder)))
    }

    pub(super) fn redis() -> Option<Scene> {
        let server = REDIS.as_ref()?.address();
        let open = |clock| {
            let options = redis::Options::tcp(server.ip().to_string(), server.port());
            Arc::new(RedisStore::open(options.name(name()).clock(clock)).unwrap()) as _
        };
        Some(Scene::of(open, None))
    }

    pub(super) fn postgres() -> Option<Scene> {
        let url = POSTGRES.as_ref()?.url();
        let open = |clock| {
            let options = postgres::Options::default().schema(name()).clock(clock);
            Arc::new(PostgresStore::open(&url, options).unwrap()) as _
        };
        Some(Scene::of(open, None))
    }
}

/// Makes a test of each story for each store.
macro_rules! stories {
    ($stories:tt $($store:ident)*) => { $( stories! { @ $store $stories } )* };
    (@ $store:ident { $($story:ident)* }) => {
        mod $store {
            $(
                #[test]
                fn $story() {
                    let scene = super::stores::$store();
                    if let Some(scene) = Option::<super::Scene>::from(scene) {
                        super::$story(&scene);
                    }
                }
            )*
        }
    };
}

stories! {
    {
        each_time_becomes_one_task_for_all_consumers
        what_was_missed_is_made_up_for_once
        what_was_missed_is_left_out_if_wanted
        all_that_was_missed_is_made_up_for_if_wanted
        the_last_that_were_missed_are_made_up_for_if_wanted
        times_wait_for_room_in_a_full_queue
        what_was_missed_at_a_full_queue_is_made_up_for_once
        a_clock_that_is_put_forward_is_an_outage
        a_clock_that_was_put_back_a_little_is_waited_for
        a_clock_that_was_put_back_far_is_obeyed
        a_changed_schedule_makes_up_for_nothing
        who_ran_before_a_schedule_was_changed_leaves_it_alone
        a_removed_entry_rests_and_can_be_forgotten
        slow_tasks_do_not_pile_up_unless_wanted
        a_task_knows_its_time_and_when_it_is_too_late
        a_handler_is_told_the_time
        who_keeps_no_timetable_fires_nothing
    }
    memory sqlite file redis postgres
}
