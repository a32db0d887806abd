//! A batch in a transaction: judged when it is staged, performed when it becomes visible.

use std::collections::{BTreeSet, VecDeque};

use super::ending;
use super::error::Result;
use super::insert;
use super::keys;
use super::names::Names;
use super::row::column;
use super::series::{done, keyed_insert, plain_insert, take_while};
use super::session::Session;
use super::sweep;
use super::tables::Tables;
use super::tasks;
use super::value::Value;
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::rules::{Judge, Performer};
use crate::store::{Applied, Batch, Change, Kind, Settlement, Verdict};
use crate::task::Record;
use crate::time::Timestamp;

/// Whether a batch does nothing but end claims of tasks that are done: then nothing new is in the line, but
/// for a task that waited for its group.
pub(super) fn only_ends(batch: &Batch) -> bool {
    batch.changes.iter().all(|change| {
        matches!(change, Change::Settle(settlement) if settlement.verdict == Verdict::Done)
    })
}

/// Makes all changes, and clears up. After an error the caller rolls back.
pub(super) fn perform(mut performer: Performer<Tables<'_>>, batch: Batch) -> Result<Applied> {
    make(&mut performer, batch)?;
    let applied = performer.end()?;
    sweep::drop_expired(performer.tables, performer.now)?;
    Ok(applied)
}

/// Makes all changes, and nothing else.
pub(super) fn perform_only(mut performer: Performer<Tables<'_>>, batch: Batch) -> Result<Applied> {
    make(&mut performer, batch)?;
    performer.end()
}

/// Changes of one sort that follow each other are made by one statement.
fn make(performer: &mut Performer<Tables<'_>>, batch: Batch) -> Result<()> {
    lock_names(performer.tables, &batch)?;
    performer.unpin(&batch.changes)?;
    let mut changes = VecDeque::from(batch.changes);
    while let Some(change) = changes.pop_front() {
        match change {
            Change::Insert(record) if insert::is_plain(&record) => {
                let more = take_while(&mut changes, plain_insert);
                insert_plain(performer, [*record].into_iter().chain(more).collect())?;
            }
            Change::Insert(record) if insert::has_only_key(&record) => {
                let more = take_while(&mut changes, keyed_insert);
                insert_keyed(performer, [*record].into_iter().chain(more).collect())?;
            }
            Change::Settle(settlement) if settlement.verdict == Verdict::Done => {
                let more = take_while(&mut changes, done);
                let settlements: Vec<_> = [settlement].into_iter().chain(more).collect();
                finish(performer, &settlements)?;
            }
            change => performer.change(change)?,
        }
    }
    Ok(())
}

/// Inserts tasks on which nothing hangs but their unique keys: all those at once whose keys are free.
fn insert_keyed(performer: &mut Performer<Tables<'_>>, records: Vec<Record>) -> Result<()> {
    let key = |record: &Record| Some(record.options.unique.as_ref()?.key.clone());
    let keys = records.iter().map(key).collect();
    let mut taken = keys::not_free(performer.tables, keys, performer.now)?;
    // Of those that have the same key the first takes it.
    let is_free = |record: &Record| key(record).is_some_and(|key| taken.insert(key));
    let (free, judged): (Vec<_>, Vec<_>) = records.into_iter().partition(is_free);
    if !free.is_empty() {
        insert_plain(performer, free)?;
    }
    let mut judged = judged.into_iter().map(Box::new);
    judged.try_for_each(|record| performer.change(Change::Insert(record)))
}

/// Inserts tasks of which nothing has to be judged.
fn insert_plain(performer: &mut Performer<Tables<'_>>, mut records: Vec<Record>) -> Result<()> {
    let is_judged = performer.is_judged();
    if is_judged {
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        tasks::unstage(performer.tables, &ids)?;
    }
    for record in &mut records {
        lifecycle::publish(record, false, performer.now)?;
    }
    insert::insert(performer.tables, &records, is_judged)
}

/// Ends the claims of tasks that are done: at once where nothing hangs on them.
fn finish(performer: &mut Performer<Tables<'_>>, settlements: &[Settlement]) -> Result<()> {
    let session = &mut *performer.tables;
    let mut tasks = BTreeSet::new();
    // Of one that is settled twice only the rules can tell which of its claims is lost.
    let ended = if settlements.iter().all(|each| tasks.insert(each.task)) {
        ending::end(session, settlements, performer.txn)?
    } else {
        Vec::new()
    };
    if ended.len() == settlements.len() {
        return Ok(());
    }
    let ended: BTreeSet<_> = ended.into_iter().collect();
    let rest = settlements
        .iter()
        .filter(|each| !ended.contains(&each.task));
    let rest: Vec<_> = rest.collect();
    let touched: Vec<_> = rest.iter().map(|each| each.task).collect();
    lock_tasks(session, &touched, Names::default())?;
    rest.into_iter().try_for_each(|each| performer.settle(each))
}

/// Takes the locks of all names that a batch is about, then keeps the tasks that it changes from being
/// changed by others. What nearly every batch has, tasks on which nothing hangs that come or are done,
/// needs neither.
pub(super) fn lock_names(session: &mut dyn Session, batch: &Batch) -> Result<()> {
    let mut names = Names::default();
    let mut touched = Vec::new();
    for change in &batch.changes {
        match change {
            Change::Insert(record) => {
                if let Some(unique) = lifecycle::wanted_key(record) {
                    names.unique_key(&unique.key);
                }
                if let Some(group) = &record.options.group {
                    names.group(group);
                }
            }
            Change::Settle(settlement) if settlement.verdict == Verdict::Done => {}
            Change::Settle(settlement) => touched.push(settlement.task),
            Change::Amend { task, .. } => touched.push(*task),
            Change::Arrive { task, .. } => {
                names.task(*task);
                touched.push(*task);
            }
            Change::Mark { key, .. } => names.mark(key),
            Change::Room { queue, .. } => names.queue(queue),
        }
    }
    lock_tasks(session, &touched, names)
}

/// Takes the locks of `names` and of those that the tasks have, then keeps the tasks themselves. What a
/// task is called never changes, so it can be looked up before.
pub(super) fn lock_tasks(
    session: &mut dyn Session,
    touched: &[TaskId],
    mut names: Names,
) -> Result<()> {
    if touched.is_empty() {
        return names.lock(session);
    }
    let ids = touched.iter().map(|task| task.to_bytes()).collect();
    let rows = session.query(
        "SELECT t.group_key, t.unique_key FROM @.task t WHERE (t.id = ANY ($1)
             OR t.id = ANY (ARRAY(SELECT a.task FROM @.alias a WHERE a.id = ANY ($1))))
             AND (t.group_key IS NOT NULL OR t.unique_key IS NOT NULL)",
        vec![Value::Ids(ids)],
    )?;
    for row in &rows {
        if let Some(group) = column(row, 0)? {
            names.group(group);
        }
        if let Some(key) = column(row, 1)? {
            names.unique_key(key);
        }
    }
    names.lock(session)?;
    tasks::lock(session, touched)
}

/// Judges a batch that is about to be staged. After an error the caller rolls back.
///
/// All names and tasks that it is about are locked first, and stay so when what was tried is taken back.
pub(super) fn judge(
    session: &mut dyn Session,
    batch: &Batch,
    (txn, now): (TxnId, Timestamp),
) -> Result<()> {
    lock_names(session, batch)?;
    let settled: Vec<_> = batch.settlements().map(|each| each.task).collect();
    lock_tasks(session, &settled, Names::default())?;
    if !batch.is_entangled() {
        announce(session, batch, txn)?;
        return Judge::new(session, txn, now).judge(batch);
    }
    session.later("SAVEPOINT votive_judge", Vec::new())?;
    perform_only(Performer::at_once(&mut *session, now), batch.clone())?;
    session.later("ROLLBACK TO SAVEPOINT votive_judge", Vec::new())?;
    session.later("RELEASE SAVEPOINT votive_judge", Vec::new())?;
    announce(session, batch, txn)?;
    Judge::new(session, txn, now).lock(batch)
}

/// Announces all tasks of a batch, by one statement.
fn announce(session: &mut dyn Session, batch: &Batch, txn: TxnId) -> Result<()> {
    let mut ids = BTreeSet::new();
    for record in batch.inserts() {
        if !ids.insert(record.id) {
            return Err(Kind::TaskExists(record.id).into());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.into_iter().collect();
    match tasks::stage(session, &ids, txn)? {
        Some(taken) => Err(Kind::TaskExists(taken).into()),
        None => Ok(()),
    }
}
