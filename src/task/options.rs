//! What a producer says about a task beside its payload. Fixed once the task is enqueued.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod coded;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::task::{FollowUp, RetryPolicy};
use crate::time::Timestamp;

/// What happens to a task whose unique key a visible task holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OnDuplicate {
    /// The new task merges into the one that waits; its id becomes an alias. The default.
    #[default]
    Merge,
    /// The transaction is refused.
    Refuse,
}

/// A key that at most one task may hold: one that is neither claimed nor ended, unless `hold` says more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unique {
    /// The key; unique within one store, whatever the queue.
    pub key: String,
    /// What happens to the second.
    pub on_duplicate: OnDuplicate,
    /// For how long the task keeps others from the key. Defaults to as long as it waits to be run.
    pub hold: Hold,
}

/// For how long a task keeps others from its unique key. The default is as long as it waits to be run.
///
/// Periods are by the store's clock, and go on when the task has left. One that is cancelled or removed ends
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Hold {
    /// Whether it does so while it runs, too. A second task then merges into one that may have read already
    /// what the second was to see. Defaults to false.
    pub until_ended: bool,
    /// For how long it does so after it became visible, whatever has become of it by then. Defaults to none.
    pub after_enqueued: Option<Duration>,
    /// For how long it does so after it was done, or became Dead. Defaults to none.
    pub after_ended: Option<Duration>,
}

impl Hold {
    /// As long as the task waits to be run: the default, as a constant.
    pub const WHILE_WAITING: Self = Self {
        until_ended: false,
        after_enqueued: None,
        after_ended: None,
    };
}

/// How the tasks of a kind are unique by what they say: a [`Unique`] without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Uniqueness {
    /// What happens to the second of two equal tasks.
    pub on_duplicate: OnDuplicate,
    /// For how long the first keeps others from being enqueued. Defaults to as long as it waits to be run.
    pub hold: Hold,
}

impl Uniqueness {
    /// Of equal tasks only one waits; a second one merges into it.
    pub const MERGE: Self = Self::new(OnDuplicate::Merge, Hold::WHILE_WAITING);

    /// Of equal tasks only one waits; the transaction that enqueues a second one is refused.
    pub const REFUSE: Self = Self::new(OnDuplicate::Refuse, Hold::WHILE_WAITING);

    /// Says what happens to the second task, and how long it does.
    #[must_use]
    pub const fn new(on_duplicate: OnDuplicate, hold: Hold) -> Self {
        Self { on_duplicate, hold }
    }

    /// Returns the same with a key.
    #[must_use]
    pub fn by(self, key: impl Into<String>) -> Unique {
        Unique {
            key: key.into(),
            on_duplicate: self.on_duplicate,
            hold: self.hold,
        }
    }
}

impl Unique {
    /// Makes a task the only one of this key that waits to be run; a second one merges into it.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Uniqueness::MERGE.by(key)
    }

    /// Keeps others from the key while the task runs, too. Defaults to only while it waits.
    #[must_use]
    pub fn until_ended(mut self) -> Self {
        self.hold.until_ended = true;
        self
    }

    /// Keeps others from the key for this long after the task became visible, whatever has become of it: of
    /// the tasks of the key there is at most one in the period. Defaults to no such period.
    #[must_use]
    pub fn for_after_enqueued(mut self, period: Duration) -> Self {
        self.hold.after_enqueued = Some(period);
        self
    }

    /// Keeps others from the key until the task has ended, and for this long after that. Defaults to no such
    /// period.
    #[must_use]
    pub fn for_after_ended(mut self, period: Duration) -> Self {
        self.hold.until_ended = true;
        self.hold.after_ended = Some(period);
        self
    }
}

/// The most tasks of a group that may run at the same time. Stores may look at each of them when another
/// comes or goes.
pub const GROUP_LIMIT_MAX: u32 = 1_000;

/// What a step of priority is worth where nobody says otherwise.
pub const AGEING_DEFAULT: Duration = Duration::from_secs(300);

/// The most that a step of priority may be worth: enough for no task to overtake another by waiting in
/// practice, and so little that ranks are exact in every store for centuries.
pub const AGEING_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a producer says about a task beside its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Lower goes first: each step is worth [`ageing`](Self::ageing) of waiting. Defaults to 10.
    pub priority: u8,
    /// What each step of priority is worth, in time of waiting; zero is none, so that tasks come in the
    /// order of publishing. At most [`AGEING_MAX`]. Defaults to what is said of the queue when the task is
    /// enqueued, or else to [`AGEING_DEFAULT`].
    pub ageing: Option<Duration>,
    /// The earliest time to run. Defaults to none: at once.
    pub not_before: Option<Timestamp>,
    /// Wait this long after the commit; added to the time of publishing. Defaults to none.
    pub delay: Option<Duration>,
    /// After this instant the task is not started any more but becomes Dead. Defaults to none.
    pub expires_at: Option<Timestamp>,
    /// How long one attempt may take. Defaults to none: as long as it likes.
    pub timeout: Option<Duration>,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// Makes the task the only one of its key, for as long as its [`hold`](Unique::hold) says. Defaults to none.
    pub unique: Option<Unique>,
    /// Of the tasks of one group no more run at the same time than [`group_limit`](Self::group_limit) says.
    /// Defaults to none.
    pub group: Option<String>,
    /// The task starts only while fewer others of its group run; from 1 to [`GROUP_LIMIT_MAX`]. Where tasks of
    /// a group differ, each goes by its own. Defaults to what is said of its kind in the queue when the task
    /// is enqueued, or else to 1: never two at a time.
    pub group_limit: Option<u32>,
    /// The objects that the task is about, for "which tasks concern object X?". By custom the first is its
    /// context: the object that it works on.
    pub about: Vec<String>,
    /// Tasks that must be done first. The task waits until a `Change::Arrive` has named each of them,
    /// which a consumer adds to the end of a task for all that it [`announces`](Self::announces). A
    /// queue takes a task that waits only together with those that it waits for. Defaults to none.
    pub waits_for: Vec<TaskId>,
    /// Tasks that wait for this one. Defaults to none.
    pub announces: Vec<TaskId>,
    /// What is enqueued in the step in which the task is done. Defaults to none.
    pub on_success: Option<Box<FollowUp>>,
    /// What is enqueued in the step in which the task becomes Dead, whatever the reason. Where the task
    /// waits for one that becomes Dead, it is cancelled in that step, and this is enqueued in its
    /// place. Defaults to none.
    pub on_failure: Option<Box<FollowUp>>,
    /// On whose behalf. Defaults to none.
    pub user: Option<String>,
    /// How long the finished task stays to be looked at, with its result. Defaults to none: it leaves
    /// when it is done, and a result is not kept.
    pub retention: Option<Duration>,
    /// Whether the task stays out of listings, and out of what concerns an object, unless ghosts are asked
    /// for. It runs like any other. Defaults to false.
    pub ghost: bool,
    /// The trace that the task belongs to, such as the `traceparent` of W3C Trace Context; at most 255 bytes.
    /// Defaults to what [`carry_trace`](crate::queue::carry_trace) gives where the task is enqueued.
    pub trace: Option<String>,
}

impl Options {
    /// Returns the default options, which all who ask for nothing else share.
    #[must_use]
    pub fn usual() -> Arc<Self> {
        static USUAL: LazyLock<Arc<Options>> = LazyLock::new(Arc::default);
        Arc::clone(&USUAL)
    }

    /// Has the task wait this long after the commit. Defaults to no delay.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self {
            delay: Some(delay),
            ..self
        }
    }

    /// Has the task run no earlier than this. Defaults to at once.
    #[must_use]
    pub fn not_before(self, at: Timestamp) -> Self {
        Self {
            not_before: Some(at),
            ..self
        }
    }

    /// Has the task become Dead, instead of starting, after this. Defaults to never.
    #[must_use]
    pub fn expires_at(self, at: Timestamp) -> Self {
        Self {
            expires_at: Some(at),
            ..self
        }
    }

    /// Returns how much later the task comes than one of priority 0 would.
    #[must_use]
    pub fn malus(&self) -> Duration {
        let ageing = self.ageing.unwrap_or(AGEING_DEFAULT);
        ageing.saturating_mul(u32::from(self.priority))
    }

    /// Returns how many tasks of its group may run at the same time, as far as this one goes.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.group_limit.unwrap_or(1)
    }

    /// Whether these are the default options, by the look of the pointer or else of all of them.
    pub(crate) fn are_usual(self: &Arc<Self>) -> bool {
        let usual = Self::usual();
        Arc::ptr_eq(self, &usual) || *self == usual
    }

    /// Shares the options; those that are the default ones take no room of their own.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        let usual = Self::usual();
        if self == *usual {
            usual
        } else {
            Arc::new(self)
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            priority: 10,
            ageing: None,
            not_before: None,
            delay: None,
            expires_at: None,
            timeout: None,
            retry: RetryPolicy::default(),
            unique: None,
            group: None,
            group_limit: None,
            about: Vec::new(),
            waits_for: Vec::new(),
            announces: Vec::new(),
            on_success: None,
            on_failure: None,
            user: None,
            retention: None,
            ghost: false,
            trace: None,
        }
    }
}

/// Options as they are encoded, shared when they are read.
pub(crate) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Options;

    pub(crate) fn serialize<S: Serializer>(
        options: &Arc<Options>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        (**options).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<Options>, D::Error> {
        Options::deserialize(from).map(Options::shared)
    }
}

/// Options as they are encoded where most are the default ones, of which nothing is said.
#[cfg(feature = "file")]
pub(crate) mod unusual {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Options;

    pub(crate) fn serialize<S: Serializer>(
        options: &Arc<Options>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let said = Some(&**options).filter(|_| !options.are_usual());
        said.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<Options>, D::Error> {
        let said = Option::deserialize(from)?;
        Ok(said.map_or_else(Options::usual, Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_options_are_shared() {
        assert!(Arc::ptr_eq(&Options::default().shared(), &Options::usual()));
    }

    #[test]
    fn other_options_are_kept_as_they_are() {
        let options = Options {
            priority: 3,
            ..Options::default()
        };
        assert_eq!(*options.clone().shared(), options);
    }
}
