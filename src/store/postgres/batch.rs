//! A batch in a transaction: performed when it becomes visible.

use std::collections::{BTreeSet, VecDeque};

use super::error::{Fault, Result};
use super::groups;
use super::insert;
use super::keys::{self, Reservation};
use super::names::Names;
use super::row::{TaskRow, column, id};
use super::series::{done, plain_insert, take_while};
use super::session::Session;
use super::tasks;
use super::value::Value;
use crate::id::{TaskId, TxnId};
use crate::store::lifecycle;
use crate::store::{Amendment, Applied, Batch, Change, Kind, Settlement, Verdict};
use crate::task::{OnDuplicate, Record, State, StateSet, Unique};
use crate::time::Timestamp;

/// Checks what can be judged without looking at the store.
pub(super) fn check(batch: &Batch) -> Result<()> {
    Ok(batch.changes.iter().try_for_each(lifecycle::check)?)
}

/// Whether a batch does nothing but end claims of tasks that are done: then nothing new is in the line, but
/// for a task that waited for its group.
pub(super) fn only_ends(batch: &Batch) -> bool {
    batch.changes.iter().all(|change| {
        matches!(change, Change::Settle(settlement) if settlement.verdict == Verdict::Done)
    })
}

/// Ends claims of tasks on which nothing hangs and that leave, if nobody has pinned them or `pinned` says
/// so. What follows sees as `ended` which it was.
///
/// It goes from what is asked to the task and to its claim, whatever the server takes the tables' sizes
/// for. A claim is never changed but by its deletion, so it can be deleted by the place where it was found.
/// Who [pins](tasks::pin) its task deletes it, too, and leaves another: one that is pinned while this waits
/// for it is not found.
macro_rules! ending {
    ($pinned:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (
                 SELECT c.place
                 FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS a (id, holder, token)
                 CROSS JOIN LATERAL (
                     SELECT t.seq FROM @.task t WHERE t.id = a.id AND t.is_plain LIMIT 1) t
                 CROSS JOIN LATERAL (
                     SELECT c.ctid AS place FROM @.claim c
                     WHERE c.id = a.id AND c.holder = a.holder AND c.token = a.token LIMIT 1) c
                 WHERE (SELECT p.txn FROM @.pin p WHERE p.seq = t.seq) ",
            $pinned,
            "),
             ended AS (
                 DELETE FROM @.claim c WHERE c.ctid = ANY (ARRAY(SELECT f.place FROM found f))
                 RETURNING c.seq, c.id),
             gone AS (DELETE FROM @.task t WHERE t.seq = ANY (ARRAY(SELECT e.seq FROM ended e))) "
        )
    };
}

pub(super) use ending;

/// Returns whose claim it was.
const DONE: &str = concat!(ending!("IS NULL"), "SELECT id FROM ended");

/// The same for tasks that a staged transaction has pinned.
const DONE_PINNED: &str = concat!(
    ending!("= $4"),
    ", unpinned AS (DELETE FROM @.pin p WHERE p.seq = ANY (ARRAY(SELECT e.seq FROM ended e)))
     SELECT id FROM ended"
);

/// Where and when a batch is performed.
pub(super) struct Performer<'s> {
    session: &'s mut dyn Session,
    /// Whose pins and reservations are its own.
    txn: Option<TxnId>,
    /// Whether it was judged before, when it was staged: then nothing may refuse it any more.
    judged: bool,
    now: Timestamp,
    applied: Applied,
    /// Tasks that were pinned until now and wait: what held them back may be gone meanwhile.
    waiting: Vec<TaskId>,
}

impl<'s> Performer<'s> {
    /// Performs a batch at once: judges each change as it comes.
    pub(super) fn at_once(session: &'s mut dyn Session, now: Timestamp) -> Self {
        Self {
            session,
            txn: None,
            judged: false,
            now,
            applied: Applied::default(),
            waiting: Vec::new(),
        }
    }

    /// Performs a batch that was staged for `txn`.
    pub(super) fn staged(session: &'s mut dyn Session, txn: TxnId, now: Timestamp) -> Self {
        Self {
            txn: Some(txn),
            judged: true,
            ..Self::at_once(session, now)
        }
    }

    /// Makes all changes, and clears up. After an error the caller rolls back.
    pub(super) fn perform(mut self, batch: Batch) -> Result<Applied> {
        self.make(batch)?;
        tasks::drop_expired(self.session, self.now)?;
        Ok(self.applied)
    }

    /// Makes all changes, and nothing else.
    pub(super) fn perform_only(mut self, batch: Batch) -> Result<Applied> {
        self.make(batch)?;
        Ok(self.applied)
    }

    /// Changes of one sort that follow each other are made by one statement.
    fn make(&mut self, batch: Batch) -> Result<()> {
        lock_names(self.session, &batch)?;
        let mut changes = VecDeque::from(batch.changes);
        while let Some(change) = changes.pop_front() {
            match change {
                Change::Insert(record) if insert::is_plain(&record) => {
                    let more = take_while(&mut changes, plain_insert);
                    self.insert_plain([*record].into_iter().chain(more).collect())?;
                }
                Change::Settle(settlement) if settlement.verdict == Verdict::Done => {
                    let more = take_while(&mut changes, done);
                    let settlements: Vec<_> = [settlement].into_iter().chain(more).collect();
                    self.finish(&settlements)?;
                }
                change => self.change(change)?,
            }
        }
        for task in std::mem::take(&mut self.waiting) {
            if let Some(row) = tasks::find(self.session, task)? {
                tasks::unblock(self.session, row, self.now)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Insert(record) => self.insert(*record),
            Change::Settle(settlement) => self.settle(&settlement),
            Change::Amend {
                task,
                expect,
                amendment,
            } => self.amend(task, expect, &amendment),
            Change::Arrive { task, done } => tasks::arrive(self.session, task, done, self.now),
            Change::Mark { key, expect, value } => {
                self.mark(&key, expect.as_deref(), value.as_deref())
            }
            Change::Room { queue, pending_max } => {
                if self.judged {
                    return Ok(());
                }
                refuse_full(self.session, &queue, (0, pending_max))
            }
        }
    }

    /// Inserts tasks on which nothing hangs.
    fn insert_plain(&mut self, mut records: Vec<Record>) -> Result<()> {
        self.unstage(&records)?;
        for record in &mut records {
            lifecycle::publish(record, false, self.now)?;
        }
        insert::insert(self.session, &records, self.judged)
    }

    fn unstage(&mut self, records: &[Record]) -> Result<()> {
        if !self.judged {
            return Ok(());
        }
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        tasks::unstage(self.session, &ids)
    }

    fn insert(&mut self, mut record: Record) -> Result<()> {
        self.unstage(std::slice::from_ref(&record))?;
        if let Some(unique) = lifecycle::wanted_key(&record) {
            match keys::key_holder(self.session, &unique.key)? {
                Some(holder) if self.merges(unique, &holder)? => {
                    return self.merge(record.id, holder.record.id);
                }
                _ => self.refuse_reserved(Reservation::UniqueKey, &unique.key)?,
            }
        }
        let group_busy = groups::is_busy(self.session, &record)?;
        lifecycle::publish(&mut record, group_busy, self.now)?;
        insert::insert(self.session, std::slice::from_ref(&record), self.judged)?;
        insert::insert_rest(self.session, &record)?;
        match &record.options.group {
            Some(group) if group_busy => groups::pass_on(self.session, group, self.now),
            _ => Ok(()),
        }
    }

    /// Whether a task merges into the holder of its key; an error if it is refused instead.
    fn merges(&self, unique: &Unique, holder: &TaskRow) -> Result<bool> {
        if self.judged {
            return Ok(unique.on_duplicate == OnDuplicate::Merge);
        }
        refuse_holder(unique, holder, self.txn)?;
        Ok(true)
    }

    fn merge(&mut self, id: TaskId, holder: TaskId) -> Result<()> {
        if !self.judged {
            tasks::refuse_known(self.session, id)?;
        }
        keys::merge(self.session, id, holder)?;
        self.applied.merged.push((id, holder));
        Ok(())
    }

    /// Ends the claims of tasks that are done: at once where nothing hangs on them.
    fn finish(&mut self, settlements: &[Settlement]) -> Result<()> {
        let mut values = endings(settlements);
        let ended = match self.txn {
            Some(txn) => {
                values.push(txn.into());
                self.session.query(DONE_PINNED, values)?
            }
            None => self.session.query(DONE, values)?,
        };
        if ended.len() == settlements.len() {
            return Ok(());
        }
        let ended = ended.iter().map(|row| Ok(TaskId::from_bytes(id(row, 0)?)));
        let mut ended = ended.collect::<Result<BTreeSet<_>>>()?;
        // One that is settled twice in a batch was settled once.
        let rest = settlements.iter().filter(|each| !ended.remove(&each.task));
        let rest: Vec<_> = rest.collect();
        let touched: Vec<_> = rest.iter().map(|each| each.task).collect();
        lock_tasks(self.session, &touched, Names::default())?;
        rest.into_iter().try_for_each(|each| self.settle(each))
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<()> {
        let row = tasks::find(self.session, settlement.task)?;
        let mut row = claimed(row, settlement)?;
        refuse_pinned(&row, self.txn)?;
        let before = row.record.state;
        let fate = lifecycle::settle(&mut row.record, settlement, self.now)?;
        row.claim = None;
        row.pinned = None;
        tasks::keep(self.session, before, &row, fate, self.now)
    }

    fn amend(&mut self, task: TaskId, expect: StateSet, amendment: &Amendment) -> Result<()> {
        match self.try_amend(task, expect, amendment) {
            // What a task said of how far it was pins nothing, and means nothing once it has ended.
            Err(fault)
                if self.judged
                    && matches!(amendment, Amendment::Progress(_))
                    && fault.is_verdict() =>
            {
                Ok(())
            }
            amended => amended,
        }
    }

    fn try_amend(&mut self, task: TaskId, expect: StateSet, amendment: &Amendment) -> Result<()> {
        let row = tasks::follow(self.session, task)?;
        let row = row.ok_or_else(|| missing(task))?;
        if !matches!(amendment, Amendment::Progress(_)) {
            refuse_busy(self.session, &row, self.txn)?;
        }
        self.amend_row(row, expect, amendment)
    }

    fn amend_row(
        &mut self,
        mut row: TaskRow,
        expect: StateSet,
        amendment: &Amendment,
    ) -> Result<()> {
        let before = row.record.state;
        let group_busy = groups::is_busy(self.session, &row.record)?;
        let fate = lifecycle::amend(&mut row.record, expect, amendment, group_busy, self.now)?;
        match amendment {
            Amendment::Progress(_) => {}
            Amendment::Revive => {
                tasks::drop_prerequisites(self.session, &row.record)?;
                row.pinned = None;
            }
            _ => row.pinned = None,
        }
        if self.judged && row.record.state == State::Waiting {
            self.waiting.push(row.record.id);
        }
        tasks::keep(self.session, before, &row, fate, self.now)
    }

    fn mark(&mut self, key: &str, expect: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        if !self.judged {
            self.refuse_reserved(Reservation::Mark, key)?;
            if tasks::mark(self.session, key)?.as_deref() != expect {
                return Err(Kind::MarkChanged(key.to_owned()).into());
            }
        }
        tasks::set_mark(self.session, key, value)
    }

    fn refuse_reserved(&mut self, what: Reservation, name: &str) -> Result<()> {
        if !self.judged && keys::is_reserved(self.session, what, name, None)? {
            return Err(Kind::Conflict.into());
        }
        Ok(())
    }
}

/// The parameters of [`DONE`].
pub(super) fn endings(settlements: &[Settlement]) -> Vec<Value> {
    let column = |number: fn(&Settlement) -> i64| {
        Value::Integers(settlements.iter().map(|each| Some(number(each))).collect())
    };
    let ids = settlements
        .iter()
        .map(|each| each.task.to_bytes())
        .collect();
    vec![
        Value::Ids(ids),
        column(|each| each.token.incarnation.to_u64().cast_signed()),
        column(|each| each.token.count.cast_signed()),
    ]
}

/// Refuses a queue in which more tasks are pending than may be, with so many that are to come. Exact for
/// all who ask, because each holds the lock of the queue's name until its transaction has ended.
pub(super) fn refuse_full(
    session: &mut dyn Session,
    queue: &str,
    (coming, max): (u64, u64),
) -> Result<()> {
    let pending = tasks::pending_count(session, queue, max.saturating_add(1))?;
    Ok(lifecycle::check_room(
        queue,
        pending.saturating_add(coming),
        max,
    )?)
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

/// Returns the row if the settlement's claim is the present one.
pub(super) fn claimed(row: Option<TaskRow>, settlement: &Settlement) -> Result<TaskRow> {
    let lost = || Kind::ClaimLost(settlement.task);
    let row = row.ok_or_else(lost)?;
    let token = row.claim.as_ref().map(|claim| claim.token);
    if token == Some(settlement.token) {
        Ok(row)
    } else {
        Err(lost().into())
    }
}

/// Refuses to merge into the holder of a key if the new task must not, or if the holder may be about to
/// leave.
pub(super) fn refuse_holder(unique: &Unique, holder: &TaskRow, txn: Option<TxnId>) -> Result<()> {
    if unique.on_duplicate == OnDuplicate::Refuse {
        return Err(not_unique(unique, holder.record.id));
    }
    if holder.pinned.is_some() && holder.pinned != txn {
        return Err(Kind::Conflict.into());
    }
    Ok(())
}

/// Refuses to amend what a staged batch was judged by: its task, or the holder of its key.
pub(super) fn refuse_busy(
    session: &mut dyn Session,
    row: &TaskRow,
    txn: Option<TxnId>,
) -> Result<()> {
    match row.pinned {
        Some(pinned) if Some(pinned) == txn => return Ok(()),
        Some(_) if row.claim.is_some() => return Err(Kind::Pinned(row.record.id).into()),
        Some(_) => return Err(Kind::Conflict.into()),
        None => {}
    }
    match &row.record.options.unique {
        Some(unique)
            if keys::holds_key(session, row.record.id, &unique.key)?
                && keys::is_reserved(session, Reservation::UniqueKey, &unique.key, txn)? =>
        {
            Err(Kind::Conflict.into())
        }
        _ => Ok(()),
    }
}

pub(super) fn refuse_pinned(row: &TaskRow, txn: Option<TxnId>) -> Result<()> {
    match row.pinned {
        Some(pinned) if Some(pinned) != txn => Err(Kind::Pinned(row.record.id).into()),
        _ => Ok(()),
    }
}

pub(super) fn not_unique(unique: &Unique, holder: TaskId) -> Fault {
    let key = unique.key.clone();
    Kind::NotUnique { key, holder }.into()
}

pub(super) fn missing(task: TaskId) -> Fault {
    Kind::StateChanged {
        task,
        found: "missing",
    }
    .into()
}
