//! What follows from the end of a task, in the step in which it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::TaskId;
use crate::queue::data_manager::Buffer;
use crate::queue::{Queue, change};
use crate::store::{self, Amendment, Change, Kind, Listed, Settlement, Store, Verdict};
use crate::task::{FollowUp, Record, State, StateSet};
use crate::txn::{BoxError, Work};

/// Adds the end of a claim to what `work` does to `store`, with all that follows from it: tasks that
/// waited for this one are told that it is done, and follow-ups are enqueued.
///
/// When the task becomes Dead, those that wait for it go on waiting, so that it can be revived; but if
/// one of them has an `on_failure`, it and what leads to it are cancelled, and that is enqueued.
///
/// # Errors
/// The store could not be asked, or a follow-up cannot be read. What was added so far is to be aborted.
pub fn settle_claim(
    store: &Arc<dyn Store>,
    work: &mut Work,
    record: &Record,
    settlement: Settlement,
) -> Result<(), BoxError> {
    let verdict = settlement.verdict;
    change(store, work, Change::Settle(settlement))?;
    let options = &record.options;
    match verdict {
        Verdict::Done => {
            for &task in &options.announces {
                let done = record.id;
                change(store, work, Change::Arrive { task, done })?;
            }
            follow(store, work, record, options.on_success.as_deref())
        }
        Verdict::Bury { .. } => {
            follow(store, work, record, options.on_failure.as_deref())?;
            give_up_dependents(store, work, record)
        }
        _ => Ok(()),
    }
}

/// Enqueues a follow-up.
fn follow(
    store: &Arc<dyn Store>,
    work: &mut Work,
    record: &Record,
    follow_up: Option<&FollowUp>,
) -> Result<(), BoxError> {
    let Some(follow_up) = follow_up else {
        return Ok(());
    };
    let now = store.now()?;
    let id = TaskId::within(work.id(), work.count_up(), now);
    let queue = follow_up.queue.as_ref().unwrap_or(&record.queue).clone();
    let (kind, payload) = (follow_up.kind.clone(), follow_up.payload.clone());
    let mut options = follow_up.options()?;
    let settings = Queue::new(Arc::clone(store), queue.clone())?.settings()?;
    settings.complete(&kind, &mut options);
    let next = Record::new(id, queue, kind, payload, now).with_options(options.shared());
    change(store, work, Change::Insert(Box::new(next)))?;
    Ok(())
}

/// Cancels those that wait for a dead task and have something to be done in their place, and what is
/// on the way to them.
fn give_up_dependents(
    store: &Arc<dyn Store>,
    work: &mut Work,
    dead: &Record,
) -> Result<(), BoxError> {
    if dead.options.announces.is_empty() {
        return Ok(());
    }
    let waiting = waiting_behind(store, work, dead)?;
    for task in given_up(&waiting) {
        let Some(record) = waiting.get(&task) else {
            continue;
        };
        let expect = StateSet::of(&[State::Waiting]);
        let amendment = Amendment::Cancel;
        let cancel = Change::Amend {
            task,
            expect,
            amendment,
        };
        change(store, work, cancel)?;
        follow(store, work, record, record.options.on_failure.as_deref())?;
    }
    Ok(())
}

/// Finds all tasks that wait for a task, or for one that waits for it, and so on; without those that
/// `work` cancels already.
fn waiting_behind(
    store: &Arc<dyn Store>,
    work: &mut Work,
    task: &Record,
) -> Result<BTreeMap<TaskId, Record>, BoxError> {
    let mut waiting = BTreeMap::new();
    let mut next = task.options.announces.clone();
    while let Some(id) = next.pop() {
        if waiting.contains_key(&id) || Buffer::join(store, work)?.amends(id) {
            continue;
        }
        let found = readable(store.get(id))?.map(|listed| listed.record);
        if let Some(record) = found.filter(|record| record.state == State::Waiting) {
            next.extend(&record.options.announces);
            waiting.insert(id, record);
        }
    }
    Ok(waiting)
}

/// Leaves out a task that cannot be read: it goes on waiting, as those do that have nothing to be done in their place.
fn readable(found: store::Result<Option<Listed>>) -> store::Result<Option<Listed>> {
    match found {
        Err(error) if matches!(error.kind, Kind::Corrupt(_) | Kind::NewerVersion { .. }) => {
            tracing::error!(%error, "a task that waits for a dead one cannot be read");
            Ok(None)
        }
        found => found,
    }
}

/// Returns those that have an `on_failure`, and those on the way to them.
fn given_up(waiting: &BTreeMap<TaskId, Record>) -> BTreeSet<TaskId> {
    let mut given_up = BTreeSet::new();
    loop {
        let leads = |record: &Record, known: &BTreeSet<TaskId>| {
            let options = &record.options;
            options.on_failure.is_some() || options.announces.iter().any(|id| known.contains(id))
        };
        let more = waiting
            .iter()
            .filter(|(_, record)| leads(record, &given_up));
        let more: BTreeSet<_> = more.map(|(id, _)| *id).collect();
        if more.len() == given_up.len() {
            return given_up;
        }
        given_up = more;
    }
}
