//! The settings of a consumer, and its start.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::attendance::Attendance;
use super::backlog::Backlog;
use super::banner::Banner;
use super::core::Core;
use super::hooks::{Event, Hooks};
use super::name::Name;
use super::roll::Roll;
use super::settle::Settler;
use super::stats::Counters;
use super::watch::Watch;
use super::{Immediate, Running};
use crate::handler::Registry;
use crate::id::{ConsumerId, Incarnation};
use crate::queue::{EnqueueError, Queue};
#[cfg(feature = "periodic")]
use crate::queue::{Periodic, PeriodicError};
use crate::store::{self, Presence, Store};
use crate::task::QUEUE_DEFAULT;
use crate::txn::{BoxError, TransactionManager};

/// What can be set of a consumer.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) lanes: Vec<LaneSettings>,
    pub(super) threads: usize,
    pub(super) retry_max_count: u32,
    pub(super) reclaims_max: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) timeout_grace: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) lease: Duration,
    pub(super) unknown_delay: Duration,
    pub(super) poll_interval: Duration,
    pub(super) recover_interval: Duration,
    pub(super) prefetch_max: usize,
}

/// One queue that a consumer serves.
#[derive(Debug, Clone)]
pub(super) struct LaneSettings {
    pub(super) queue: String,
    pub(super) concurrent_limit: usize,
}

impl LaneSettings {
    fn new(queue: String) -> Self {
        Self {
            queue,
            concurrent_limit: 1,
        }
    }
}

/// Why a consumer did not start. Nothing was claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The name of a queue makes no sense.
    #[error("a queue cannot be served")]
    Queue(#[source] EnqueueError),
    /// The store did not take the consumer.
    #[error("the store does not take the consumer")]
    Store(#[from] store::Error),
    /// The name could not be taken.
    #[error("the consumer's name could not be taken")]
    Name(#[source] BoxError),
    /// A periodic entry makes no sense.
    #[cfg(feature = "periodic")]
    #[error(transparent)]
    Periodic(#[from] PeriodicError),
    /// The operating system gave no thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Sets up a consumer. Made by [`Consumer::builder`](super::Consumer::builder).
#[must_use = "a consumer runs once it is started"]
pub struct Builder {
    pub(super) store: Arc<dyn Store>,
    registry: Arc<Registry>,
    manager: Option<TransactionManager>,
    threads: Option<usize>,
    hooks: Hooks,
    settings: Settings,
    #[cfg(feature = "periodic")]
    pub(super) periodic: Vec<Periodic>,
    #[cfg(feature = "periodic")]
    pub(super) no_periodic: bool,
}

impl Builder {
    pub(super) fn new(store: Arc<dyn Store>, registry: Arc<Registry>) -> Self {
        Self {
            store,
            registry,
            manager: None,
            threads: None,
            hooks: Hooks::default(),
            #[cfg(feature = "periodic")]
            periodic: Vec::new(),
            #[cfg(feature = "periodic")]
            no_periodic: false,
            settings: Settings {
                name: "consumer".to_owned(),
                lanes: Vec::new(),
                threads: 0,
                retry_max_count: 10,
                reclaims_max: 5,
                timeout: None,
                timeout_grace: Duration::from_secs(5),
                stop_timeout: Duration::from_secs(30),
                lease: Duration::from_secs(30),
                unknown_delay: Duration::from_secs(60),
                poll_interval: Duration::from_secs(1),
                recover_interval: Duration::from_secs(10),
                prefetch_max: 100,
            },
        }
    }

    /// Serves a queue; call it again for each further one. Defaults to the queue `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.settings.lanes.push(LaneSettings::new(name.into()));
        self
    }

    /// Sets how many tasks of the queue named before this may run at once in this consumer. Defaults
    /// to 1.
    pub fn concurrent_limit(mut self, limit: usize) -> Self {
        self.serve_default();
        if let Some(lane) = self.settings.lanes.last_mut() {
            lane.concurrent_limit = limit;
        }
        self
    }

    /// Sets the name that people see beside the consumer's tasks. It gets a suffix, and a warning is
    /// logged, if a live consumer of the store bears it. Defaults to `consumer`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Sets the number of worker threads, which all queues share. Defaults to the sum of their limits.
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count);
        self
    }

    /// Sets the manager that begins the tasks' transactions. A process shares one among its producers
    /// and consumers, so that all know the same registers. Defaults to a new one, which knows the store's register and
    /// those of databases that handlers have joined: what a crash left in doubt between the store and another database
    /// stays so until then. Introduce such databases to a manager, and give it here.
    pub fn manager(mut self, manager: TransactionManager) -> Self {
        self.manager = Some(manager);
        self
    }

    /// Sets how often a task is run again at once because of a conflict, until that counts as a failed
    /// attempt. Defaults to 10.
    pub fn retry_max_count(mut self, count: u32) -> Self {
        self.settings.retry_max_count = count;
        self
    }

    /// Sets after how many deaths of its consumers a task is taken for their cause, and buried.
    /// Defaults to 5.
    pub fn reclaims_max(mut self, count: u32) -> Self {
        self.settings.reclaims_max = count;
        self
    }

    /// Sets how long an attempt may take, its conflicts included, unless the task's own options say.
    /// Defaults to none: as long as it likes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets how long a handler that was told to stop is waited for, until its thread is left behind
    /// and its task settled without it. Defaults to 5 s.
    pub fn timeout_grace(mut self, grace: Duration) -> Self {
        self.settings.timeout_grace = grace;
        self
    }

    /// Sets how long a stop waits for running tasks, until they are told to stop and given back.
    /// Defaults to 30 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.settings.stop_timeout = timeout;
        self
    }

    /// Sets how long a claim lasts in stores where leases are timed; it is prolonged three times as
    /// often. A consumer that dies is noticed after this time. Defaults to 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets how long a task rests whose kind has no handler here. Defaults to 60 s.
    pub fn unknown_delay(mut self, delay: Duration) -> Self {
        self.settings.unknown_delay = delay;
        self
    }

    /// Sets how long a fetcher listens to an empty queue until it looks again unasked. Defaults to 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets how often transactions that crashes left in doubt are looked for: not by each consumer, but
    /// by one of those of the store that know the same databases. Defaults to 10 s.
    pub fn recover_interval(mut self, interval: Duration) -> Self {
        self.settings.recover_interval = interval;
        self
    }

    /// Sets how many tasks of a queue may be claimed ahead of those that run. Only tasks that take a
    /// few milliseconds are; 0 claims none ahead. Defaults to 100.
    pub fn prefetch_max(mut self, count: usize) -> Self {
        self.settings.prefetch_max = count;
        self
    }

    /// Has `hook` told what the consumer does; call it again for each further one, in whose order they
    /// are told.
    ///
    /// A hook runs on the thread of the consumer that it tells about, while no lock is held: one that
    /// is slow holds up that thread, and one that panics is logged. It can change nothing of what
    /// becomes of a task. Defaults to nobody.
    ///
    /// # Examples
    /// ```
    /// use votive::consumer::Event;
    /// use votive::{Consumer, Registry};
    ///
    /// let store = votive::open("memory://")?;
    /// let running = Consumer::builder(store, Registry::new())
    ///     .on(|event| match event {
    ///         Event::Dead { record, reason, .. } => eprintln!("{}: {reason:?}", record.id),
    ///         other => println!("{}", other.name()),
    ///     })
    ///     .start()?;
    /// assert!(running.stop().is_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "signal")]
    #[doc(alias = "hook")]
    pub fn on(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.add(hook);
        self
    }

    /// Starts the consumer.
    ///
    /// # Errors
    /// Nothing was claimed, and nothing runs on.
    pub fn start(mut self) -> Result<Running, StartError> {
        self.serve_default();
        self.check()?;
        #[cfg(feature = "periodic")]
        let timetable = self.timetable()?;
        let limits = self.settings.lanes.iter().map(|lane| lane.concurrent_limit);
        self.settings.threads = self.threads.unwrap_or_else(|| limits.sum());
        let manager = self.manager.take().unwrap_or_default();
        let name = Name::take(&self.store, &manager, &self.settings.name);
        let name = name.map_err(StartError::Name)?;
        let id = ConsumerId {
            incarnation: Incarnation::random(),
            name: name.text().to_owned(),
        };
        let presence = self.store.attend(id.incarnation, self.settings.lease)?;
        let banner = Banner::new(&id, &*self.store, &self.registry, &self.settings);
        #[cfg(feature = "periodic")]
        let banner = banner.with_timetable(timetable.iter().map(ToString::to_string));
        #[cfg_attr(not(feature = "periodic"), expect(unused_mut))]
        let mut core = self.core(id, manager, presence)?;
        #[cfg(feature = "periodic")]
        core.timetable.extend(timetable);
        let core = Arc::new(core);
        banner.announce();
        Running::start(core, name, banner).map_err(StartError::Thread)
    }

    /// Runs tasks on the threads that commit them, before their `commit` returns, instead of starting
    /// threads of its own: for tests and development. Needs the [`manager`](Self::manager) whose commits
    /// it follows, and serves all queues of the store unless some are named.
    ///
    /// Each task is claimed, runs in a transaction of its own, again after a conflict, and is settled as
    /// under a consumer, in the order in which each queue gives them out; so are the tasks that it
    /// enqueues. Tasks that are delayed, or that failed and wait for their next attempt, run after the
    /// first commit that comes after their time, or by [`Immediate::run_ready`].
    ///
    /// No timeout is kept, so that a debugger may stop where it likes.
    ///
    /// # Errors
    /// As [`start`](Self::start), and [`StartError::Invalid`] without a manager.
    ///
    /// # Examples
    /// ```
    /// use votive::{Consumer, Context, Queues, Registry, TransactionManager};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Greet(String);
    ///
    /// impl votive::Task for Greet {
    ///     const KIND: &'static str = "greet";
    /// }
    ///
    /// let (manager, queues) = (TransactionManager::new(), Queues::new(votive::open("memory://")?));
    /// let mut registry = Registry::new();
    /// registry.register(|task: Greet, _: &mut Context<'_>| Err::<(), _>(task.0))?;
    /// let immediate = Consumer::builder(queues.store().clone(), registry)
    ///     .manager(manager.clone())
    ///     .immediate()?;
    /// manager.run(1, |txn| queues.enqueue(txn, &Greet("nobody is here".into())))?;
    /// assert_eq!(immediate.take_failed()[0].chain, ["nobody is here"]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[doc(alias = "eager")]
    pub fn immediate(mut self) -> Result<Immediate, StartError> {
        let Some(manager) = self.manager.take() else {
            let text = "immediate mode follows the commits of a manager, and none is set";
            return Err(StartError::Invalid(text.to_owned()));
        };
        let lanes = self.settings.lanes.iter();
        let only = lanes.map(|lane| lane.queue.clone()).collect();
        self.check()?;
        let id = ConsumerId {
            incarnation: Incarnation::random(),
            name: self.settings.name.clone(),
        };
        let presence = self.store.attend(id.incarnation, self.settings.lease)?;
        let core = self.core(id, manager.clone(), presence)?;
        Ok(Immediate::start(core, only, manager))
    }

    fn core(
        self,
        id: ConsumerId,
        manager: TransactionManager,
        presence: Presence,
    ) -> Result<Core, StartError> {
        let lanes = &self.settings.lanes;
        let queue = |lane: &LaneSettings| Queue::new(Arc::clone(&self.store), lane.queue.as_str());
        let queues: Result<Vec<Queue>, EnqueueError> = lanes.iter().map(queue).collect();
        let limits = lanes.iter().map(|lane| lane.concurrent_limit);
        Ok(Core {
            id,
            attendance: Attendance::new(presence),
            queues: queues.map_err(StartError::Queue)?,
            backlog: Backlog::new(limits, self.settings.prefetch_max),
            watch: Watch::new(),
            settler: Settler::new(),
            counters: Counters::default(),
            roll: Roll::default(),
            hooks: self.hooks,
            closing: OnceLock::new(),
            #[cfg(feature = "periodic")]
            timetable: Vec::new(),
            manager,
            store: self.store,
            registry: self.registry,
            settings: self.settings,
        })
    }

    fn serve_default(&mut self) {
        if self.settings.lanes.is_empty() {
            let lane = LaneSettings::new(QUEUE_DEFAULT.to_owned());
            self.settings.lanes.push(lane);
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let invalid = |text: String| Err(StartError::Invalid(text));
        let mut queues = BTreeSet::new();
        for lane in &self.settings.lanes {
            if lane.concurrent_limit == 0 {
                return invalid(format!("the concurrent limit of `{}` is 0", lane.queue));
            }
            if !queues.insert(&lane.queue) {
                return invalid(format!("the queue `{}` is named twice", lane.queue));
            }
        }
        if self.threads == Some(0) {
            return invalid("a consumer needs at least one thread".to_owned());
        }
        if self.settings.lease.is_zero() || self.settings.name.is_empty() {
            return invalid("a consumer needs a name and a lease".to_owned());
        }
        Ok(())
    }
}
