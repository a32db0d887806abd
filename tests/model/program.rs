//! What a program may consist of. Numbers name what is there already, modulo how many there are, so that
//! a program keeps its meaning while it shrinks.
#![cfg(test)]

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use votive::register::Decision;
use votive::task::{Hold, OnDuplicate, Options, Unique, Uniqueness};
use votive::time::Timestamp;

/// The queues of each store.
pub(crate) const QUEUES: [&str; 2] = ["one", "two"];

/// The kinds of task; an operator may have the first go first.
pub(crate) const KINDS: [&str; 2] = ["first", "other"];

/// A third of what a step of priority is worth.
const TIME_STEP: Duration = Duration::from_secs(100);

/// How many consumers there are.
pub(crate) const WORKERS: usize = 2;

/// What happens outside transactions.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Transact(Vec<Step>, End),
    Claim {
        worker: usize,
        store: usize,
        queue: usize,
        count: usize,
    },
    /// A consumer dies, and another takes its place.
    Die(usize),
    Advance(Duration),
    Recover(usize),
    /// An operator wants a transaction that is in doubt to end so.
    Operate {
        store: usize,
        number: usize,
        want: Decision,
    },
    /// An operator says something of a queue.
    Say {
        store: usize,
        queue: usize,
        saying: Saying,
    },
    /// The application's database can be reached again.
    Reconnect,
    /// The process dies, and another one opens what it left.
    Crash,
}

/// What an operator says of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Saying {
    Pause,
    Resume,
    Capacity(Option<u64>),
    Top(bool),
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Commit,
    Abort,
    Drop,
}

/// What happens inside a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Enqueue {
        store: usize,
        queue: usize,
        kind: usize,
        options: Box<Options>,
    },
    Settle {
        claim: usize,
        judgement: Judgement,
    },
    Amend {
        task: usize,
        wish: Wish,
    },
    /// A participant joins, if it has not yet, and writes.
    Write(Whose, Flaw),
    /// What happens between a savepoint and its release.
    Savepoint(Vec<Step>),
    /// Back to the innermost savepoint, which stays.
    Rollback,
    Doom,
    Hook(List, Act),
}

/// What a consumer says of a task. Times count from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judgement {
    Done,
    Retry(Duration),
    Bury,
    Release(Option<Duration>),
}

/// What becomes of a task without its being run. Times count from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Cancel,
    Revive,
    Reschedule(Option<Duration>),
    Move(usize),
    Progress,
    Remove,
}

/// Which participant there is beside the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The application's database, which can only decide.
    Database,
    /// Something that keeps nothing.
    Cache,
}

/// How a participant fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Prepare,
    Vote,
    /// The connection was lost before the commit arrived; the database cannot be reached any more.
    LostBefore,
    /// It was lost after the commit, and the answer with it.
    LostAfter,
    Finish,
}

/// One of the lists of hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    BeforeCommit,
    AfterCommit,
    BeforeAbort,
    AfterAbort,
}

/// What a hook does. Only before the commit can it do more than fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Fail,
    Enqueue,
    Doom,
}

/// When programs begin.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// Programs of up to `length` operations, of which `crashes` in about forty are crashes.
pub(crate) fn programs(length: usize, crashes: u32) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(crashes), 1..length)
}

fn operation(crashes: u32) -> impl Strategy<Value = Operation> {
    let end = prop_oneof![16 => Just(End::Commit), 1 => Just(End::Abort), 1 => Just(End::Drop)];
    let want = prop_oneof![Just(Decision::Committed), Just(Decision::Aborted)];
    prop_oneof![
        14 => (vec(step(), 1..7), end).prop_map(|(steps, end)| Operation::Transact(steps, end)),
        10 => (0..WORKERS, mostly_first(2), mostly_first(4), 1..4_usize).prop_map(
            |(worker, store, queue, count)| Operation::Claim { worker, store, queue, count }
        ),
        1 => (0..WORKERS).prop_map(Operation::Die),
        4 => (1_u32..4).prop_map(|steps| Operation::Advance(steps * TIME_STEP)),
        4 => (0..2_usize).prop_map(Operation::Recover),
        1 => (0..2_usize, number(), want)
            .prop_map(|(store, number, want)| Operation::Operate { store, number, want }),
        2 => (mostly_first(2), mostly_first(4), saying())
            .prop_map(|(store, queue, saying)| Operation::Say { store, queue, saying }),
        4 => Just(Operation::Reconnect),
        crashes => Just(Operation::Crash),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        240 => (mostly_first(2), mostly_first(4), 0..KINDS.len(), options()).prop_map(
            |(store, queue, kind, options)| Step::Enqueue { store, queue, kind, options }
        ),
        100 => (number(), judgement())
            .prop_map(|(claim, judgement)| Step::Settle { claim, judgement }),
        60 => (number(), wish()).prop_map(|(task, wish)| Step::Amend { task, wish }),
        60 => (whose(), flaw()).prop_map(|(whose, flaw)| Step::Write(whose, flaw)),
        40 => (list(), act()).prop_map(|(list, act)| Step::Hook(list, act)),
        40 => Just(Step::Rollback),
        5 => Just(Step::Doom),
    ];
    leaf.prop_recursive(
        3,
        16,
        5,
        |inner| prop_oneof![5 => inner.clone(), 1 => vec(inner, 1..5).prop_map(Step::Savepoint)],
    )
}

/// The first of two `odds` times as often, so that enough tasks are in one place to have an order.
fn mostly_first(odds: u32) -> impl Strategy<Value = usize> {
    prop_oneof![odds => Just(0), 1 => Just(1)]
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0_usize..2, 1 => 0_usize..16]
}

/// Coarse, so that times often fall together, and differ by just what a step of priority is worth.
fn time() -> impl Strategy<Value = Duration> {
    (0_u32..8).prop_map(|steps| steps * TIME_STEP)
}

fn options() -> impl Strategy<Value = Box<Options>> {
    let key = weighted(0.5, unique());
    let group = weighted(0.5, ("[gh]", weighted(0.5, 1_u32..4)));
    let times = (
        weighted(0.2, time()),
        weighted(0.2, time()),
        weighted(0.1, time()),
        weighted(0.3, time()),
    );
    let ageing = weighted(0.2, time());
    (9_u8..12, ageing, times, key, group).prop_map(
        |(priority, ageing, (not_before, delay, expiry, retention), key, group)| {
            let (group, group_limit) = group.unzip();
            Box::new(Options {
                priority,
                ageing,
                not_before: not_before.map(|after| START.saturating_add(after)),
                delay,
                expires_at: expiry.map(|after| START.saturating_add(after)),
                retention,
                group,
                group_limit: group_limit.flatten(),
                unique: key,
                ..Options::default()
            })
        },
    )
}

fn unique() -> impl Strategy<Value = Unique> {
    let duplicate = prop_oneof![Just(OnDuplicate::Merge), Just(OnDuplicate::Refuse)];
    let period = || weighted(0.3, time());
    let hold = (weighted(0.3, Just(())), period(), period());
    ("[ab]", duplicate, hold).prop_map(|(key, on_duplicate, hold)| {
        let (until_ended, after_enqueued, after_ended) = hold;
        let hold = Hold {
            until_ended: until_ended.is_some(),
            after_enqueued,
            after_ended,
        };
        Uniqueness::new(on_duplicate, hold).by(key)
    })
}

fn saying() -> impl Strategy<Value = Saying> {
    prop_oneof![
        1 => Just(Saying::Pause),
        3 => Just(Saying::Resume),
        2 => of(0_u64..6).prop_map(Saying::Capacity),
        2 => any::<bool>().prop_map(Saying::Top),
    ]
}

fn judgement() -> impl Strategy<Value = Judgement> {
    prop_oneof![
        3 => Just(Judgement::Done),
        2 => time().prop_map(Judgement::Retry),
        2 => Just(Judgement::Bury),
        1 => of(time()).prop_map(Judgement::Release),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        2 => Just(Wish::Cancel),
        2 => Just(Wish::Revive),
        1 => of(time()).prop_map(Wish::Reschedule),
        1 => (0..2_usize).prop_map(Wish::Move),
        1 => Just(Wish::Progress),
        1 => Just(Wish::Remove),
    ]
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![3 => Just(Whose::Database), 1 => Just(Whose::Cache)]
}

fn flaw() -> impl Strategy<Value = Flaw> {
    prop_oneof![
        16 => Just(Flaw::None),
        1 => Just(Flaw::Prepare),
        1 => Just(Flaw::Vote),
        2 => Just(Flaw::LostBefore),
        3 => Just(Flaw::LostAfter),
        1 => Just(Flaw::Finish),
    ]
}

fn list() -> impl Strategy<Value = List> {
    prop_oneof![
        Just(List::BeforeCommit),
        Just(List::AfterCommit),
        Just(List::BeforeAbort),
        Just(List::AfterAbort),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Nothing),
        1 => Just(Act::Fail),
        2 => Just(Act::Enqueue),
        1 => Just(Act::Doom),
    ]
}
