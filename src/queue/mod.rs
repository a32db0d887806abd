//! The only place where transactions meet the store contract: a task is visible if and only if the
//! transaction that enqueued it committed.
//!
//! | file | what it does |
//! | --- | --- |
//! | `data_manager` | buffers what one transaction does to one store, and votes with it |
//! | `handle` | waits for a task and reads its result |
//! | `ending` | what follows from the end of a task |
//! | `about` | which tasks concern an object, and whether it may be changed now |
//! | `queues` | finds the queue of a kind in a store |
//! | `draft` | a task with options of its own, on its way into a queue |
//! | `enlist` `enlist_async` | writes into a transaction that the application itself holds |
//! | `decision` | what recovery does with a staged batch: pure |
//! | `recovery` | asks registers about staged batches, and does what `decision` says |
//! | `databases` | tells databases that prepared how their transactions ended |
//! | `garbage` | forgets outcome records that nobody can ask for any more |
//! | `chain` | has tasks wait for one another |
//! | `copy` | moves tasks to another store |
//! | `mark` | what is kept as JSON and changed by compare-and-set |
//! | `rate` | how many tasks of a queue may start, over all consumers together |
//! | `settings` | what an operator says of a queue, for all processes at once |
//! | `trace` | carries the trace of who enqueues |
//! | `turn` | has a fleet do a piece of work once |
//! | `periodic` | turns the times of schedules into tasks, each once |
//! | `operator` | lists what is in doubt, and settles it by a person's word |

mod about;
mod chain;
mod copy;
mod data_manager;
mod databases;
pub mod decision;
mod draft;
mod ending;
mod enlist;
mod enlist_async;
mod error;
pub mod garbage;
mod handle;
mod mark;
mod operator;
#[cfg(feature = "periodic")]
mod periodic;
mod queues;
mod rate;
mod recovery;
mod settings;
mod trace;
mod turn;

use std::fmt;
use std::sync::Arc;

pub use about::{Guarded, guard, unfinished_about};
pub use chain::{Chain, Group, Grouped, RETENTION_DEFAULT};
pub use copy::{Copied, CopyError, Left, copy};
pub use data_manager::HandedBatch;
pub use databases::InDatabases;
pub use draft::Draft;
pub use ending::settle_claim;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use enlist::as_own;
pub use enlist::{Enlist, EnlistError, Enlisted, RenderedTask};
pub use enlist_async::{EnlistAsync, EnlistedAsync};
pub use error::{EnqueueError, OperatorError};
pub use handle::{Ended, ResultError, TaskHandle, WaitError};
pub use operator::{Heuristic, Settled, Wish, forget_heuristic, heuristics, in_doubt, settle};
#[cfg(feature = "periodic")]
pub use periodic::{
    CatchUp, PERIODIC_PREFIX, Periodic, PeriodicError, PeriodicInfo, periodic, remove_periodic,
};
#[cfg(feature = "periodic")]
pub(crate) use periodic::{Entry, Next};
pub use queues::{Destination, Queues};
pub(crate) use rate::Allowed;
pub use rate::Rate;
pub use recovery::{GRACE_DEFAULT, Recovered, recover, recover_in_turn, recover_older_than};
pub use settings::{Pause, Settings, Status, all_settings};
pub use trace::carry_trace;
pub use turn::take_turn;

use crate::codec::CodecError;
use crate::id::TaskId;
use crate::store::{self, Amendment, Applied, Batch, Change, Kind, Store};
use crate::task::{
    FollowUp, Name, Options, Payload, PayloadError, PayloadLimits, Record, StateSet, Task, Unique,
};
use crate::time::Timestamp;
use crate::txn::{BeginError, JoinError, TransactionManager, Work};
use data_manager::Buffer;
use settings::Known;

/// The longest name of a queue or kind, and the longest key, in bytes.
pub const NAME_MAX: usize = 255;

/// A named queue in a store. Cheap to clone.
///
/// Several queues may share a store; whatever one transaction enqueues into them is one batch.
///
/// ```
/// # use std::sync::Arc;
/// use votive::queue::Queue;
/// use votive::store::memory::MemoryStore;
/// use votive::txn::TransactionManager;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl votive::Task for Greet {
///     const KIND: &'static str = "greet";
/// }
///
/// let queue = Queue::new(Arc::new(MemoryStore::new()), "default")?;
/// let mut txn = TransactionManager::new().begin()?;
/// let task = queue.enqueue(&mut txn, &Greet { name: "Ann".into() })?;
/// assert!(queue.store().get(task)?.is_none());
/// txn.commit()?;
/// assert!(queue.store().get(task)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queue {
    store: Arc<dyn Store>,
    name: Name,
    limits: PayloadLimits,
    known: Known,
}

impl Queue {
    /// Names a queue in a store. It need not have been created.
    ///
    /// # Errors
    /// [`EnqueueError::Invalid`] if the name is empty or longer than [`NAME_MAX`] bytes.
    pub fn new(store: Arc<dyn Store>, name: impl Into<Name>) -> Result<Self, EnqueueError> {
        let name = name.into();
        check_name("the name of a queue", &name)?;
        Ok(Self {
            store,
            name,
            limits: PayloadLimits::default(),
            known: Known::default(),
        })
    }

    /// Names a queue in a store, and settles what crashes left in doubt there (see [`recover`]).
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`EnqueueError::Store`] if the store could not be recovered.
    pub fn open(
        store: Arc<dyn Store>,
        name: impl Into<Name>,
        manager: &TransactionManager,
    ) -> Result<Self, EnqueueError> {
        let queue = Self::new(store, name)?;
        recover(&queue.store, manager)?;
        Ok(queue)
    }

    /// Sets how large and how deeply nested payloads may be. Defaults to
    /// [`PayloadLimits::default`].
    #[must_use]
    pub fn payload_limits(mut self, limits: PayloadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns all queues of its store, with the same limits of payloads.
    #[must_use]
    pub fn siblings(&self) -> Queues {
        Queues::new(Arc::clone(&self.store)).payload_limits(self.limits)
    }

    /// Returns the store that the queue is in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Enqueues a task with the options of its kind. It becomes visible when `work` commits.
    ///
    /// The task is encoded now: a later change of the value is not stored. The id is final. Whether the
    /// queue has room for it, if that is [limited](Settings::capacity), is judged at the vote.
    ///
    /// # Errors
    /// Nothing was enqueued; the transaction can go on.
    pub fn enqueue<T: Task>(&self, work: &mut Work, task: &T) -> Result<TaskId, EnqueueError> {
        self.enqueue_with(work, task, T::options())
    }

    /// Enqueues a task with options of its own.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_with<T: Task>(
        &self,
        work: &mut Work,
        task: &T,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        let (payload, options) = self.encode(task, options)?;
        self.enqueue_payload(work, Name::fixed(T::KIND), payload, options)
    }

    /// Encodes a task within the queue's limits, and completes its options by what only its payload tells.
    fn encode<T: Task>(
        &self,
        task: &T,
        mut options: Options,
    ) -> Result<(Payload, Options), PayloadError> {
        let payload = Payload::encode(task, self.limits)?;
        options.unique = options.unique.or_else(|| Unique::of_kind::<T>(&payload));
        Ok((payload, options))
    }

    /// Enqueues a task that is encoded already.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_payload(
        &self,
        work: &mut Work,
        kind: impl Into<Name>,
        payload: Payload,
        options: Options,
    ) -> Result<TaskId, EnqueueError> {
        let number = work.count_up();
        let mint = |now| TaskId::within(work.id(), number, now);
        let (record, capacity) = self.record(kind.into(), payload, options, mint)?;
        let task = record.id;
        let buffer = Buffer::join(&self.store, work)?;
        buffer.push(Change::Insert(Box::new(record)));
        buffer.limit(&self.name, capacity);
        Ok(task)
    }

    /// Has a visible task that has not started run no earlier than `at`, or at once, as soon as `work` commits.
    ///
    /// # Errors
    /// Nothing was added to the transaction. Its commit is refused, with
    /// [`Kind::StateChanged`], if the task has started or ended by then.
    pub fn reschedule(
        &self,
        work: &mut Work,
        task: TaskId,
        at: Option<Timestamp>,
    ) -> Result<(), JoinError> {
        self.amend(work, task, StateSet::PENDING, Amendment::Reschedule(at))
    }

    /// Has a visible task that has not started never run, as soon as `work` commits. It stays, as Cancelled, and its
    /// unique key is free.
    ///
    /// # Errors
    /// Nothing was added to the transaction. Its commit is refused, with
    /// [`Kind::StateChanged`], if the task has started or ended by then.
    pub fn cancel(&self, work: &mut Work, task: TaskId) -> Result<(), JoinError> {
        self.amend(work, task, StateSet::PENDING, Amendment::Cancel)
    }

    /// Has a task that is dead, cancelled, or done and retained run again, with its counts at zero, as soon as `work`
    /// commits.
    ///
    /// # Errors
    /// Nothing was added to the transaction. Its commit is refused, with
    /// [`Kind::StateChanged`], if the task has not ended or is gone.
    pub fn retry(&self, work: &mut Work, task: TaskId) -> Result<(), JoinError> {
        self.amend(work, task, StateSet::ENDED, Amendment::Revive)
    }

    fn amend(
        &self,
        work: &mut Work,
        task: TaskId,
        expect: StateSet,
        amendment: Amendment,
    ) -> Result<(), JoinError> {
        let amend = Change::Amend {
            task,
            expect,
            amendment,
        };
        change(&self.store, work, amend)
    }

    /// Makes the record of a task, refusing what no store would take; and says how many may be pending.
    fn record(
        &self,
        kind: Name,
        payload: Payload,
        mut options: Options,
        mint: impl FnOnce(Timestamp) -> TaskId,
    ) -> Result<(Record, Option<u64>), EnqueueError> {
        check_name("the kind of a task", &kind)?;
        check_options(&options, &self.name)?;
        self.check_size(&kind, &payload)?;
        options.trace = options.trace.or_else(trace::present);
        if let Some(trace) = &options.trace {
            check_name("a trace", trace)?;
        }
        let now = self.store.now()?;
        let settings = self.known_settings(now)?;
        settings.complete(&kind, &mut options);
        let record = Record::new(mint(now), &self.name, kind, payload, now);
        Ok((record.with_options(options.shared()), settings.capacity))
    }

    fn check_size(&self, kind: &str, payload: &Payload) -> Result<(), PayloadError> {
        let (size, max) = (payload.bytes.len(), self.limits.size_max);
        if size <= max {
            return Ok(());
        }
        Err(PayloadError {
            kind: kind.to_owned(),
            source: CodecError::TooLarge { size, max },
        })
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name)
            .field("store", &self.store.id())
            .finish_non_exhaustive()
    }
}

/// Adds a change to what `work` does to `store` when it commits: settlements, amendments, marks.
///
/// # Errors
/// Nothing was added.
pub fn change(store: &Arc<dyn Store>, work: &mut Work, change: Change) -> Result<(), JoinError> {
    Buffer::join(store, work)?.push(change);
    Ok(())
}

/// Applies a batch at once, in a transaction of its own that has no other part.
///
/// # Errors
/// As [`Stage::apply`](crate::store::Stage::apply), and [`Kind::Forked`]. After
/// [`Kind::IncarnationGone`] nothing was applied, and another call uses a new incarnation.
pub fn apply(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    batch: &Batch,
) -> store::Result<Applied> {
    let backend = store.capabilities().backend;
    let txn = manager.mint().map_err(|error| {
        let kind = match error {
            BeginError::Forked => Kind::Forked,
            BeginError::Synchronizer(_) => Kind::Other,
        };
        store::Error::new(kind, backend, "begin a transaction").with_source(error)
    })?;
    let now = store.now()?;
    let enrolled = manager.registers().enroll(&**store, txn.incarnation, now);
    let gone = |source| {
        let kind = Kind::IncarnationGone(txn.incarnation);
        store::Error::new(kind, backend, "enrol an incarnation").with_source(source)
    };
    let applied = enrolled
        .map_err(gone)
        .and_then(|()| store.apply(txn, batch, &[], now));
    if let Err(store::Error {
        kind: Kind::IncarnationGone(gone),
        ..
    }) = &applied
    {
        manager.renew(*gone);
    }
    applied
}

/// Shows what a commit would enqueue, without committing.
pub trait Pending {
    /// Returns the tasks enqueued so far and not rolled back, by store, in order.
    fn pending(&self) -> Vec<&Record>;
}

impl Pending for Work {
    fn pending(&self) -> Vec<&Record> {
        self.joined::<Buffer>().flat_map(Buffer::inserts).collect()
    }
}

fn check_options(options: &Options, queue: &str) -> Result<(), EnqueueError> {
    store::lifecycle::check_ageing(options.ageing)
        .and_then(|()| store::lifecycle::check_group_limit(options.group_limit))
        .map_err(|kind| EnqueueError::Invalid(kind.to_string()))?;
    if !(options.waits_for.is_empty() && options.announces.is_empty()) {
        let text =
            "tasks wait for one another only if a `Chain` or a `Group` enqueues them together";
        return Err(EnqueueError::Invalid(text.to_owned()));
    }
    for follow_up in [&options.on_success, &options.on_failure]
        .into_iter()
        .flatten()
    {
        check_follow_up(follow_up, queue)?;
    }
    if let Some(unique) = &options.unique {
        check_name("a unique key", &unique.key)?;
    }
    if let Some(group) = &options.group {
        check_name("the name of a group", group)?;
    }
    let mut about = options.about.iter();
    about.try_for_each(|object| check_name("the name of an object", object))
}

/// Refuses a follow-up that the store would refuse when it is too late: at the end that it follows.
fn check_follow_up(follow_up: &FollowUp, queue: &str) -> Result<(), EnqueueError> {
    let invalid = |text: String| EnqueueError::Invalid(format!("in a follow-up, {text}"));
    let options = follow_up
        .options()
        .map_err(|error| invalid(error.to_string()))?;
    let queue = follow_up.queue.as_deref().unwrap_or(queue);
    check_options(&options, queue)?;
    let (id, now) = (TaskId::from_bytes([0; 16]), Timestamp::default());
    let (kind, payload) = (follow_up.kind.clone(), follow_up.payload.clone());
    let record = Record::new(id, queue, kind, payload, now).with_options(options.shared());
    let insert = Change::Insert(Box::new(record));
    store::lifecycle::check(&insert).map_err(|kind| invalid(kind.to_string()))
}

fn check_name(what: &str, name: &str) -> Result<(), EnqueueError> {
    if name.is_empty() {
        return Err(EnqueueError::Invalid(format!("{what} is empty")));
    }
    if name.len() > NAME_MAX {
        let size = name.len();
        let text = format!("{what} has {size} bytes, more than the {NAME_MAX} allowed");
        return Err(EnqueueError::Invalid(text));
    }
    Ok(())
}
