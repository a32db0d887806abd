//! The commonest batches: new tasks of one queue that nothing keeps from being Ready at once, and tasks that are done.
//! They have scripts of their own, which are told no more than they need.

use std::collections::HashSet;
use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::error::Result;
use super::script::Arguments;
use super::stage::joined;
use super::{kept, wire};
use crate::codec;
use crate::id::{ResourceId, TxnId};
use crate::store::{Batch, Change, Verdict, lifecycle};
use crate::task::{Counts, Options, Record, State};

/// The most tasks of such a batch: the script names them all in one command.
const TASKS_MAX: usize = 1_000;

/// What the script answers if nobody wants to know the time.
const DONE: i64 = 1;

/// What a script is told of a transaction that commits, beside its batch.
#[derive(Clone, Copy)]
pub(super) struct Commit<'c> {
    pub(super) txn: TxnId,
    /// The stores that have a part, beside this one.
    pub(super) stores: &'c [ResourceId],
    /// Commits whose records are to go.
    pub(super) spent: &'c [TxnId],
    pub(super) is_time_wanted: bool,
}

impl Commit<'_> {
    /// The arguments that scripts have before a batch.
    pub(super) fn head(&self) -> Arguments {
        Arguments::default()
            .shown(self.txn)
            .with(joined(self.stores))
            .with(joined(self.spent))
    }

    /// The same for a script that answers without the time if that is not wanted.
    fn timed_head(&self) -> Arguments {
        self.head().with(if self.is_time_wanted { "1" } else { "" })
    }
}

/// What new tasks are seldom told beside what all have. Nothing if there is nothing, since arguments cost the server
/// more than most of what it does with them.
#[derive(Serialize, Default, PartialEq)]
struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    stores: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spent: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ageing: Option<String>,
}

impl Said {
    fn new(commit: &Commit<'_>, ageing: Option<Duration>) -> Self {
        Self {
            stores: (!commit.stores.is_empty()).then(|| joined(commit.stores)),
            spent: commit.spent.iter().map(ToString::to_string).collect(),
            wanted: commit.is_time_wanted.then_some(true),
            ageing: ageing.map(|ageing| ageing.as_micros().to_string()),
        }
    }

    fn text(&self) -> Result<String> {
        if *self == Self::default() {
            return Ok(String::new());
        }
        Ok(serde_json::to_string(self)?)
    }
}

/// A batch of nothing but such tasks, for all of which a step of priority is worth the same.
pub(super) struct Plain<'b> {
    queue: &'b str,
    ageing: Option<Duration>,
    records: Vec<&'b Record>,
}

impl<'b> Plain<'b> {
    /// Takes a batch for one of these, if it is one.
    pub(super) fn of(batch: &'b Batch) -> Result<Option<Self>> {
        let Some(Change::Insert(first)) = batch.changes.first() else {
            return Ok(None);
        };
        let (queue, ageing) = (&first.queue, first.options.ageing);
        let belongs = |record: &Record| {
            record.queue == *queue && record.options.ageing == ageing && is_plain(record)
        };
        let records: Option<Vec<_>> = batch
            .changes
            .iter()
            .map(|change| match change {
                Change::Insert(record) if belongs(record) => Some(&**record),
                _ => None,
            })
            .collect();
        let Some(records) = records.filter(|records| is_each_once(records)) else {
            return Ok(None);
        };
        batch.changes.iter().try_for_each(lifecycle::check)?;
        Ok(Some(Self {
            queue,
            ageing,
            records,
        }))
    }

    /// Makes the arguments of the script.
    pub(super) fn arguments(&self, commit: &Commit<'_>) -> Result<Arguments> {
        let said = Said::new(commit, self.ageing).text()?;
        let mut arguments = Arguments::default()
            .shown(commit.txn)
            .with(self.queue)
            .with(said);
        for record in &self.records {
            arguments = arguments
                .shown(record.id)
                .shown(record.options.priority)
                .with(kept::new(record))
                .with(codec::encode(record)?);
        }
        Ok(arguments)
    }
}

/// Makes the arguments of the script for tasks that are done and leave nothing to write down; `None` if a batch has
/// more to say, or is more than the script names in one command.
pub(super) fn done(batch: &Batch, commit: &Commit<'_>) -> Option<Arguments> {
    let is_done = |change: &Change| match change {
        Change::Settle(settlement) => {
            let is_bare = settlement.account.is_none() && settlement.counts == Counts::default();
            settlement.verdict == Verdict::Done && is_bare
        }
        _ => false,
    };
    let is_such = batch.changes.len() <= TASKS_MAX && batch.changes.iter().all(is_done);
    if !is_such || batch.is_empty() {
        return None;
    }
    let head = commit.timed_head();
    Some(batch.settlements().fold(head, |arguments, settlement| {
        let token = wire::token_text(settlement.token);
        arguments.shown(settlement.task).with(token)
    }))
}

/// Whether the script did what it was told. Otherwise it has found something that it does not know, and has
/// changed nothing.
pub(super) fn is_done(answer: &Value) -> bool {
    matches!(answer, Value::Int(DONE) | Value::Array(_))
}

/// Whether a task has nothing but what is the same for all, beside its priority, queue, retention and body.
fn is_plain(record: &Record) -> bool {
    let Options {
        delay,
        unique,
        group,
        about,
        waits_for,
        ..
    } = &*record.options;
    let is_new = record.state == State::Staged && record.published_at.is_none();
    is_new
        && record.not_before.is_none()
        && (delay.is_none() && unique.is_none() && group.is_none())
        && (about.is_empty() && waits_for.is_empty())
}

fn is_each_once(records: &[&Record]) -> bool {
    if records.len() > TASKS_MAX {
        return false;
    }
    let mut ids = HashSet::with_capacity(records.len());
    records.len() == 1 || records.iter().all(|record| ids.insert(record.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, TaskId};
    use crate::task::{Format, Payload};
    use crate::time::Timestamp;

    fn record(number: u8, queue: &'static str, options: Options) -> Record {
        let payload = Payload {
            format: Format::Json,
            version: 1,
            bytes: b"{}"[..].into(),
        };
        let id = TaskId::from_bytes([number; 16]);
        Record::new(id, queue, "kind", payload, Timestamp::EPOCH).with_options(options)
    }

    fn is_taken(records: Vec<Record>) -> bool {
        let changes = records
            .into_iter()
            .map(|record| Change::Insert(Box::new(record)));
        let batch: Batch = changes.collect();
        Plain::of(&batch).unwrap().is_some()
    }

    fn txn(sequence: u64) -> TxnId {
        let incarnation = Incarnation::from_u64(1);
        TxnId {
            incarnation,
            sequence,
        }
    }

    fn said(commit: &Commit<'_>, ageing: Option<Duration>) -> String {
        Said::new(commit, ageing).text().unwrap()
    }

    #[test]
    fn what_is_seldom_said_is_nothing_or_an_object_of_what_there_is() {
        let commit = Commit {
            txn: txn(2),
            stores: &[],
            spent: &[],
            is_time_wanted: false,
        };
        assert_eq!(said(&commit, None), "");
        let timed = Commit {
            spent: &[txn(1)],
            is_time_wanted: true,
            ..commit
        };
        assert_eq!(
            said(&timed, Some(Duration::from_micros(7))),
            r#"{"spent":["0000000000000001-0000000000000001"],"wanted":true,"ageing":"7"}"#
        );
    }

    #[test]
    fn new_tasks_of_one_queue_are_plain_whatever_their_priorities() {
        let urgent = Options {
            priority: 0,
            ..Options::default()
        };
        let usual = Options::default();
        assert!(is_taken(vec![
            record(1, "a", urgent),
            record(2, "a", usual)
        ]));
    }

    #[test]
    fn tasks_of_two_queues_or_of_one_id_are_not() {
        let usual = Options::default;
        let of_two = vec![record(1, "a", usual()), record(2, "b", usual())];
        let of_one_id = vec![record(1, "a", usual()), record(1, "a", usual())];
        assert!(!is_taken(of_two) && !is_taken(of_one_id));
    }

    #[test]
    fn tasks_for_which_a_step_of_priority_is_worth_the_same_are() {
        let ageing = |seconds| Options {
            ageing: Some(Duration::from_secs(seconds)),
            ..Options::default()
        };
        let same = vec![record(1, "a", ageing(1)), record(2, "a", ageing(1))];
        let other = vec![record(1, "a", ageing(1)), record(2, "a", ageing(2))];
        assert!(is_taken(same) && !is_taken(other));
    }

    #[test]
    fn a_task_that_something_may_hold_back_is_not() {
        let grouped = Options {
            group: Some("group".into()),
            ..Options::default()
        };
        assert!(!is_taken(vec![record(1, "a", grouped)]));
        let mut later = record(1, "a", Options::default());
        later.not_before = Some(Timestamp::from_micros(1));
        assert!(!is_taken(vec![later]));
        let mut moved = record(1, "a", Options::default());
        moved.published_at = Some(Timestamp::EPOCH);
        assert!(!is_taken(vec![moved]));
    }
}
