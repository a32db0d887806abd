//! What time it is at the server, without asking it each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::time::{Clock, Monotonic, Timestamp};

/// After how long the server is asked again: a clock that is counted on from an answer drifts.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Reads the timer of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place of the store that reads a timer"
)]
pub(in crate::store::redis) fn instant() -> Instant {
    Instant::now()
}

/// The clock of the store.
pub(in crate::store::redis) enum StoreClock {
    /// The server's: every answer tells its time, and from there on this process's timer counts.
    Server(Mutex<Counted>),
    /// One that replaces the server's.
    Replaced(Monotonic),
}

/// The server's time when it answered last.
pub(in crate::store::redis) struct Counted {
    answer: Option<(Timestamp, Instant)>,
    /// The latest time that was given out.
    latest: Timestamp,
}

impl Counted {
    fn count(&mut self) -> Timestamp {
        if let Some((at, since)) = self.answer {
            self.latest = self.latest.max(at.saturating_add(since.elapsed()));
        }
        self.latest
    }
}

impl StoreClock {
    pub(in crate::store::redis) fn new(replacement: Option<Arc<dyn Clock>>) -> Self {
        match replacement {
            Some(clock) => Self::Replaced(Monotonic::new(clock, Timestamp::EPOCH)),
            None => Self::Server(Mutex::new(Counted {
                answer: None,
                latest: Timestamp::EPOCH,
            })),
        }
    }

    /// Does not fall below `floor` from now on.
    pub(in crate::store::redis) fn raise(
        self,
        floor: Timestamp,
        clock: Option<Arc<dyn Clock>>,
    ) -> Self {
        match (self, clock) {
            (Self::Replaced(_), Some(clock)) => Self::Replaced(Monotonic::new(clock, floor)),
            (this, _) => {
                if let Self::Server(counted) = &this {
                    let mut counted = counted.lock();
                    counted.latest = counted.latest.max(floor);
                }
                this
            }
        }
    }

    /// Takes the server's time from an answer that just came.
    pub(in crate::store::redis) fn sample(&self, at: Timestamp) {
        if let Self::Server(counted) = self {
            counted.lock().answer = Some((at, instant()));
        }
    }

    /// Returns the time as far as it is known here.
    pub(in crate::store::redis) fn guess(&self) -> Timestamp {
        match self {
            Self::Server(counted) => counted.lock().count(),
            Self::Replaced(clock) => clock.now(),
        }
    }

    /// Returns the time, unless the server has to be asked.
    pub(in crate::store::redis) fn known(&self) -> Option<Timestamp> {
        match self {
            Self::Server(counted) => {
                let mut counted = counted.lock();
                let (_, since) = counted.answer?;
                (since.elapsed() < TRUSTED_FOR).then(|| counted.count())
            }
            Self::Replaced(clock) => Some(clock.now()),
        }
    }

    /// Returns the time by which the scripts go instead of the server's, or nothing.
    pub(in crate::store::redis) fn replacement(&self) -> String {
        match self {
            Self::Server(_) => String::new(),
            Self::Replaced(clock) => clock.now().as_micros().to_string(),
        }
    }

    /// Whether time may be moved by hand.
    pub(in crate::store::redis) fn is_replaced(&self) -> bool {
        matches!(self, Self::Replaced(_))
    }
}
