//! A batch in a transaction: judged when it is staged, performed when it becomes visible.

use super::error::Result;
use super::statements::Statements;
use super::tasks;
use crate::id::TxnId;
use crate::store::rules::{Judge, Performer};
use crate::store::{self, Applied, Batch, Change};
use crate::time::Timestamp;

/// Whether a batch is one task on which nothing hangs: one statement writes it, all or nothing.
pub(crate) fn is_one_insert(batch: &Batch) -> bool {
    let [Change::Insert(record)] = batch.changes.as_slice() else {
        return false;
    };
    let options = &record.options;
    let alone = options.about.is_empty() && options.waits_for.is_empty();
    alone && options.unique.is_none() && options.group.is_none() && !tasks::has_history(record)
}

/// Makes all changes, and clears up. After an error the caller rolls back.
pub(super) fn perform(performer: Performer<&Statements<'_>>, batch: Batch) -> Result<Applied> {
    let (connection, now) = (performer.tables, performer.now);
    let applied = make(performer, batch)?;
    if connection.is_to_prune() {
        tasks::drop_expired(connection, now)?;
    }
    Ok(applied)
}

/// Makes all changes. After an error the caller rolls back.
pub(super) fn make(mut performer: Performer<&Statements<'_>>, mut batch: Batch) -> Result<Applied> {
    performer.unpin(&batch.changes)?;
    put_in_line(&mut batch.changes, performer.now);
    for change in batch.changes {
        performer.change(change)?;
    }
    performer.end()
}

/// Puts new tasks in the order of their places in the line, if nothing but that depends on the order: their rows lie in
/// the order of their sequences, and those that are claimed together ought to be neighbours.
fn put_in_line(changes: &mut [Change], now: Timestamp) {
    if changes.len() > 1 && changes.iter().all(|change| place(change, now).is_some()) {
        changes.sort_by(|one, other| place(one, now).cmp(&place(other, now)));
    }
}

/// The place that a new task will have in the line, which is published now; `None` if it is not known yet, or if others
/// of its batch may say whether, and how, it gets there.
fn place(change: &Change, now: Timestamp) -> Option<(&str, i64)> {
    let Change::Insert(record) = change else {
        return None;
    };
    let options = &record.options;
    let stands_alone =
        options.unique.is_none() && options.group.is_none() && options.waits_for.is_empty();
    let published_at = record.published_at.unwrap_or(now);
    (stands_alone && options.delay.is_none())
        .then(|| (&*record.queue, store::rank(record, published_at)))
}

/// Judges a batch that is about to be staged. After an error the caller rolls back.
pub(super) fn judge(
    connection: &Statements<'_>,
    batch: &Batch,
    (txn, now): (TxnId, Timestamp),
) -> Result<()> {
    let judge = Judge::new(connection, txn, now);
    if !batch.is_entangled() {
        return judge.judge(batch);
    }
    let execute = |sql| connection.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT votive_judge")?;
    make(Performer::at_once(connection, now), batch.clone())?;
    execute("ROLLBACK TO votive_judge")?;
    execute("RELEASE votive_judge")?;
    judge.lock(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::task::{Format, Options, Payload, Record};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn task(options: Options) -> Record {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        Record::new(TaskId::new(NOW), "default", "noop", payload, NOW).with_options(options)
    }

    fn with_priority(priority: u8) -> Record {
        task(Options {
            priority,
            ..Options::default()
        })
    }

    /// The numbers that tasks had before, in the order in which they are inserted.
    fn order(tasks: &[Record]) -> Vec<usize> {
        let insert = |task: &Record| Change::Insert(Box::new(task.clone()));
        let mut changes: Vec<_> = tasks.iter().map(insert).collect();
        put_in_line(&mut changes, NOW);
        let number = |change: &Change| match change {
            Change::Insert(record) => tasks.iter().position(|task| task.id == record.id),
            _ => None,
        };
        changes.iter().filter_map(number).collect()
    }

    #[test]
    fn tasks_are_inserted_in_the_order_of_the_line() {
        assert_eq!(order(&[2, 1, 2, 1].map(with_priority)), [1, 3, 0, 2]);
    }

    #[test]
    fn tasks_stay_in_their_order_where_one_may_say_what_becomes_of_another() {
        let grouped = task(Options {
            group: Some("group".to_owned()),
            ..Options::default()
        });
        assert_eq!(
            order(&[with_priority(2), grouped, with_priority(1)]),
            [0, 1, 2]
        );
    }
}
