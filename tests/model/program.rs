//! What a program may consist of. Numbers name what is there already, modulo how many there are, so that
//! a program keeps its meaning while it shrinks.
#![cfg(test)]

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use votive::register::Decision;
use votive::task::{OnDuplicate, Options, Unique};

/// The queues of each store.
pub(crate) const QUEUES: [&str; 2] = ["one", "two"];

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
    /// The application's database can be reached from now on, or not.
    Reach(bool),
    /// The process dies, and another one opens what it left.
    Crash,
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

/// What a consumer says of a task. Times are seconds from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judgement {
    Done,
    Retry(u64),
    Bury,
    Release(Option<u64>),
}

/// What becomes of a task without its being run. Times are seconds from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Cancel,
    Revive,
    Reschedule(Option<u64>),
    Move(usize),
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
    /// The commit got lost on its way.
    LostBefore,
    /// The answer to the commit got lost.
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

/// Programs of up to `length` operations.
pub(crate) fn programs(length: usize) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..length)
}

fn operation() -> impl Strategy<Value = Operation> {
    let end = prop_oneof![8 => Just(End::Commit), 1 => Just(End::Abort), 1 => Just(End::Drop)];
    let want = prop_oneof![Just(Decision::Committed), Just(Decision::Aborted)];
    prop_oneof![
        12 => (vec(step(), 0..6), end).prop_map(|(steps, end)| Operation::Transact(steps, end)),
        8 => (0..WORKERS, 0..2_usize, 0..2_usize, 1..4_usize).prop_map(
            |(worker, store, queue, count)| Operation::Claim { worker, store, queue, count }
        ),
        1 => (0..WORKERS).prop_map(Operation::Die),
        4 => (0_u64..400).prop_map(|seconds| Operation::Advance(Duration::from_secs(seconds))),
        2 => (0..2_usize).prop_map(Operation::Recover),
        1 => (0..2_usize, number(), want)
            .prop_map(|(store, number, want)| Operation::Operate { store, number, want }),
        1 => any::<bool>().prop_map(Operation::Reach),
        1 => Just(Operation::Crash),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        8 => (0..2_usize, 0..2_usize, options())
            .prop_map(|(store, queue, options)| Step::Enqueue { store, queue, options }),
        5 => (number(), judgement()).prop_map(|(claim, judgement)| Step::Settle { claim, judgement }),
        2 => (number(), wish()).prop_map(|(task, wish)| Step::Amend { task, wish }),
        4 => (whose(), flaw()).prop_map(|(whose, flaw)| Step::Write(whose, flaw)),
        2 => (list(), act()).prop_map(|(list, act)| Step::Hook(list, act)),
        2 => Just(Step::Rollback),
    ];
    let leaf = prop_oneof![40 => leaf, 1 => Just(Step::Doom)];
    leaf.prop_recursive(
        3,
        16,
        5,
        |inner| prop_oneof![5 => inner.clone(), 1 => vec(inner, 1..5).prop_map(Step::Savepoint)],
    )
}

fn number() -> impl Strategy<Value = usize> {
    0_usize..16
}

fn options() -> impl Strategy<Value = Box<Options>> {
    let duplicate = prop_oneof![Just(OnDuplicate::Merge), Just(OnDuplicate::Refuse)];
    let key = weighted(0.3, ("[ab]", duplicate));
    (9_u8..12, weighted(0.3, 1_u64..700), key).prop_map(|(priority, delay, key)| {
        Box::new(Options {
            priority,
            delay: delay.map(Duration::from_secs),
            unique: key.map(|(key, on_duplicate)| Unique { key, on_duplicate }),
            ..Options::default()
        })
    })
}

fn judgement() -> impl Strategy<Value = Judgement> {
    prop_oneof![
        3 => Just(Judgement::Done),
        2 => (0_u64..700).prop_map(Judgement::Retry),
        1 => Just(Judgement::Bury),
        1 => of(1_u64..700).prop_map(Judgement::Release),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        2 => Just(Wish::Cancel),
        2 => Just(Wish::Revive),
        1 => of(1_u64..700).prop_map(Wish::Reschedule),
        1 => (0..2_usize).prop_map(Wish::Move),
        1 => Just(Wish::Remove),
    ]
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![3 => Just(Whose::Database), 1 => Just(Whose::Cache)]
}

fn flaw() -> impl Strategy<Value = Flaw> {
    prop_oneof![
        5 => Just(Flaw::None),
        1 => Just(Flaw::Prepare),
        1 => Just(Flaw::Vote),
        2 => Just(Flaw::LostBefore),
        2 => Just(Flaw::LostAfter),
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

impl Step {
    /// Whether a task may come back in here, and take its key again: which of two tasks gets a key is not
    /// promised if one comes back in the batch that inserts the other.
    pub(crate) fn returns_keys(&self) -> bool {
        match self {
            Self::Settle { .. } | Self::Amend { .. } => true,
            Self::Savepoint(steps) => steps.iter().any(Self::returns_keys),
            _ => false,
        }
    }
}
