//! Does to the library what a program says, tells the model, and compares.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use votive::id::{ConsumerId, Incarnation, TaskId, Token};
use votive::queue::{self, OperatorError, Queue, Settled};
use votive::register::Decision;
use votive::store::{Claim, ClaimRequest, Filter, Presence, Store, Want};
use votive::task::State;
use votive::time::{ManualClock, Timestamp};
use votive::txn::TransactionManager;

use crate::database::{Database, Ends};
use crate::model::Model;
use crate::program::{KINDS, Operation, QUEUES, START, Saying, WORKERS};
use crate::shelf::{Said, Shown};
use crate::stores::Home;

const LEASE: Duration = Duration::from_secs(60);
/// More tasks than a program can enqueue.
const TASKS_MAX: usize = 10_000;

/// A consumer, alive in both stores.
struct Worker {
    id: ConsumerId,
    _presences: Vec<Presence>,
}

pub(crate) struct World {
    home: Home,
    clock: ManualClock,
    pub(crate) stores: Vec<Arc<dyn Store>>,
    pub(crate) manager: TransactionManager,
    pub(crate) database: Arc<Database>,
    workers: Vec<Worker>,
    /// Every claim that was given out, be it lost by now or not.
    pub(crate) claims: Vec<(usize, Claim)>,
    tokens: BTreeSet<Token>,
    /// Every task that was enqueued, be it visible or not.
    pub(crate) tasks: Vec<(usize, TaskId)>,
    pub(crate) row_count: u64,
    pub(crate) model: Model,
}

impl World {
    pub(crate) fn new(home: Home) -> Self {
        let clock = ManualClock::new(START);
        let mut world = Self {
            stores: home.open(&clock),
            home,
            clock,
            manager: TransactionManager::new(),
            database: Arc::default(),
            workers: Vec::new(),
            claims: Vec::new(),
            tokens: BTreeSet::new(),
            tasks: Vec::new(),
            row_count: 0,
            model: Model::default(),
        };
        world.start();
        world
    }

    /// Does what a process does when it starts.
    fn start(&mut self) {
        let database = Arc::clone(&self.database);
        self.manager.registers().insert(database);
        self.workers = (0..WORKERS).map(|_| self.worker()).collect();
    }

    fn worker(&self) -> Worker {
        let id = ConsumerId {
            incarnation: Incarnation::random(),
            name: "worker".to_owned(),
        };
        let stores = self.stores.iter();
        let presences = stores.map(|store| store.attend(id.incarnation, LEASE).unwrap());
        Worker {
            _presences: presences.collect(),
            id,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.stores[0].now().unwrap()
    }

    /// Runs a program, then recovers everything, comparing after each operation.
    pub(crate) fn run(&mut self, program: &[Operation]) -> TestCaseResult {
        let end = [
            Operation::Reconnect,
            Operation::Recover(0),
            Operation::Recover(1),
        ];
        for operation in program.iter().chain(&end) {
            self.perform(operation)?;
            self.compare(operation)?;
        }
        for store in &self.stores {
            prop_assert!(store.in_doubt(None, 1).unwrap().is_empty());
            prop_assert_eq!(store.check().unwrap(), Vec::<String>::new());
        }
        Ok(())
    }

    fn perform(&mut self, operation: &Operation) -> TestCaseResult {
        match operation {
            Operation::Transact(steps, end) => self.transact(steps, *end),
            Operation::Claim {
                worker,
                store,
                queue,
                count,
            } => self.claim(*worker, *store, (QUEUES[*queue], *count)),
            Operation::Die(worker) => {
                self.workers[*worker] = self.worker();
                Ok(())
            }
            Operation::Advance(duration) => {
                self.clock.advance(*duration);
                Ok(())
            }
            Operation::Recover(store) => self.recover(*store),
            Operation::Operate {
                store,
                number,
                want,
            } => self.operate(*store, *number, *want),
            Operation::Say {
                store,
                queue,
                saying,
            } => {
                self.say(*store, *queue, *saying);
                Ok(())
            }
            Operation::Reconnect => {
                self.database.is_away.store(false, Ordering::Relaxed);
                self.model.is_away = false;
                Ok(())
            }
            Operation::Crash => {
                self.crash();
                Ok(())
            }
        }
    }

    /// Has an operator say something of a queue, for all processes.
    fn say(&mut self, store: usize, queue: usize, saying: Saying) {
        let mut said = self.model.shelves[store].said[queue];
        match saying {
            Saying::Pause => said.is_paused = true,
            Saying::Resume => said.is_paused = false,
            Saying::Capacity(capacity) => said.capacity = capacity,
            Saying::Top(has_top) => said.has_top = has_top,
        }
        let queue_of = Queue::new(Arc::clone(&self.stores[store]), QUEUES[queue]).unwrap();
        let changed = match saying {
            Saying::Pause => queue_of.pause(&self.manager, "an operator says so"),
            Saying::Resume => queue_of.resume(&self.manager),
            Saying::Capacity(_) | Saying::Top(_) => {
                queue_of.change_settings(&self.manager, |settings| {
                    settings.capacity = said.capacity;
                    let top = said.has_top.then(|| KINDS[0].to_owned());
                    settings.top_kinds = top.into_iter().collect();
                })
            }
        };
        changed.unwrap();
        let now = self.now();
        self.model.shelves[store].say(queue, said, now);
    }

    /// What the store knows that was said of its queues.
    fn said(&self, store: usize) -> [Said; QUEUES.len()] {
        QUEUES.map(|queue| {
            let queue = Queue::new(Arc::clone(&self.stores[store]), queue).unwrap();
            let settings = queue.settings().unwrap();
            Said {
                is_paused: settings.paused.is_some(),
                capacity: settings.capacity,
                has_top: settings.top_kinds.contains(KINDS[0]),
            }
        })
    }

    /// Claims as a consumer does: not from a queue that is paused.
    fn claim(&mut self, worker: usize, store: usize, want: (&str, usize)) -> TestCaseResult {
        let now = self.now();
        let queue = Queue::new(Arc::clone(&self.stores[store]), want.0).unwrap();
        if queue.settings().unwrap().paused.is_some() {
            return Ok(());
        }
        let living: Vec<_> = self.workers.iter().map(|w| w.id.incarnation).collect();
        let consumer = self.workers[worker].id.clone();
        let request = ClaimRequest {
            consumer: consumer.clone(),
            wants: vec![Want {
                queue: want.0.to_owned(),
                count: want.1,
            }],
            lease: LEASE,
        };
        let claims = self.stores[store].claim(&request, now).unwrap();
        let given = claims.iter().map(|c| (c.record.clone(), c.arrival));
        let expected = self.model.shelves[store].claim(want, &living, now);
        prop_assert_eq!(
            given.collect::<Vec<_>>(),
            expected,
            "who is claimed, in order"
        );
        for claim in claims {
            prop_assert!(
                self.tokens.insert(claim.token),
                "a token was given out twice"
            );
            self.model.shelves[store].hold(claim.record.id, &consumer, claim.token);
            self.claims.push((store, claim));
        }
        Ok(())
    }

    fn recover(&mut self, store: usize) -> TestCaseResult {
        let now = self.now();
        let recovered =
            queue::recover_older_than(&self.stores[store], &self.manager, Duration::ZERO).unwrap();
        self.model.recover(store, now);
        let in_doubt = self.model.shelves[store].staged().len();
        prop_assert_eq!((recovered.in_doubt, recovered.unknown), (in_doubt, 0));
        Ok(())
    }

    fn operate(&mut self, store: usize, number: usize, want: Decision) -> TestCaseResult {
        let staged = self.model.shelves[store].staged();
        let Some(txn) = pick(&staged, number) else {
            return Ok(());
        };
        let (now, was_away) = (self.now(), self.model.is_away);
        let wish = queue::Wish {
            decision: want,
            reason: "a program says so",
            force: true,
        };
        let told = match queue::settle(&self.stores[store], &self.manager, txn, wish) {
            Ok(settled) => {
                prop_assert_eq!(settled == Settled::ByForce, was_away);
                want
            }
            Err(OperatorError::Contradicted { decision, .. }) => decision,
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        prop_assert_eq!(told, self.model.operate(store, (txn, want), now));
        Ok(())
    }

    fn crash(&mut self) {
        let outlives = self.home.outlives();
        let (stores, workers) = (&mut self.stores, &mut self.workers);
        let manager = &mut self.manager;
        self.home.crash(|| {
            *manager = TransactionManager::new();
            workers.clear();
            stores.clear();
        });
        self.database.forgive();
        self.stores = self.home.open(&self.clock);
        self.model.crash(outlives);
        if !outlives {
            self.claims.clear();
            self.tasks.clear();
        }
        self.start();
    }

    fn compare(&self, operation: &Operation) -> TestCaseResult {
        for store in 0..2 {
            self.compare_store(store, operation)?;
        }
        let rows = self.database.rows.lock();
        prop_assert_eq!(&*rows, &self.model.rows, "the rows after {:?}", operation);
        prop_assert_eq!(self.database.misled(), Vec::<Ends>::new());
        Ok(())
    }

    fn compare_store(&self, number: usize, operation: &Operation) -> TestCaseResult {
        let (store, ought) = (&self.stores[number], &self.model.shelves[number]);
        prop_assert_eq!(self.said(number), ought.said, "said after {:?}", operation);
        let page = store.scan(&Filter::default(), None, TASKS_MAX).unwrap();
        let shown = page.tasks.into_iter().map(|listed| Shown {
            record: listed.record,
            holder: listed.holder,
        });
        let (shown, expected) = (by_id(shown), by_id(ought.shown()));
        prop_assert_eq!(&shown, &expected, "store {} after {:?}", number, operation);
        let in_doubt = store.in_doubt(None, TASKS_MAX).unwrap();
        let in_doubt: Vec<_> = in_doubt.iter().map(|in_doubt| in_doubt.txn).collect();
        prop_assert_eq!(in_doubt, ought.staged(), "in doubt after {:?}", operation);
        prop_assert_eq!(counts_in(&**store), counts_of(&expected));
        for (merged, into) in ought.merged() {
            let found = store.get(merged).unwrap().map(|listed| listed.record.id);
            prop_assert_eq!(found, Some(into), "where {} went", merged);
        }
        Ok(())
    }
}

/// Those of one batch may be listed in the order of the line.
fn by_id(shown: impl IntoIterator<Item = Shown>) -> Vec<Shown> {
    let mut shown: Vec<_> = shown.into_iter().collect();
    shown.sort_by_key(|shown| shown.record.id);
    shown
}

type Counts = BTreeMap<(String, State), u64>;

/// What the store counts.
fn counts_in(store: &dyn Store) -> Counts {
    let stats = store.stats().unwrap();
    let mut counts = Counts::new();
    for queue in stats.queues {
        for (state, count) in queue.counts.into_iter().filter(|(_, count)| *count > 0) {
            counts.insert((queue.queue.clone(), state), count);
        }
    }
    counts
}

fn counts_of(shown: &[Shown]) -> Counts {
    let mut counts = Counts::new();
    for Shown { record, .. } in shown {
        let key = (record.queue.to_string(), record.state);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// What a number names, counted from the newest.
pub(crate) fn pick<T: Clone>(from: &[T], number: usize) -> Option<T> {
    let number = number.checked_rem(from.len())?;
    from.iter().rev().nth(number).cloned()
}
