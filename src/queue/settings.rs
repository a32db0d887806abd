//! The settings of a queue: what an operator says of it, for all processes at once. They are a mark in the
//! store, so they change by compare-and-set and hold for consumers and producers that start later.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::queue::{Queue, apply};
use crate::store::{self, Batch, Change, Kind};
use crate::time::Timestamp;
use crate::txn::TransactionManager;

/// The marks under which settings are kept: this, then the name of the queue.
const PREFIX: &str = "queue/";

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
    /// Tasks are taken, but none is started.
    Disabled,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Disabled => "disabled",
        })
    }
}

impl Settings {
    /// Returns what the queue is good for.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.paused {
            Some(_) => Status::Disabled,
            None => Status::Ready,
        }
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
    /// # Errors
    /// As [`pause`](Self::pause). [`Kind::Invalid`] if the queue's name is longer than 249 bytes.
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
        let key = self.settings_key();
        let found = self.store.mark(&key)?;
        let before = self.read_settings(found.as_deref())?;
        let mut settings = before.clone();
        change(&mut settings);
        if settings == before {
            return Ok(settings);
        }
        let value = (settings != Settings::default()).then(|| serde_json::to_vec(&settings));
        let value = value.transpose().map_err(|error| {
            let backend = self.store.capabilities().backend;
            store::Error::new(Kind::Other, backend, "write a queue's settings").with_source(error)
        })?;
        let mark = Change::Mark {
            key,
            expect: found,
            value,
        };
        apply(&self.store, manager, &Batch::new(vec![mark]))?;
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
