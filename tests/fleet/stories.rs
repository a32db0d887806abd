//! What a fleet promises, on every store that it can share.
#![cfg(test)]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use votive::id::TaskId;
use votive::queue::{self, Queue};
use votive::store::{Batch, Change, Store};
use votive::task::{Counts, State};
use votive::txn::TransactionManager;

use crate::child::{LONG, Member, Step, open};
use crate::homes::{self, Home};

/// What no write takes as long as if nobody is in its way.
const SHORT: Duration = Duration::from_secs(1);

/// A store, and the tasks that were enqueued for the fleet.
struct Fleet {
    home: Home,
    store: Arc<dyn Store>,
    tasks: Vec<TaskId>,
}

impl Fleet {
    fn at(home: Home) -> Self {
        Self {
            store: open(&home.url),
            home,
            tasks: Vec::new(),
        }
    }

    fn enqueue(&mut self, count: u32, millis: impl Into<Option<u64>>) {
        let millis = millis.into();
        let queue = Queue::new(Arc::clone(&self.store), "default").unwrap();
        let mut txn = TransactionManager::new().begin().unwrap();
        for number in 0..count {
            let task = queue.enqueue(&mut txn, &Step { number, millis });
            self.tasks.push(task.unwrap());
        }
        txn.commit().unwrap();
    }

    /// Suspends a member at an instant at which it does not write: otherwise it would hold everybody up as long as it
    /// is suspended.
    fn suspend(&self, member: &Member) {
        loop {
            member.signal("STOP");
            let (said, says) = bounded(1);
            let is_writable = thread::scope(|threads| {
                let store = &self.store;
                threads.spawn(move || said.send(is_writable(store)));
                let is_writable = says.recv_timeout(SHORT);
                if is_writable != Ok(true) {
                    member.signal("CONT");
                }
                is_writable == Ok(true)
            });
            if is_writable {
                return;
            }
        }
    }

    fn member(&self, name: &str) -> Member {
        Member::start(&self.home.url, name)
    }

    /// Waits until all tasks are done, and returns their counts.
    fn all_done(&self) -> Vec<Counts> {
        let record = |task: &TaskId| self.store.get(*task).unwrap().unwrap().record;
        until(|| {
            self.tasks
                .iter()
                .all(|task| record(task).state == State::Done)
        });
        self.tasks.iter().map(|task| record(task).counts).collect()
    }
}

/// Writes to a store, and returns whether that was possible.
fn is_writable(store: &Arc<dyn Store>) -> bool {
    let nobody = TransactionManager::new();
    let mark = Change::Mark {
        key: "probe".to_owned(),
        expect: None,
        value: None,
    };
    queue::apply(store, &nobody, &Batch::new(vec![mark])).is_ok()
}

fn until(done: impl Fn() -> bool) {
    let pause = std::time::Duration::from_millis(20);
    for _ in 0..LONG.as_millis() / pause.as_millis() {
        if done() {
            return;
        }
        std::thread::park_timeout(pause);
    }
    panic!("it takes too long");
}

fn tasks_of_a_killed_consumer_run_elsewhere_and_burn_no_attempt(home: Home) {
    let mut fleet = Fleet::at(home);
    let mut dying = Member::start_hanging(&fleet.home.url, "dying");
    dying.says("is");
    fleet.enqueue(4, 0);
    for _ in 0..4 {
        dying.says("begins");
    }
    let mut heir = fleet.member("heir");
    heir.says("is");
    dying.kill();
    for counts in fleet.all_done() {
        assert_eq!((counts.attempts, counts.reclaims), (0, 1));
    }
    heir.stop();
}

fn live_consumers_have_different_names(home: Home) {
    let fleet = Fleet::at(home);
    let first = fleet.member("web");
    assert_eq!(first.says("is"), "web");
    let second = fleet.member("web");
    assert_eq!(second.says("is"), "web-2");
}

fn the_dead_give_their_names_back(home: Home) {
    let fleet = Fleet::at(home);
    let mut first = fleet.member("web");
    assert_eq!(first.says("is"), "web");
    first.kill();
    assert_eq!(fleet.member("web").says("is"), "web");
}

fn consumers_share_the_work(home: Home) {
    let mut fleet = Fleet::at(home);
    let members = ["one", "other"].map(|name| fleet.member(name));
    for member in &members {
        member.says("is");
    }
    fleet.enqueue(80, 20);
    fleet.all_done();
    for mut member in members {
        member.stop();
        let ran = member.count("ran");
        assert!(ran >= 20, "{ran} of 80");
    }
}

/// Where the kernel vouches for a process there is no lease that could run out under it.
fn a_suspended_consumer_keeps_its_tasks(home: Home) {
    let mut fleet = Fleet::at(home);
    let mut suspended = fleet.member("suspended");
    fleet.enqueue(1, None);
    suspended.says("begins");
    fleet.suspend(&suspended);
    let mut other = fleet.member("other");
    fleet.enqueue(1, 0);
    other.says("ran");
    let first = fleet.store.get(fleet.tasks[0]).unwrap().unwrap();
    assert_eq!(first.record.state, State::Claimed);
    suspended.signal("CONT");
    suspended.go_on();
    assert!(fleet.all_done().iter().all(|counts| counts.reclaims == 0));
    suspended.stop();
    other.stop();
}

/// Where leases are timed a consumer that is not heard of loses its tasks, and cannot settle them any more.
fn a_suspended_consumer_is_voted_down_when_it_comes_back(home: Home) {
    let mut fleet = Fleet::at(home);
    let mut zombie = fleet.member("zombie");
    fleet.enqueue(1, 100);
    zombie.says("begins");
    zombie.signal("STOP");
    let mut heir = fleet.member("heir");
    heir.says("ran");
    let counts = fleet.all_done()[0];
    assert_eq!((counts.attempts, counts.reclaims), (0, 1));
    zombie.signal("CONT");
    zombie.says("ran");
    zombie.close();
    assert_eq!(zombie.says("lost"), "1");
    assert_eq!(fleet.all_done()[0], counts);
    zombie.stop();
    heir.stop();
}

/// Makes a test of each story for each home.
macro_rules! stories {
    ($($home:ident { $($story:ident)* })*) => {$(
        mod $home {
            use super::homes;

            $(
                #[test]
                fn $story() {
                    let Some(home) = Option::<homes::Home>::from(homes::$home()) else {
                        return;
                    };
                    super::$story(home);
                }
            )*
        }
    )*};
}

stories! {
    sqlite {
        tasks_of_a_killed_consumer_run_elsewhere_and_burn_no_attempt
        live_consumers_have_different_names
        the_dead_give_their_names_back
        consumers_share_the_work
        a_suspended_consumer_keeps_its_tasks
    }
    file {
        tasks_of_a_killed_consumer_run_elsewhere_and_burn_no_attempt
        live_consumers_have_different_names
        the_dead_give_their_names_back
        consumers_share_the_work
        a_suspended_consumer_keeps_its_tasks
    }
    redis {
        tasks_of_a_killed_consumer_run_elsewhere_and_burn_no_attempt
        live_consumers_have_different_names
        consumers_share_the_work
        a_suspended_consumer_is_voted_down_when_it_comes_back
    }
    postgres {
        tasks_of_a_killed_consumer_run_elsewhere_and_burn_no_attempt
        live_consumers_have_different_names
        consumers_share_the_work
        a_suspended_consumer_is_voted_down_when_it_comes_back
    }
}
