//! Runs a program of operations against two faulty stores, and tells the model what it saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation, TaskId, Token};
use votive::queue::{self, Queue};
use votive::store::{
    Change, Claim, ClaimRequest, Dispatch, Filter, Inspect, Presence, Settlement, Stage, Store,
    Verdict, Want,
};
use votive::task::{Counts, Options, Payload, PayloadLimits};
use votive::time::{ManualClock, Timestamp};
use votive::txn::{CommitError, Transaction, TransactionManager, Work};
use votive_fuzz::faulty::{Fault, FaultyStore, Plan};

use crate::model::{Draft, Fate, Model};

const QUEUE: &str = "default";
const LEASE: Duration = Duration::from_secs(60);
/// More tasks than a program can enqueue.
const TASKS_MAX: usize = 100_000;
/// How often recovery may need to be asked again once nothing fails any more.
const RECOVERIES_MAX: usize = 8;

/// How the part of a program ends that is inside a transaction or a savepoint.
#[derive(Clone, Copy)]
enum End {
    Release,
    Rollback,
    Commit,
    Abort,
    Drop,
}

/// A claim that this process has and has not settled yet.
struct Held {
    store: usize,
    task: TaskId,
    token: Token,
}

pub(crate) struct Machine<'a> {
    program: std::slice::Iter<'a, u8>,
    stores: [Arc<FaultyStore>; 2],
    manager: TransactionManager,
    consumer: Option<(ConsumerId, Vec<Presence>)>,
    held: Vec<Held>,
    model: Model,
    steps: Vec<u8>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(program: &'a [u8]) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(
            1_700_000_000_000_000,
        )));
        let store = || Arc::new(FaultyStore::new(Arc::clone(&clock) as _));
        Self {
            program: program.iter(),
            stores: [store(), store()],
            manager: TransactionManager::new(),
            consumer: None,
            held: Vec::new(),
            model: Model::default(),
            steps: Vec::new(),
        }
    }

    /// The next operation, 0 to 15, and its parameter, 0 to 15.
    fn next(&mut self) -> Option<(u8, u8)> {
        self.program.next().map(|byte| (byte & 15, byte >> 4))
    }

    fn store(&self, number: usize) -> Arc<dyn Store> {
        Arc::clone(&self.stores[number]) as _
    }

    pub(crate) fn run(&mut self) {
        while let Some((operation, parameter)) = self.next() {
            match operation {
                0..=5 => self.transaction(),
                6 | 7 => self.claim(usize::from(parameter % 2), 1 + usize::from(parameter / 4)),
                8 => drop(self.manager.settle_undecided()),
                9 => self.recover(usize::from(parameter % 2)),
                10 => self.crash(),
                11 => self.consumer = None,
                12 => self.stores.iter().for_each(|store| store.heal()),
                _ => self.fault(parameter),
            }
        }
    }

    /// Plans a fault. The parameter's bits: one for the store, two for the kind, one for what follows.
    fn fault(&mut self, parameter: u8) {
        let store = &self.stores[usize::from(parameter & 1)];
        let fault = match parameter >> 1 & 3 {
            0 => Fault::Refused,
            1 => Fault::RequestLost,
            2 => Fault::AnswerLost,
            _ => return store.take_down(),
        };
        let calls = self.program.next().map_or(0, |byte| byte % 24);
        let stays_down = parameter & 8 != 0;
        store.plan(Plan {
            calls,
            fault,
            stays_down,
        });
    }

    fn transaction(&mut self) {
        let mut draft = Draft::default();
        let mut transaction = self.manager.begin().expect("this process has not forked");
        let end = loop {
            match self.work(&mut transaction, &mut draft) {
                End::Release | End::Rollback => {}
                end => break end,
            }
        };
        let settled = draft.settled.clone();
        let fate = end_as(end, transaction);
        self.steps.push(fate as u8);
        self.model.end(draft, fate);
        if fate != Fate::Committed {
            let held = settled
                .into_iter()
                .map(|(store, task, token)| Held { store, task, token });
            self.held.extend(held);
        }
    }

    /// What happens inside a transaction or a savepoint.
    fn work(&mut self, work: &mut Work, draft: &mut Draft) -> End {
        while let Some((operation, parameter)) = self.next() {
            match operation {
                0..=3 => self.enqueue(work, draft, usize::from(parameter % 2)),
                4 | 5 => self.settle(work, draft, usize::from(parameter)),
                6 => {
                    if let Some(end) = self.savepoint(work, draft) {
                        return end;
                    }
                }
                7 => return End::Release,
                8 => return End::Rollback,
                9 if parameter == 0 => {
                    work.doom();
                    draft.is_doomed = true;
                }
                10 if parameter == 0 => return End::Abort,
                11 if parameter == 0 => return End::Drop,
                12 => self.fault(parameter),
                13..=15 => return End::Commit,
                _ => {}
            }
        }
        End::Drop
    }

    /// Works inside a savepoint; returns how the transaction ends if it ended in there.
    fn savepoint(&mut self, work: &mut Work, draft: &mut Draft) -> Option<End> {
        let mark = draft.mark();
        let mut savepoint = work.savepoint().expect("queues have savepoints");
        match self.work(&mut savepoint, draft) {
            End::Release => None,
            End::Rollback => {
                savepoint.rollback().expect("queues roll back");
                let undone = draft.settled[mark.1..].iter();
                self.held
                    .extend(undone.map(|&(store, task, token)| Held { store, task, token }));
                draft.rollback(mark);
                None
            }
            end => Some(end),
        }
    }

    fn enqueue(&mut self, work: &mut Work, draft: &mut Draft, store: usize) {
        let queue = Queue::new(self.store(store), QUEUE).expect("a good name");
        let payload = Payload::from_json("null", 0, PayloadLimits::default()).expect("JSON");
        if let Ok(task) = queue.enqueue_payload(work, "kind", payload, Options::default()) {
            draft.inserted.push((store, task));
        }
    }

    fn settle(&mut self, work: &mut Work, draft: &mut Draft, choice: usize) {
        if self.held.is_empty() {
            return;
        }
        let Held { store, task, token } = self.held.swap_remove(choice % self.held.len());
        let verdict = Verdict::Done;
        let settlement = Settlement {
            task,
            token,
            verdict,
            counts: Counts::default(),
            account: None,
        };
        queue::change(&self.store(store), work, Change::Settle(settlement)).expect("it can join");
        draft.settled.push((store, task, token));
    }

    fn claim(&mut self, store: usize, count: usize) {
        let Some(consumer) = self.attend() else {
            return;
        };
        let wants = vec![Want {
            queue: QUEUE.to_owned(),
            count,
        }];
        let request = ClaimRequest {
            consumer,
            wants,
            lease: LEASE,
        };
        let claims = self.stores[store]
            .now()
            .and_then(|now| self.stores[store].claim(&request, now));
        for Claim { record, token, .. } in claims.unwrap_or_default() {
            self.held.retain(|held| held.task != record.id);
            self.model.claim(store, record.id, token);
            self.held.push(Held {
                store,
                task: record.id,
                token,
            });
        }
    }

    /// Lets the consumer be alive in both stores.
    fn attend(&mut self) -> Option<ConsumerId> {
        if self.consumer.is_none() {
            let id = ConsumerId {
                incarnation: Incarnation::random(),
                name: "fuzz".to_owned(),
            };
            let attend = |store: &Arc<FaultyStore>| store.attend(id.incarnation, LEASE);
            let presences = self
                .stores
                .iter()
                .map(attend)
                .collect::<Result<Vec<_>, _>>()
                .ok()?;
            self.consumer = Some((id, presences));
        }
        self.consumer.as_ref().map(|(id, _)| id.clone())
    }

    fn recover(&mut self, store: usize) {
        let done = queue::recover_older_than(&self.store(store), &self.manager, Duration::ZERO);
        self.steps.push(16 + u8::from(done.is_ok()));
    }

    /// The process dies and starts again: what it remembered is gone, what the stores hold is not.
    fn crash(&mut self) {
        self.manager = TransactionManager::new();
        self.consumer = None;
    }

    /// Lets everything be decided, and compares.
    pub(crate) fn recover_and_compare(&mut self) {
        self.stores.iter().for_each(|store| store.heal());
        for store in (0..RECOVERIES_MAX).flat_map(|_| [0, 1]) {
            self.recover(store);
        }
        let visible = [0, 1].map(|store| self.visible(store));
        self.model.compare(&visible);
        assert_eq!(
            self.manager.settle_undecided(),
            0,
            "the manager still has undecided transactions"
        );
    }

    /// The visible tasks of a store in which nothing is wrong or in doubt.
    fn visible(&self, store: usize) -> BTreeSet<TaskId> {
        let store = &self.stores[store];
        assert_eq!(
            store.in_doubt(None, 10).expect("it was healed"),
            [],
            "still in doubt"
        );
        assert_eq!(store.check().expect("it was healed"), Vec::<String>::new());
        let page = store
            .scan(&Filter::default(), None, TASKS_MAX)
            .expect("it was healed");
        let ids: BTreeSet<_> = page.tasks.iter().map(|listed| listed.record.id).collect();
        assert_eq!(ids.len(), page.tasks.len(), "a task is listed twice");
        ids
    }

    /// What happened, roughly: for telling programs apart that do different things.
    pub(crate) fn shown(&self) -> (Vec<u8>, Vec<Fate>) {
        (
            self.steps.iter().copied().take(12).collect(),
            self.model.fates(),
        )
    }
}

fn end_as(end: End, transaction: Transaction) -> Fate {
    match end {
        End::Commit => match transaction.commit() {
            Ok(_) => Fate::Committed,
            Err(CommitError::Undecided { .. }) => Fate::Unknown,
            Err(_) => Fate::Aborted,
        },
        End::Abort => {
            let outcome = transaction.abort();
            outcome.map_or(Fate::Aborted, |()| Fate::Aborted)
        }
        _ => {
            drop(transaction);
            Fate::Aborted
        }
    }
}
