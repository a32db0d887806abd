//! What operators say of a queue, as a fetcher knows it. Reading it costs a trip to the store, so one that
//! is busy goes for a moment by what it read last.

use std::time::{Duration, Instant};

use super::timer::{instant, within};
use crate::queue::{Queue, Settings};
use crate::store::{Interest, Result};

/// How long a fetcher goes by what it read: a change is seen after this time at the latest.
const AGE_MAX: Duration = Duration::from_millis(100);

pub(super) struct Rules {
    queue: Queue,
    settings: Settings,
    /// Until when they need not be read again.
    fresh_until: Option<Instant>,
}

impl Rules {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            settings: Settings::default(),
            fresh_until: None,
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns the settings that hold now, or did a moment ago.
    ///
    /// # Errors
    /// They could not be read.
    pub(super) fn present(&mut self) -> Result<&Settings> {
        if self.fresh_until.is_none_or(|until| instant() >= until) {
            self.settings = self.queue.settings()?;
            self.fresh_until = Some(within(AGE_MAX));
        }
        Ok(&self.settings)
    }

    /// Reads the settings again if they are about to be too old: now there is time for it, and not between the next
    /// wake-up and its claim.
    ///
    /// # Errors
    /// They could not be read.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let soon = within(AGE_MAX / 2);
        self.fresh_until = self.fresh_until.filter(|until| *until > soon);
        self.present().map(drop)
    }

    /// Returns the settings as they were read last.
    pub(super) fn last(&self) -> &Settings {
        &self.settings
    }

    /// Has the settings read again before they are used.
    pub(super) fn outdate(&mut self) {
        self.fresh_until = None;
    }

    /// Returns what to wait for to learn of a change.
    pub(super) fn interest(&self) -> Interest {
        Interest::Mark(self.queue.settings_key())
    }
}
