//! Tasks that wait for one another: one after the other, or one after all of a group.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::TaskId;
use crate::queue::data_manager::Buffer;
use crate::queue::{Enlist, EnlistError, Enlisted, EnqueueError, Queue};
use crate::store::{Batch, Change};
use crate::task::{FollowUp, Name, OnDuplicate, Options, Payload, PayloadError, Record, Task};
use crate::time::Timestamp;
use crate::txn::Work;

/// How long a task that another one waits for is kept when it is done, with its result, unless its
/// options say something else.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3_600);

/// Tasks that run one after the other, each when the one before is done.
///
/// All are enqueued together. While a task is dead or cancelled the next ones wait, and go on when it is
/// revived and done; unless there is an [`on_failure`](Self::on_failure). A task finds those that it
/// waited for, and so their results, with `Context::prerequisites`; all but the last one therefore have
/// a retention, by default [`RETENTION_DEFAULT`].
///
/// ```
/// # use votive::{Queue, TransactionManager};
/// use votive::queue::Chain;
/// use votive::task::State;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Step(u8);
/// # impl votive::Task for Step { const KIND: &'static str = "step"; }
///
/// let queue = Queue::new(votive::open("memory://")?, "default")?;
/// let mut txn = TransactionManager::new().begin()?;
/// let tasks = Chain::new().then(Step(1)).then(Step(2)).enqueue(&queue, &mut txn)?;
/// txn.commit()?;
/// let listed = |task| queue.store().get(task);
/// let states = [listed(tasks[0])?, listed(tasks[1])?].map(|found| found.map(|listed| listed.record.state));
/// assert_eq!(states, [Some(State::Ready), Some(State::Waiting)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing is enqueued before `enqueue`"]
pub struct Chain {
    members: Members,
    on_failure: Option<FollowUp>,
}

/// Tasks that run in any order, also at the same time, and one more when all of them are done.
///
/// All are enqueued together. What is said of [`Chain`] holds for the last one and the others.
#[doc(alias = "chord")]
#[derive(Debug, Default)]
#[must_use = "nothing is enqueued before `enqueue`"]
pub struct Group {
    members: Members,
    callback: Members,
    on_failure: Option<FollowUp>,
}

/// The ids of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouped {
    /// The members, in the order in which they were added.
    pub members: Vec<TaskId>,
    /// The task that runs when all of them are done, if there is one.
    pub callback: Option<TaskId>,
}

/// Tasks that are about to be encoded.
#[derive(Debug, Default)]
struct Members(Vec<Member>);

/// A task that is about to be inserted, and how many may be pending in its queue.
struct Planned {
    record: Record,
    capacity: Option<u64>,
}

struct Member {
    /// Where it goes, if not where the whole goes.
    queue: Option<Queue>,
    kind: Name,
    encode: Encode,
}

/// Encodes a task within the limits of the queue that it goes into.
type Encode = Box<dyn FnOnce(&Queue) -> Result<(Payload, Options), PayloadError> + Send>;

impl Chain {
    /// Creates a chain without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task with the options of its kind.
    pub fn then<T: Task>(self, task: T) -> Self {
        self.then_with(task, T::options())
    }

    /// Adds a task with options of its own.
    pub fn then_with<T: Task>(mut self, task: T, options: Options) -> Self {
        self.members.add(None, task, options);
        self
    }

    /// Adds a task to another queue of the same store.
    pub fn then_in<T: Task>(mut self, queue: &Queue, task: T, options: Options) -> Self {
        self.members.add(Some(queue), task, options);
        self
    }

    /// Sets what is enqueued if a task of the chain becomes Dead: then the rest of the chain is
    /// cancelled in the same step. Either the last task gets done or this is enqueued, never both.
    /// Defaults to none.
    pub fn on_failure(mut self, follow_up: FollowUp) -> Self {
        self.on_failure = Some(follow_up);
        self
    }

    /// Enqueues all tasks, each encoded within the limits of its queue. They become visible when `work` commits.
    ///
    /// # Errors
    /// Nothing was enqueued: a task cannot be encoded, or would merge into another one, or is for a
    /// queue in another store.
    pub fn enqueue(self, queue: &Queue, work: &mut Work) -> Result<Vec<TaskId>, EnqueueError> {
        let records = self.records(queue, &mut minting(work))?;
        insert_all(queue, work, records)
    }

    /// Writes all tasks into a transaction of the caller's.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), and as [`Enlisted::enqueue`].
    pub fn enlist<E: Enlist>(self, enlisted: &mut Enlisted<E>) -> Result<Vec<TaskId>, EnlistError> {
        let records = self.records(&enlisted.queue, &mut TaskId::new)?;
        write_all(enlisted, records)
    }

    fn records(
        self,
        queue: &Queue,
        mint: &mut dyn FnMut(Timestamp) -> TaskId,
    ) -> Result<Vec<Planned>, EnqueueError> {
        let mut records = self.members.records(queue, mint)?;
        for next in 1..records.len() {
            if let Some([before, after]) = records.get_mut(next - 1..=next) {
                link(&mut before.record, &mut after.record);
            }
        }
        if let Some(last) = records.last_mut() {
            fail_into(&mut last.record, self.on_failure, queue)?;
        }
        Ok(records)
    }
}

impl Group {
    /// Creates a group without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task with the options of its kind.
    #[expect(clippy::should_implement_trait, reason = "it takes a task of any type")]
    pub fn add<T: Task>(self, task: T) -> Self {
        self.add_with(task, T::options())
    }

    /// Adds a task with options of its own.
    pub fn add_with<T: Task>(mut self, task: T, options: Options) -> Self {
        self.members.add(None, task, options);
        self
    }

    /// Adds a task to another queue of the same store.
    pub fn add_in<T: Task>(mut self, queue: &Queue, task: T, options: Options) -> Self {
        self.members.add(Some(queue), task, options);
        self
    }

    /// Sets the task that runs when all others are done, with the options of its kind. Defaults to none.
    pub fn then<T: Task>(self, task: T) -> Self {
        self.then_with(task, T::options())
    }

    /// Sets the task that runs when all others are done, with options of its own.
    pub fn then_with<T: Task>(mut self, task: T, options: Options) -> Self {
        self.callback = Members::default();
        self.callback.add(None, task, options);
        self
    }

    /// Sets what is enqueued if a member, or the last task, becomes Dead: then the last task is cancelled
    /// in the same step. Either that gets done or this is enqueued, never both, and only once. Needs a
    /// last task. Defaults to none.
    pub fn on_failure(mut self, follow_up: FollowUp) -> Self {
        self.on_failure = Some(follow_up);
        self
    }

    /// Enqueues all tasks. They become visible when `work` commits.
    ///
    /// # Errors
    /// As [`Chain::enqueue`].
    pub fn enqueue(self, queue: &Queue, work: &mut Work) -> Result<Grouped, EnqueueError> {
        let has_callback = self.has_callback();
        let records = self.records(queue, &mut minting(work))?;
        Ok(Grouped::of(insert_all(queue, work, records)?, has_callback))
    }

    /// Writes all tasks into a transaction of the caller's.
    ///
    /// # Errors
    /// As [`Chain::enlist`].
    pub fn enlist<E: Enlist>(self, enlisted: &mut Enlisted<E>) -> Result<Grouped, EnlistError> {
        let has_callback = self.has_callback();
        let records = self.records(&enlisted.queue, &mut TaskId::new)?;
        Ok(Grouped::of(write_all(enlisted, records)?, has_callback))
    }

    fn has_callback(&self) -> bool {
        !self.callback.0.is_empty()
    }

    /// The members, and the last task after them.
    fn records(
        self,
        queue: &Queue,
        mint: &mut dyn FnMut(Timestamp) -> TaskId,
    ) -> Result<Vec<Planned>, EnqueueError> {
        let mut records = self.members.records(queue, mint)?;
        let callback = self.callback.records(queue, mint)?;
        match (callback.into_iter().next(), self.on_failure) {
            (Some(mut callback), on_failure) => {
                for member in &mut records {
                    link(&mut member.record, &mut callback.record);
                }
                fail_into(&mut callback.record, on_failure, queue)?;
                records.push(callback);
            }
            (None, Some(_)) => {
                let text = "a group that has an `on_failure` needs a last task, which it replaces";
                return Err(EnqueueError::Invalid(text.to_owned()));
            }
            (None, None) => {}
        }
        Ok(records)
    }
}

impl Grouped {
    fn of(mut members: Vec<TaskId>, has_callback: bool) -> Self {
        let callback = if has_callback { members.pop() } else { None };
        Self { members, callback }
    }
}

impl Members {
    fn add<T: Task>(&mut self, queue: Option<&Queue>, task: T, options: Options) {
        self.0.push(Member {
            queue: queue.cloned(),
            kind: Name::fixed(T::KIND),
            encode: Box::new(move |queue: &Queue| queue.encode(&task, options)),
        });
    }

    fn records(
        self,
        queue: &Queue,
        mint: &mut dyn FnMut(Timestamp) -> TaskId,
    ) -> Result<Vec<Planned>, EnqueueError> {
        let members = self.0.into_iter();
        members.map(|member| member.record(queue, mint)).collect()
    }
}

impl Member {
    fn record(
        self,
        whole: &Queue,
        mint: &mut dyn FnMut(Timestamp) -> TaskId,
    ) -> Result<Planned, EnqueueError> {
        let queue = self.queue.as_ref().unwrap_or(whole);
        let (found, expected) = (queue.store().id(), whole.store().id());
        if found != expected {
            return Err(EnqueueError::OtherStore { found, expected });
        }
        let (payload, options) = (self.encode)(queue)?;
        let unique = options.unique.as_ref();
        if unique.is_some_and(|unique| unique.on_duplicate == OnDuplicate::Merge) {
            let text = "a task of a chain or a group must not merge into another, which nobody waits \
                        for: let its unique key refuse";
            return Err(EnqueueError::Invalid(text.to_owned()));
        }
        let (record, capacity) = queue.record(self.kind, payload, options, mint)?;
        Ok(Planned { record, capacity })
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Has one task wait for another, which is kept for it.
fn link(before: &mut Record, after: &mut Record) {
    let options = Arc::make_mut(&mut before.options);
    options.announces.push(after.id);
    options.retention.get_or_insert(RETENTION_DEFAULT);
    Arc::make_mut(&mut after.options).waits_for.push(before.id);
}

/// Sets what is enqueued in place of a task. It has a follow-up already if its own options say so.
fn fail_into(
    last: &mut Record,
    on_failure: Option<FollowUp>,
    queue: &Queue,
) -> Result<(), EnqueueError> {
    let Some(on_failure) = on_failure else {
        return Ok(());
    };
    super::check_follow_up(&on_failure, queue.name())?;
    let options = Arc::make_mut(&mut last.options);
    if options.on_failure.replace(Box::new(on_failure)).is_some() {
        let text = "the last task has an `on_failure` of its own already";
        return Err(EnqueueError::Invalid(text.to_owned()));
    }
    Ok(())
}

fn minting(work: &mut Work) -> impl FnMut(Timestamp) -> TaskId {
    move |now| TaskId::within(work.id(), work.count_up(), now)
}

fn insert_all(
    queue: &Queue,
    work: &mut Work,
    planned: Vec<Planned>,
) -> Result<Vec<TaskId>, EnqueueError> {
    let tasks = planned.iter().map(|task| task.record.id).collect();
    let buffer = Buffer::join(queue.store(), work)?;
    for Planned { record, capacity } in planned {
        buffer.limit(&record.queue, capacity);
        buffer.push(Change::Insert(Box::new(record)));
    }
    Ok(tasks)
}

fn write_all<E: Enlist>(
    enlisted: &mut Enlisted<E>,
    planned: Vec<Planned>,
) -> Result<Vec<TaskId>, EnlistError> {
    let tasks = planned.iter().map(|task| task.record.id).collect();
    let mut rooms = BTreeMap::new();
    let mut batch = Batch::default();
    for Planned { record, capacity } in planned {
        rooms.extend(capacity.map(|pending_max| (record.queue.to_string(), pending_max)));
        batch.changes.push(Change::Insert(Box::new(record)));
    }
    let rooms = rooms.into_iter();
    let rooms = rooms.map(|(queue, pending_max)| Change::Room { queue, pending_max });
    batch.changes.extend(rooms);
    if !batch.is_empty() {
        let store = Arc::clone(enlisted.queue.store());
        enlisted.transaction.write(&*store, batch)?;
    }
    Ok(tasks)
}
