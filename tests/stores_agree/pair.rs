//! Two stores to which the same is done.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use votive::id::{ConsumerId, Incarnation, ResourceId, TaskId, TxnId};
use votive::store::memory::MemoryStore;
use votive::store::{
    Amendment, Applied, Arrival, Batch, Change, Claim, ClaimRequest, Filter, Kind, Presence,
    Published, Settlement, Store, Verdict, Want,
};
use votive::task::{
    Account, Counts, DeadReason, Failure, Format, Name, Options, Payload, Record, State, StateSet,
};
use votive::time::{ManualClock, Timestamp};

use crate::steps::{Edit, START, Step, WORKERS};

const QUEUES: [&str; 2] = ["one", "two"];
/// Longer than any program: who dies, dies by a step.
const LEASE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A store and what was given out by it.
struct Side {
    store: Arc<dyn Store>,
    workers: Vec<(ConsumerId, Presence)>,
    claims: Vec<Claim>,
}

/// What one step came to, without what differs from store to store.
#[derive(Debug, PartialEq)]
enum Answer {
    Applied(Result<Applied, Kind>),
    Staged(Result<(), Kind>),
    Published(Option<Published>),
    Claimed(Vec<(Record, Arrival)>),
    Nothing,
}

impl Side {
    fn new(store: Arc<dyn Store>, incarnations: &[Incarnation], producer: Incarnation) -> Self {
        store.enroll(producer, START).unwrap();
        let mut side = Self {
            store,
            workers: Vec::new(),
            claims: Vec::new(),
        };
        for incarnation in incarnations {
            let worker = side.worker(*incarnation);
            side.workers.push(worker);
        }
        side
    }

    fn worker(&self, incarnation: Incarnation) -> (ConsumerId, Presence) {
        let presence = self.store.attend(incarnation, LEASE);
        let name = "worker".to_owned();
        (ConsumerId { incarnation, name }, presence.unwrap())
    }

    fn claim(&mut self, worker: usize, queue: usize, count: usize, now: Timestamp) -> Answer {
        let request = ClaimRequest {
            consumer: self.workers[worker].0.clone(),
            wants: vec![Want {
                queue: QUEUES[queue].to_owned(),
                count,
            }],
            lease: LEASE,
        };
        let claims = self.store.claim(&request, now).unwrap();
        let answer = claims
            .iter()
            .map(|claim| (claim.record.clone(), claim.arrival));
        let answer = Answer::Claimed(answer.collect());
        self.claims.extend(claims);
        answer
    }

    /// Takes so many of the latest claims, as tasks that are done.
    fn finish(&mut self, count: usize) -> Batch {
        let stays = self.claims.len().saturating_sub(count);
        self.claims
            .drain(stays..)
            .map(|claim| done(&claim))
            .collect()
    }

    /// The tasks, with those that are not ended told apart only by their holders and records.
    fn tasks(&self) -> Vec<(TaskId, Name, Option<State>, Option<String>)> {
        let page = self.store.scan(&Filter::default(), None, 1_000).unwrap();
        let tasks = page.tasks.into_iter().map(|listed| {
            let record = listed.record;
            let ended = Some(record.state).filter(|state| state.is_ended());
            (record.id, record.queue, ended, record.progress)
        });
        // Those of one transaction come in whatever order the store likes.
        let mut tasks: Vec<_> = tasks.collect();
        tasks.sort_by_key(|(id, ..)| *id);
        tasks
    }
}

/// Two stores to which the same is done.
struct Pair {
    clock: ManualClock,
    producer: Incarnation,
    sequence: u64,
    register: ResourceId,
    tasks: Vec<TaskId>,
    staged: Vec<TxnId>,
    sides: [Side; 2],
}

impl Pair {
    /// The memory store, and the one that `open` opens.
    fn new(open: impl FnOnce(&ManualClock) -> Arc<dyn Store>) -> Self {
        let clock = ManualClock::new(START);
        let memory = MemoryStore::with_clock(Arc::new(clock.clone()));
        let stores: [Arc<dyn Store>; 2] = [Arc::new(memory), open(&clock)];
        let workers = [(); WORKERS].map(|()| Incarnation::random());
        let producer = Incarnation::random();
        Self {
            sides: stores.map(|store| Side::new(store, &workers, producer)),
            clock,
            producer,
            sequence: 0,
            register: ResourceId::random(),
            tasks: Vec::new(),
            staged: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.sides[0].store.now().unwrap()
    }

    fn txn(&mut self) -> TxnId {
        self.sequence += 1;
        TxnId {
            incarnation: self.producer,
            sequence: self.sequence,
        }
    }

    /// Does one step to both and returns what each answered.
    fn take(&mut self, step: &Step) -> [Answer; 2] {
        let now = self.now();
        match step {
            Step::Apply(edits) => {
                let (txn, batches) = (self.txn(), self.batches(edits));
                self.both(|index, side| {
                    let applied = side.store.apply(txn, &batches[index], &[], now);
                    Answer::Applied(applied.map_err(|error| error.kind))
                })
            }
            Step::Stage(edits) => {
                let (txn, batches, register) = (self.txn(), self.batches(edits), self.register);
                self.staged.push(txn);
                self.both(|index, side| {
                    let staged = side.store.stage(txn, register, &batches[index], now);
                    Answer::Staged(staged.map_err(|error| error.kind))
                })
            }
            Step::Publish(number) => {
                let txn = pick(&self.staged, *number);
                self.both(|_, side| {
                    Answer::Published(txn.map(|txn| side.store.publish(txn, now).unwrap()))
                })
            }
            Step::Discard(number) => {
                let txn = pick(&self.staged, *number);
                self.both(|_, side| {
                    if let Some(txn) = txn {
                        side.store.discard(txn).unwrap();
                    }
                    Answer::Nothing
                })
            }
            Step::Claim {
                worker,
                queue,
                count,
            } => self.both(|_, side| side.claim(*worker, *queue, *count, now)),
            Step::Finish(count) => {
                let txn = self.txn();
                self.both(|_, side| {
                    let batch = side.finish(*count);
                    let applied = side.store.apply(txn, &batch, &[], now);
                    Answer::Applied(applied.map_err(|error| error.kind))
                })
            }
            Step::Die(worker) => {
                let incarnation = Incarnation::random();
                self.both(|_, side| {
                    side.workers[*worker] = side.worker(incarnation);
                    Answer::Nothing
                })
            }
            Step::Advance(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                [Answer::Nothing, Answer::Nothing]
            }
        }
    }

    fn both(&mut self, mut act: impl FnMut(usize, &mut Side) -> Answer) -> [Answer; 2] {
        let [first, second] = &mut self.sides;
        [act(0, first), act(1, second)]
    }

    /// The same batch for each side, except for the tokens of the claims that it settles.
    fn batches(&mut self, edits: &[Edit]) -> [Batch; 2] {
        let mut batches = [Batch::default(), Batch::default()];
        for edit in edits {
            let Some(changes) = self.changes(edit) else {
                continue;
            };
            for (batch, change) in batches.iter_mut().zip(changes) {
                batch.changes.push(change);
            }
        }
        batches
    }

    fn changes(&mut self, edit: &Edit) -> Option<[Change; 2]> {
        let now = self.now();
        let same = |change: Change| Some([change.clone(), change]);
        match edit {
            Edit::Insert {
                queue,
                options,
                after,
            } => {
                let waits_for = after.and_then(|after| pick(&self.tasks, after));
                let id = TaskId::new(now);
                self.tasks.push(id);
                same(Change::Insert(Box::new(record(
                    id, *queue, options, waits_for, now,
                ))))
            }
            Edit::Settle { claim, verdict } => {
                let verdict = self::verdict(*verdict, now);
                let claims = self.sides.each_ref().map(|side| pick(&side.claims, *claim));
                let [Some(first), Some(second)] = claims else {
                    return None;
                };
                Some([first, second].map(|claim| settle(&claim, verdict)))
            }
            Edit::Amend { task, amendment } => same(Change::Amend {
                task: pick(&self.tasks, *task)?,
                expect: StateSet::ALL,
                amendment: self::amendment(*amendment, now),
            }),
            Edit::Arrive { task, done } => same(Change::Arrive {
                task: pick(&self.tasks, *task)?,
                done: pick(&self.tasks, *done)?,
            }),
            Edit::Mark { expect, value } => same(Change::Mark {
                key: "mark".to_owned(),
                expect: expect.map(|byte| vec![byte]),
                value: value.map(|byte| vec![byte]),
            }),
            Edit::Room { queue, pending_max } => same(Change::Room {
                queue: QUEUES[*queue].to_owned(),
                pending_max: *pending_max,
            }),
        }
    }

    fn agree(&self, step: &str) -> Result<(), TestCaseError> {
        let [memory, other] = &self.sides;
        prop_assert_eq!(memory.tasks(), other.tasks(), "the tasks after {}", step);
        let marks = [memory, other].map(|side| side.store.marks("").unwrap());
        prop_assert_eq!(&marks[0], &marks[1], "the marks after {}", step);
        let doubts = [memory, other].map(|side| {
            let doubts = side.store.in_doubt(None, 1_000).unwrap();
            doubts
                .into_iter()
                .map(|doubt| (doubt.txn, doubt.change_count))
                .collect::<Vec<_>>()
        });
        prop_assert_eq!(&doubts[0], &doubts[1], "what is in doubt after {}", step);
        Ok(())
    }
}

fn pick<T: Clone>(from: &[T], number: usize) -> Option<T> {
    from.get(number.checked_rem(from.len())?).cloned()
}

fn record(
    id: TaskId,
    queue: usize,
    options: &Options,
    waits_for: Option<TaskId>,
    now: Timestamp,
) -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 0,
        bytes: [].into(),
    };
    Record::new(id, QUEUES[queue], "kind", payload, now).with_options(Options {
        waits_for: waits_for.into_iter().collect(),
        ..options.clone()
    })
}

fn verdict(number: usize, now: Timestamp) -> Verdict {
    let later = now.saturating_add(Duration::from_secs(20));
    match number {
        0 => Verdict::Retry { at: later },
        1 => Verdict::Retry { at: now },
        2 => Verdict::Bury {
            reason: DeadReason::Failed,
        },
        3 => Verdict::Release { at: None },
        _ => Verdict::Done,
    }
}

/// What the run left: a result, or one failure more; nothing if it was given back.
fn account(claim: &Claim, verdict: Verdict) -> Option<Box<Account>> {
    let mut account = claim.record.account.clone().unwrap_or_default();
    match verdict {
        Verdict::Done => account.result = Some(claim.record.payload.clone()),
        Verdict::Release { .. } => return None,
        _ => account.note(Failure {
            attempt: 1,
            chain: vec!["failed".to_owned()],
            at: claim.record.enqueued_at,
            duration: Duration::ZERO,
        }),
    }
    Some(account)
}

fn amendment(number: usize, now: Timestamp) -> Amendment {
    match number {
        0 => Amendment::Cancel,
        1 => Amendment::Revive,
        2 => Amendment::Reschedule(None),
        3 => Amendment::Reschedule(Some(now.saturating_add(Duration::from_secs(20)))),
        4 => Amendment::Move(QUEUES[1].to_owned()),
        5 => Amendment::Progress("half".to_owned()),
        _ => Amendment::Remove,
    }
}

fn settle(claim: &Claim, verdict: Verdict) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict,
        counts: claim.record.counts,
        account: account(claim, verdict),
    })
}

/// A task that is done, with nothing to be said of it.
fn done(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: Counts::default(),
        account: None,
    })
}

/// Does all steps of a program to the memory store and to the one that `open` opens.
pub(crate) fn run(
    steps: &[Step],
    open: impl FnOnce(&ManualClock) -> Arc<dyn Store>,
) -> Result<(), TestCaseError> {
    Pair::new(open).take_all(steps, &[])
}

/// As [`run`], while others have the store open as well: each sees after each step what was done, and
/// so does one who opens it in the end.
pub(crate) fn run_watched(
    steps: &[Step],
    open: impl Fn(&ManualClock) -> Arc<dyn Store>,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(&open);
    let watcher = open(&pair.clock);
    pair.take_all(steps, &[watcher])?;
    pair.is_seen_by(&*open(&pair.clock), "the end")
}

impl Pair {
    fn take_all(
        &mut self,
        steps: &[Step],
        watchers: &[Arc<dyn Store>],
    ) -> Result<(), TestCaseError> {
        for step in steps {
            let [memory, other] = self.take(step);
            let step = format!("{step:?}");
            prop_assert_eq!(memory, other, "the answers to {}", &step);
            self.agree(&step)?;
            for watcher in watchers {
                self.is_seen_by(&**watcher, &step)?;
            }
        }
        for side in &self.sides {
            prop_assert_eq!(side.store.check().unwrap(), Vec::<String>::new());
        }
        Ok(())
    }

    fn is_seen_by(&self, watcher: &dyn Store, step: &str) -> Result<(), TestCaseError> {
        let store = &*self.sides[1].store;
        let tasks = |store: &dyn Store| store.scan(&Filter::default(), None, 1_000).unwrap();
        prop_assert_eq!(
            tasks(watcher),
            tasks(store),
            "the tasks seen after {}",
            step
        );
        let doubts = |store: &dyn Store| store.in_doubt(None, 1_000).unwrap();
        prop_assert_eq!(
            doubts(watcher),
            doubts(store),
            "the doubts seen after {}",
            step
        );
        let marks = |store: &dyn Store| store.marks("").unwrap();
        prop_assert_eq!(
            marks(watcher),
            marks(store),
            "the marks seen after {}",
            step
        );
        prop_assert_eq!(watcher.stats().unwrap(), store.stats().unwrap());
        Ok(())
    }
}
