//! Periodic tasks that are declared, by `#[votive::periodic]`, and found like all others.

use std::time::Duration;

use crate::handler::{Declared, Origin};
use crate::queue::{CatchUp, Draft, Periodic};
use crate::schedule::{Schedule, ScheduleError};

inventory::collect!(PeriodicDeclaration);

/// A periodic task as it is declared. What is written in it is read when an entry is made of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PeriodicDeclaration {
    /// The kind of its tasks.
    pub kind: &'static str,
    /// The name of the entry. Defaults to the kind.
    pub name: &'static str,
    /// The queue of its tasks.
    pub queue: &'static str,
    /// When it comes, as text.
    pub schedule: &'static str,
    /// The time zone of the schedule. Defaults to none: what the schedule itself says, or UTC.
    pub zone: Option<&'static str>,
    /// What becomes of times that nobody saw. Defaults to [`CatchUp::Once`].
    pub catch_up: CatchUp,
    /// How long after its time a task may start. Defaults to none: as late as it likes.
    pub expires_after: Option<Duration>,
    /// Where it is declared.
    pub origin: Origin,
    entry: fn(&'static str, Schedule) -> Periodic,
}

/// Why a declared periodic task cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schedule of {origin} cannot be used")]
#[non_exhaustive]
pub struct InvalidSchedule {
    /// Where it is declared.
    pub origin: Origin,
    /// What is wrong with the schedule or its time zone.
    #[source]
    pub source: Box<ScheduleError>,
}

/// Makes an entry of a schedule and a task that is always the same.
///
/// Not for use: `#[votive::periodic]` implements it.
#[doc(hidden)]
pub trait Recurring: Declared {
    /// Returns the task with the arguments that were declared.
    fn recurring() -> Draft<Self>;
}

impl PeriodicDeclaration {
    /// Describes the periodic task `T`, which comes as `schedule` says.
    #[must_use]
    pub const fn of<T: Recurring>(schedule: &'static str) -> Self {
        Self {
            kind: T::KIND,
            name: T::KIND,
            queue: T::QUEUE,
            schedule,
            zone: None,
            catch_up: CatchUp::Once,
            expires_after: None,
            origin: T::ORIGIN,
            entry: |name, schedule| {
                let (task, options) = T::recurring().into_parts();
                Periodic::new(name, schedule, &task).options(options)
            },
        }
    }

    /// Sets the name of the entry.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the time zone of the schedule.
    #[must_use]
    pub const fn zone(mut self, zone: &'static str) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Sets what becomes of times that nobody saw.
    #[must_use]
    pub const fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Sets how long after its time a task may start.
    #[must_use]
    pub const fn expires_after(mut self, delay: Duration) -> Self {
        self.expires_after = Some(delay);
        self
    }

    /// Makes the entry, for the timetable of a consumer.
    ///
    /// # Errors
    /// The schedule or the time zone cannot be read.
    pub fn entry(&self) -> Result<Periodic, InvalidSchedule> {
        let invalid = |source: ScheduleError| InvalidSchedule {
            origin: self.origin,
            source: Box::new(source),
        };
        let mut schedule: Schedule = self.schedule.parse().map_err(invalid)?;
        if let Some(zone) = self.zone {
            schedule = schedule.in_zone(zone).map_err(invalid)?;
        }
        let mut entry = (self.entry)(self.name, schedule).catch_up(self.catch_up);
        if let Some(delay) = self.expires_after {
            entry = entry.expires_after(delay);
        }
        Ok(entry)
    }
}

/// Returns every periodic task that is declared in the program by `#[votive::periodic]`, in the order of
/// their files and lines.
#[must_use]
pub fn periodic_declarations() -> Vec<PeriodicDeclaration> {
    let found = inventory::iter::<PeriodicDeclaration>.into_iter().copied();
    let mut found: Vec<PeriodicDeclaration> = found.collect();
    found.sort_by_key(|declaration| declaration.origin);
    found
}
