//! The settings of a queue: what an operator says of it, for all processes at once. They are a mark in the
//! store, so they change by compare-and-set and hold for consumers and producers that start later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::queue::mark::Found;
use crate::queue::{Queue, Rate, apply};
use crate::store::{self, Batch, Kind, QueueStats, lifecycle};
use crate::task::{Name, Options, State};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// The marks under which settings are kept: this, then the name of the queue.
const PREFIX: &str = "queue/";

/// How long a producer goes by what it read, by the store's clock.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// How often a change is made anew because somebody else was faster.
const CHANGES_MAX: usize = 16;

/// What an operator says of a queue. The default is what holds for a queue of which nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Settings {
    /// Why and since when no consumer claims from the queue; `None` if they do. Defaults to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The largest number of pending tasks: a transaction whose tasks would exceed it is refused. 0 takes
    /// no tasks at all. Defaults to none: as many as there is room for on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// The kinds of task that go first: those that are enqueued from now on get priority 0. Defaults to
    /// none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub top_kinds: BTreeSet<String>,
    /// How many tasks of a kind may run at the same time, over all consumers: those that are enqueued from now
    /// on, are in a group and do not say themselves how many of it may run, go by this number; and those that
    /// are in no group get into one that is named as their kind. From 1 to
    /// [`GROUP_LIMIT_MAX`](crate::task::GROUP_LIMIT_MAX). Defaults to none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kind_limits: BTreeMap<String, u32>,
    /// What a step of priority is worth, in time of waiting, to those that are enqueued from now on and say
    /// nothing of it themselves. Zero is none: then tasks come in the order of publishing. At most
    /// [`AGEING_MAX`](crate::task::AGEING_MAX). Defaults to none:
    /// [`AGEING_DEFAULT`](crate::task::AGEING_DEFAULT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ageing: Option<Duration>,
    /// How many tasks may start, over all consumers together. Defaults to none: as many as there are
    /// workers for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What a later version says of the queue: kept as it is.
    #[serde(flatten)]
    unknown: serde_json::Map<String, serde_json::Value>,
}

/// Since when a queue is paused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pause {
    /// Why; for whoever asks later. May be empty.
    pub reason: String,
    /// Since when, by the store's clock.
    pub since: Timestamp,
}

/// What a queue is good for at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Tasks are taken, and run.
    Ready,
    /// Tasks are taken no more; those that are there are run.
    Resuming,
    /// Nothing is run: the queue is paused, or it takes no tasks and none are left.
    Disabled,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Resuming => "resuming",
            Self::Disabled => "disabled",
        })
    }
}

impl Settings {
    /// Returns what the queue is good for, given what is in it.
    #[must_use]
    pub fn status(&self, counts: &QueueStats) -> Status {
        let is_left = |(state, _): &&(State, u64)| !state.is_ended();
        let left: u64 = counts
            .counts
            .iter()
            .filter(is_left)
            .map(|(_, count)| count)
            .sum();
        match (&self.paused, self.capacity) {
            (None, Some(0)) if left > 0 => Status::Resuming,
            (Some(_), _) | (None, Some(0)) => Status::Disabled,
            (None, _) => Status::Ready,
        }
    }

    /// Completes what a producer said of a task of this kind.
    pub(super) fn complete(&self, kind: &str, options: &mut Options) {
        if self.top_kinds.contains(kind) {
            options.priority = 0;
        }
        options.ageing = options.ageing.or(self.ageing);
        if let Some(limit) = self.kind_limits.get(kind) {
            options.group_limit = options.group_limit.or(Some(*limit));
            options.group.get_or_insert_with(|| kind.to_owned());
        }
    }

    fn check(&self, backend: &'static str) -> store::Result<()> {
        let refused = |kind| store::Error::new(kind, backend, "change a queue's settings");
        lifecycle::check_ageing(self.ageing).map_err(refused)?;
        let mut limits = self.kind_limits.values();
        limits
            .try_for_each(|limit| lifecycle::check_group_limit(Some(*limit)))
            .map_err(refused)?;
        if self.rate.is_none_or(|rate| rate.is_sound()) {
            return Ok(());
        }
        let text = "a rate needs at least one start, a burst of one, and a microsecond for each";
        Err(refused(Kind::Invalid(text.to_owned())))
    }
}

/// What a producer knows of the settings of its queues. Shared by the clones of a [`Queue`], and by the queues
/// of one [`Queues`](crate::queue::Queues).
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<Mutex<BTreeMap<Name, Reading>>>);

/// What was read, and when.
#[derive(Debug, Clone)]
struct Reading {
    at: Timestamp,
    settings: Arc<Settings>,
}

impl Known {
    fn at(&self, queue: &Name, now: Timestamp) -> Option<Arc<Settings>> {
        let known = self.0.lock();
        let Reading { at, settings } = known.get(queue)?;
        let is_fresh = *at <= now && now < at.saturating_add(KNOWN_FOR);
        is_fresh.then(|| Arc::clone(settings))
    }

    fn set(&self, queue: &Name, at: Timestamp, settings: Settings) -> Arc<Settings> {
        let settings = Arc::new(settings);
        let reading = Reading {
            at,
            settings: Arc::clone(&settings),
        };
        self.0.lock().insert(queue.clone(), reading);
        settings
    }
}

/// Returns the settings of every queue of which something was said, in the order of their names.
///
/// # Errors
/// Nothing changed. [`Kind::Corrupt`] names a mark that cannot be read.
pub fn all_settings(store: &dyn store::Store) -> store::Result<Vec<(String, Settings)>> {
    let marks = store.marks(PREFIX)?.into_iter();
    let named = marks.map(|(key, value)| {
        let settings = read(store, &key, &value)?;
        let name = key.strip_prefix(PREFIX).unwrap_or(&key).to_owned();
        Ok((name, settings))
    });
    named.collect()
}

impl Queue {
    /// Returns the queue's settings, which hold in all processes.
    ///
    /// # Errors
    /// Nothing changed. [`Kind::Corrupt`] says that they cannot be read.
    pub fn settings(&self) -> store::Result<Settings> {
        let found = self.store.mark(&self.settings_key())?;
        self.read_settings(found.as_deref())
    }

    /// Returns the settings as they are or were a moment ago, for a task that is enqueued at `now`.
    pub(super) fn known_settings(&self, now: Timestamp) -> store::Result<Arc<Settings>> {
        match self.known.at(&self.name, now) {
            Some(settings) => Ok(settings),
            None => Ok(self.known.set(&self.name, now, self.settings()?)),
        }
    }

    /// Lets no consumer of any process claim from the queue any more, until it is
    /// [resumed](Self::resume). Returns the settings as they are now.
    ///
    /// What runs goes on, and so does enqueueing. A consumer that waits for tasks sees it before it
    /// claims the next; one that is busy within a tenth of a second, and gives back what it had
    /// claimed ahead. Pausing a queue that is paused replaces the reason.
    ///
    /// # Errors
    /// The settings are as they were, or, after [`Kind::Unknown`], perhaps they changed.
    ///
    /// # Durability
    /// The change is on disk.
    pub fn pause(&self, manager: &TransactionManager, reason: &str) -> store::Result<Settings> {
        let since = self.store.now()?;
        self.change_settings(manager, |settings| {
            let reason = reason.to_owned();
            let since = settings.paused.as_ref().map_or(since, |pause| pause.since);
            settings.paused = Some(Pause { reason, since });
        })
    }

    /// Lets consumers claim from the queue again; those that wait for it see it at once. Returns the
    /// settings as they are now.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    ///
    /// # Durability
    /// The change is on disk.
    pub fn resume(&self, manager: &TransactionManager) -> store::Result<Settings> {
        self.change_settings(manager, |settings| settings.paused = None)
    }

    /// Changes the queue's settings for all processes, in a transaction of its own, and returns them as
    /// they are now. `change` may be called again, with what somebody else changed meanwhile.
    ///
    /// This queue and its clones go by them at once, other producers within a second, and consumers as
    /// with [`pause`](Self::pause).
    ///
    /// # Errors
    /// As [`pause`](Self::pause). [`Kind::Invalid`] if a rate makes no sense, a step of priority is worth too
    /// much, a kind has no place or too many, or the queue's name is longer than 249 bytes.
    ///
    /// # Durability
    /// The change is on disk.
    pub fn change_settings(
        &self,
        manager: &TransactionManager,
        mut change: impl FnMut(&mut Settings),
    ) -> store::Result<Settings> {
        for _ in 1..CHANGES_MAX {
            match self.try_change(manager, &mut change) {
                Err(error) if matches!(error.kind, Kind::MarkChanged(_)) => {}
                changed => return changed,
            }
        }
        self.try_change(manager, &mut change)
    }

    fn try_change(
        &self,
        manager: &TransactionManager,
        change: &mut impl FnMut(&mut Settings),
    ) -> store::Result<Settings> {
        let found = Found::read(&*self.store, self.settings_key())?;
        let before = self.read_settings(found.value())?;
        let mut settings = before.clone();
        change(&mut settings);
        settings.check(self.store.capabilities().backend)?;
        if settings == before {
            return Ok(settings);
        }
        let mark = if settings == Settings::default() {
            found.removed()
        } else {
            found.saying(&settings, &*self.store, "write a queue's settings")?
        };
        let now = self.store.now()?;
        apply(&self.store, manager, &Batch::new(vec![mark]))?;
        self.known.set(&self.name, now, settings.clone());
        Ok(settings)
    }

    /// Names the mark that the settings are kept under.
    pub(crate) fn settings_key(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    fn read_settings(&self, found: Option<&[u8]>) -> store::Result<Settings> {
        match found {
            Some(value) => read(&*self.store, &self.settings_key(), value),
            None => Ok(Settings::default()),
        }
    }
}

fn read(store: &dyn store::Store, key: &str, value: &[u8]) -> store::Result<Settings> {
    serde_json::from_slice(value).map_err(|error| {
        let kind = Kind::Corrupt(format!("the mark `{key}`"));
        let backend = store.capabilities().backend;
        store::Error::new(kind, backend, "read a queue's settings").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_says_of_a_queue_is_kept() {
        let text = r#"{"colour":"red"}"#;
        let mut settings: Settings = serde_json::from_str(text).unwrap();
        let since = Timestamp::EPOCH;
        let reason = "so".to_owned();
        settings.paused = Some(Pause { reason, since });
        settings.paused = None;
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
    }
}
