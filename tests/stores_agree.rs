//! Every store answers as the memory store does, whatever is done in whatever order.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use votive::id::{ConsumerId, Incarnation, ResourceId, TaskId, TxnId};
use votive::store::memory::MemoryStore;
use votive::store::redis::{self, RedisStore};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{
    Amendment, Applied, Arrival, Batch, Change, Claim, ClaimRequest, Filter, Kind, Presence,
    Published, Settlement, Store, Verdict, Want,
};
use votive::task::{
    DeadReason, Failure, Format, Name, OnDuplicate, Options, Payload, Record, State, StateSet,
    Unique,
};
use votive::time::{ManualClock, Timestamp};
use votive_testbed::{Redis, or_skip};

const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const QUEUES: [&str; 2] = ["one", "two"];
const WORKERS: usize = 2;
/// Longer than any program: who dies, dies by a step.
const LEASE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// One thing that is done to a store. Numbers name what is there already, modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<Edit>),
    Stage(Vec<Edit>),
    Publish(usize),
    Discard(usize),
    Claim {
        worker: usize,
        queue: usize,
        count: usize,
    },
    Die(usize),
    Advance(u64),
}

/// One change of a batch.
#[derive(Debug, Clone)]
enum Edit {
    Insert {
        queue: usize,
        options: Box<Options>,
        after: Option<usize>,
    },
    Settle {
        claim: usize,
        verdict: usize,
    },
    Amend {
        task: usize,
        amendment: usize,
    },
    Arrive {
        task: usize,
        done: usize,
    },
    Mark {
        expect: Option<u8>,
        value: Option<u8>,
    },
}

fn options() -> impl Strategy<Value = Box<Options>> {
    let seconds = || prop_oneof![3 => Just(None), 1 => (1_u64..60).prop_map(Some)];
    let duplicate = prop_oneof![Just(OnDuplicate::Merge), Just(OnDuplicate::Refuse)];
    let key = prop_oneof![2 => Just(None), 1 => ("[ab]", duplicate).prop_map(Some)];
    let group = prop_oneof![2 => Just(None), 1 => "[gh]".prop_map(Some)];
    (key, group, 9_u8..11, seconds(), seconds(), seconds()).prop_map(
        |(key, group, priority, delay, retention, expiry)| {
            Box::new(Options {
                unique: key.map(|(key, on_duplicate)| Unique { key, on_duplicate }),
                group,
                priority,
                delay: delay.map(Duration::from_secs),
                retention: retention.map(Duration::from_secs),
                expires_at: expiry
                    .map(|seconds| START.saturating_add(Duration::from_secs(seconds))),
                ..Options::default()
            })
        },
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    let number = || 0_usize..64;
    let mark = || proptest::option::of(0_u8..2);
    prop_oneof![
        4 => (0..2_usize, options(), proptest::option::weighted(0.2, number()))
            .prop_map(|(queue, options, after)| Edit::Insert { queue, options, after }),
        4 => (number(), 0..5_usize).prop_map(|(claim, verdict)| Edit::Settle { claim, verdict }),
        2 => (number(), 0..7_usize).prop_map(|(task, amendment)| Edit::Amend { task, amendment }),
        1 => (number(), number()).prop_map(|(task, done)| Edit::Arrive { task, done }),
        1 => (mark(), mark()).prop_map(|(expect, value)| Edit::Mark { expect, value }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0_usize..64;
    let edits = || proptest::collection::vec(edit(), 1..4);
    prop_oneof![
        4 => edits().prop_map(Step::Apply),
        3 => edits().prop_map(Step::Stage),
        2 => number().prop_map(Step::Publish),
        1 => number().prop_map(Step::Discard),
        4 => (0..WORKERS, 0..2_usize, 1..4_usize)
            .prop_map(|(worker, queue, count)| Step::Claim { worker, queue, count }),
        1 => (0..WORKERS).prop_map(Step::Die),
        2 => (0_u64..40).prop_map(Step::Advance),
    ]
}

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

    /// The tasks, with those that are not ended told apart only by their holders and records.
    fn tasks(&self) -> Vec<(TaskId, Name, Option<State>, Option<String>)> {
        let page = self.store.scan(&Filter::default(), None, 1_000).unwrap();
        let tasks = page.tasks.into_iter().map(|listed| {
            let record = listed.record;
            let ended = Some(record.state).filter(|state| state.is_ended());
            (record.id, record.queue, ended, record.progress)
        });
        tasks.collect()
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
                    Answer::Staged(staged.map_err(|error| refusal(error.kind)))
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
        for edit in keep_key_promises(edits) {
            let Some(changes) = self.changes(&edit) else {
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
                Some([first, second].map(|claim| settle(&claim, verdict.clone())))
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

/// Which of two tasks gets a key is not promised if one comes back in the batch that inserts the other.
fn keep_key_promises(edits: &[Edit]) -> Vec<Edit> {
    let mut edits = edits.to_vec();
    if edits
        .iter()
        .any(|edit| matches!(edit, Edit::Settle { .. } | Edit::Amend { .. }))
    {
        for edit in &mut edits {
            if let Edit::Insert { options, .. } = edit {
                options.unique = None;
            }
        }
    }
    edits
}

/// What is compared of a refused stage. A batch is judged before it is made, so the state in which a
/// store found a task may or may not include what an earlier change of the batch will do to it.
fn refusal(kind: Kind) -> Kind {
    match kind {
        Kind::StateChanged { task, .. } => Kind::StateChanged { task, found: "" },
        other => other,
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
    let failure = Failure {
        chain: vec!["failed".to_owned()],
        at: now,
    };
    let later = now.saturating_add(Duration::from_secs(20));
    match number {
        0 => Verdict::Retry { at: later, failure },
        1 => Verdict::Retry { at: now, failure },
        2 => Verdict::Bury {
            reason: DeadReason::Failed,
            failure: Some(failure),
        },
        3 => Verdict::Release { at: None },
        _ => Verdict::Done,
    }
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
    })
}

fn run(
    steps: &[Step],
    open: impl FnOnce(&ManualClock) -> Arc<dyn Store>,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(open);
    for step in steps {
        let [memory, other] = pair.take(step);
        let step = format!("{step:?}");
        prop_assert_eq!(memory, other, "the answers to {}", &step);
        pair.agree(&step)?;
    }
    for side in &pair.sides {
        prop_assert_eq!(side.store.check().unwrap(), Vec::<String>::new());
    }
    Ok(())
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Programs of steps.
fn program() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..40)
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn sqlite_answers_as_memory_does(steps in program()) {
        let folder = tempfile::tempdir().unwrap();
        run(&steps, |clock| {
            let options = sqlite::Options::default().clock(clock.clone());
            Arc::new(SqliteStore::open(folder.path().join("tasks.db"), options).unwrap())
        })?;
    }
}

/// Fewer programs than in a file, because each step is a trip to the server.
#[test]
fn redis_answers_as_memory_does() {
    let Some(server) = or_skip(Redis::start(votive_testbed::redis::Options::default())) else {
        return;
    };
    let (address, names) = (server.address(), AtomicU32::new(0));
    let agreed = TestRunner::new(config(300)).run(&program(), |steps| {
        let name = format!("program-{}", names.fetch_add(1, Ordering::Relaxed));
        run(&steps, |clock| {
            let options = redis::Options::tcp(address.ip().to_string(), address.port());
            let options = options.name(name).clock(clock.clone());
            Arc::new(RedisStore::open(options).unwrap())
        })
    });
    agreed.unwrap();
}
