//! Periodic tasks: each time of a schedule becomes a task once, whoever of a fleet sees it first.
//!
//! There is no leader. For each entry a mark in the store, `periodic/<name>`, says up to when its times have
//! been dealt with. Whoever finds a later one due inserts its task and moves the mark, in one batch; the
//! mark is compared and set, so of several only one does, and a crash leaves both done or neither.
//!
//! | file | what it does |
//! | --- | --- |
//! | `cursor` | what a mark says |
//! | `decision` | what is to be done about an entry now: pure |
//! | `fire` | does it, in one batch |
//! | `operator` | lists entries, and removes them |

mod cursor;
mod decision;
mod fire;
mod operator;

use std::fmt;
use std::time::Duration;

pub(crate) use fire::{Entry, Next};
pub use operator::{PeriodicInfo, periodic, remove_periodic};

use crate::queue::EnqueueError;
use crate::schedule::Schedule;
use crate::task::{Name, Options, Payload, PayloadError, PayloadLimits, QUEUE_DEFAULT, Task};

/// The marks of periodic entries, and the objects that their tasks are about: this, then the entry's name.
pub const PERIODIC_PREFIX: &str = "periodic/";

/// What becomes of the times of an entry that nobody saw when they were due: because no consumer ran, or
/// because the clock was put forward. Of times that are found due together the last one is due and the
/// others are missed; it is missed too if it is found more than a minute late.
///
/// Times before the entry first ran, and times of its schedule before that was changed, are not missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CatchUp {
    /// None of the missed ones is made up for.
    Skip,
    /// However many were missed, one task is enqueued for the last of them. The default: most periodic work is
    /// about the present state of things, so it has to be done after an outage, and once is enough.
    #[default]
    Once,
    /// Each becomes a task, in order, a hundred to a batch. For work in which every time counts, such as
    /// a report for each day; a schedule of seconds that rested for long brings a flood.
    All,
    /// As [`All`](Self::All), but only the last so many, at least one.
    Bounded(u32),
}

impl CatchUp {
    /// Whether each time that was missed may have a task of its own.
    fn wants_each(self) -> bool {
        matches!(self, Self::All | Self::Bounded(_))
    }
}

/// `skip`, `once`, `all`, or `bounded 24`.
impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::Once => f.write_str("once"),
            Self::All => f.write_str("all"),
            Self::Bounded(count) => write!(f, "bounded {count}"),
        }
    }
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the periodic entry `{name}` cannot be used")]
pub struct PeriodicError {
    /// The entry.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub source: EnqueueError,
}

/// An entry of the timetable: a task that is enqueued at each time of a schedule, once per store however
/// many consumers have the entry, whichever of them are running.
///
/// The task is about the object `periodic/<name>`, by which it is found. Its `not_before` is the time that it
/// was due; a handler finds that in [`Attempt::not_before`](crate::handler::Attempt::not_before).
///
/// ```
/// use votive::queue::{CatchUp, Periodic};
/// use votive::schedule::Schedule;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Cleanup {}
///
/// impl votive::Task for Cleanup {
///     const KIND: &'static str = "cleanup";
/// }
///
/// let nightly = Schedule::cron("0 5 * * *")?.in_zone("Europe/Rome")?;
/// let entry = Periodic::new("nightly", nightly, &Cleanup {}).catch_up(CatchUp::Skip);
/// assert_eq!(entry.name(), "nightly");
/// # Ok::<(), votive::schedule::ScheduleError>(())
/// ```
#[derive(Debug)]
#[must_use = "an entry does something once a consumer has it"]
pub struct Periodic {
    name: String,
    schedule: Schedule,
    kind: Name,
    /// An error is told when a consumer starts with the entry.
    payload: Result<Payload, PayloadError>,
    options: Options,
    queue: Name,
    catch_up: CatchUp,
    expires_after: Option<Duration>,
    unique: Option<bool>,
}

impl Periodic {
    /// Enqueues `task`, with the options of its kind, at each time of `schedule`.
    ///
    /// The name is the entry's identity in the store. Whoever starts with another schedule for the same
    /// name replaces it for all: those who started before then leave the entry alone.
    pub fn new<T: Task>(name: impl Into<String>, schedule: Schedule, task: &T) -> Self {
        let payload = Payload::encode(task, PayloadLimits::default());
        let mut entry = Self::of(name.into(), schedule, Name::fixed(T::KIND), payload);
        entry.options = T::options();
        entry.queue = Name::fixed(T::QUEUE);
        entry
    }

    /// Enqueues a task that is encoded already.
    pub fn from_payload(
        name: impl Into<String>,
        schedule: Schedule,
        kind: impl Into<Name>,
        payload: Payload,
    ) -> Self {
        Self::of(name.into(), schedule, kind.into(), Ok(payload))
    }

    fn of(
        name: String,
        schedule: Schedule,
        kind: Name,
        payload: Result<Payload, PayloadError>,
    ) -> Self {
        Self {
            name,
            schedule,
            kind,
            payload,
            options: Options::default(),
            queue: Name::fixed(QUEUE_DEFAULT),
            catch_up: CatchUp::default(),
            expires_after: None,
            unique: None,
        }
    }

    /// Sets the options of the tasks. Their `not_before` is replaced by the time that each is due. Defaults
    /// to those of the kind.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the queue that the tasks go to; a consumer need not serve it. Defaults to that
    /// of the kind, or to `default` if the task came encoded.
    pub fn queue(mut self, name: impl Into<Name>) -> Self {
        self.queue = name.into();
        self
    }

    /// Sets what becomes of times that nobody saw. Defaults to [`CatchUp::Once`].
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Sets how long after its time a task may still start; later it becomes Dead. Defaults to none: as
    /// late as it likes.
    pub fn expires_after(mut self, delay: Duration) -> Self {
        self.expires_after = Some(delay);
        self
    }

    /// Sets whether at most one task of the entry waits at any time, beside one that runs, so that slow ones do
    /// not pile up: a new one merges into the one that waits, which keeps its own time. Defaults to yes,
    /// but to no with [`CatchUp::All`] and [`CatchUp::Bounded`], where each time counts. A unique key
    /// in the options goes before this.
    pub fn unique(mut self, unique: bool) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Returns the name of the queue that the tasks go to.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        &self.queue
    }
}
