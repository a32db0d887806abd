//! Programs: what can be done to a store, in whatever order.
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use votive::task::{Hold, OnDuplicate, Options, Unique};
use votive::time::Timestamp;

pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
pub(crate) const WORKERS: usize = 2;

/// One thing that is done to a store. Numbers name what is there already, modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Apply(Vec<Edit>),
    Stage(Vec<Edit>),
    Publish(usize),
    Discard(usize),
    Claim {
        worker: usize,
        queue: usize,
        count: usize,
    },
    /// Ends so many of the latest claims at once, with nothing to be said of them.
    Finish(usize),
    Die(usize),
    Advance(u64),
}

/// One change of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
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
    Room {
        queue: usize,
        pending_max: u64,
    },
}

fn options() -> impl Strategy<Value = Box<Options>> {
    let seconds = || prop_oneof![3 => Just(None), 1 => (1_u64..60).prop_map(Some)];
    let duplicate = prop_oneof![Just(OnDuplicate::Merge), Just(OnDuplicate::Refuse)];
    let key = prop_oneof![2 => Just(None), 1 => ("[ab]", duplicate, hold()).prop_map(Some)];
    let limit = prop_oneof![2 => Just(None), 1 => (1_u32..4).prop_map(Some)];
    let group = prop_oneof![2 => Just(None), 1 => ("[gh]", limit).prop_map(Some)];
    (
        key,
        group,
        9_u8..11,
        seconds(),
        seconds(),
        seconds(),
        seconds(),
    )
        .prop_map(|(key, group, priority, ageing, delay, retention, expiry)| {
            Box::new(Options {
                unique: key.map(|(key, on_duplicate, hold)| Unique {
                    key,
                    on_duplicate,
                    hold,
                }),
                group: group.clone().map(|(group, _)| group),
                group_limit: group.and_then(|(_, limit)| limit),
                priority,
                ageing: ageing.map(Duration::from_secs),
                delay: delay.map(Duration::from_secs),
                retention: retention.map(Duration::from_secs),
                expires_at: expiry
                    .map(|seconds| START.saturating_add(Duration::from_secs(seconds))),
                ..Options::default()
            })
        })
}

fn hold() -> impl Strategy<Value = Hold> {
    let period = || {
        let seconds = (1_u64..60).prop_map(Duration::from_secs);
        proptest::option::weighted(0.2, seconds)
    };
    (proptest::bool::weighted(0.3), period(), period()).prop_map(
        |(until_ended, after_enqueued, after_ended)| Hold {
            until_ended,
            after_enqueued,
            after_ended,
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
        1 => (0..2_usize, 0..6_u64)
            .prop_map(|(queue, pending_max)| Edit::Room { queue, pending_max }),
    ]
}

/// A new task with nothing but a group, of which so many may run at once.
fn member() -> impl Strategy<Value = Edit> {
    (1_u32..4, 9_u8..11).prop_map(|(limit, priority)| Edit::Insert {
        queue: 0,
        options: Box::new(Options {
            group: Some("g".to_owned()),
            group_limit: Some(limit),
            priority,
            ..Options::default()
        }),
        after: None,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0_usize..64;
    let edits = || proptest::collection::vec(edit(), 1..4);
    let members = proptest::collection::vec(member(), 3..8);
    prop_oneof![
        4 => edits().prop_map(Step::Apply),
        2 => members.prop_map(Step::Apply),
        3 => edits().prop_map(Step::Stage),
        2 => number().prop_map(Step::Publish),
        1 => number().prop_map(Step::Discard),
        4 => (0..WORKERS, 0..2_usize, 1..4_usize)
            .prop_map(|(worker, queue, count)| Step::Claim { worker, queue, count }),
        4 => (1_usize..8).prop_map(Step::Finish),
        1 => (0..WORKERS).prop_map(Step::Die),
        2 => (0_u64..40).prop_map(Step::Advance),
    ]
}

/// Programs of steps.
pub(crate) fn program() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..40)
}
