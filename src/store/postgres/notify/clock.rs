//! The server's time, without asking for it each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::store::postgres::error::{Fault, Result};
use crate::store::postgres::pool::Pool;
use crate::store::postgres::row;
use crate::store::postgres::session::Session;
use crate::time::{Clock, Monotonic, Timestamp};

/// For how long the time is reckoned from one answer of the server.
const SAMPLE_KEPT: Duration = Duration::from_secs(10);

/// The clock of a store: the server's, or the one that its options name. It never goes backwards.
pub(in crate::store::postgres) struct StoreClock(Source);

enum Source {
    Given(Monotonic),
    Server(Mutex<Server>),
}

struct Server {
    sample: Option<Sample>,
    latest: Timestamp,
    clamped: bool,
}

#[derive(Clone, Copy)]
struct Sample {
    server: Timestamp,
    taken: Instant,
}

impl StoreClock {
    /// Takes the clock that the options name; `floor` is the latest instant that the store has seen.
    pub(in crate::store::postgres) fn new(given: Option<Arc<dyn Clock>>, floor: Timestamp) -> Self {
        Self(match given {
            Some(clock) => Source::Given(Monotonic::new(clock, floor)),
            None => Source::Server(Mutex::new(Server {
                sample: None,
                latest: floor,
                clamped: false,
            })),
        })
    }

    /// Returns the time; asks the server if it has not told it for a while.
    pub(in crate::store::postgres) fn now(&self, pool: &Pool) -> Result<Timestamp> {
        let server = match &self.0 {
            Source::Given(clock) => return Ok(clock.now()),
            Source::Server(server) => server,
        };
        if let Some(now) = server.lock().reckon() {
            return Ok(now);
        }
        let sample = sample(pool)?;
        let mut server = server.lock();
        server.sample = Some(sample);
        server
            .reckon()
            .ok_or_else(|| Fault::corrupt("the server's time is too old as it comes"))
    }
}

impl Server {
    /// Reckons the time from the last answer, if that is young enough.
    fn reckon(&mut self) -> Option<Timestamp> {
        let sample = self.sample?;
        let since = sample.taken.elapsed();
        if since > SAMPLE_KEPT {
            return None;
        }
        let now = sample.server.saturating_add(since);
        if now >= self.latest {
            self.latest = now;
            self.clamped = false;
        } else if !self.clamped {
            self.clamped = true;
            let behind = self.latest.since(now);
            // A millisecond or so is how long an answer was under way.
            if behind > Duration::from_secs(1) {
                tracing::warn!(
                    ?behind,
                    "the server's clock went backwards; time stands still"
                );
            }
        }
        Some(self.latest)
    }
}

/// Asks the server for the time, and takes it for the middle of the time that the answer took.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place of the store that reads a timer"
)]
fn sample(pool: &Pool) -> Result<Sample> {
    let asked = Instant::now();
    let server = pool.read(|session| {
        let row = session.first(
            "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint",
            Vec::new(),
        )?;
        let row = row.ok_or_else(|| Fault::corrupt("the server has no time"))?;
        row::instant(&row, 0)
    })?;
    let taken = Instant::now();
    let on_the_way = taken.duration_since(asked) / 2;
    Ok(Sample {
        server: server.saturating_add(on_the_way),
        taken,
    })
}
