//! Waiting in this process: those who wait look, sleep until there may be more to see, and look again.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::store::Interest;

/// Wakes those who wait in this process.
#[derive(Default)]
pub(crate) struct Bell {
    rings: Mutex<Rings>,
    rung: Condvar,
}

/// How often the bell was rung, and how often everybody was sent home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rings {
    count: u64,
    interrupts: u64,
}

/// What one who waits has seen.
pub(crate) enum Look {
    Served(Interest),
    /// For this long nothing but a commit can serve anybody.
    Quiet(Duration),
}

/// The rest of one who waits.
pub(crate) struct Rest<'b> {
    bell: &'b Bell,
    first: Rings,
    /// When it last looked.
    seen: Rings,
    started: Instant,
    timeout: Duration,
}

impl Bell {
    /// Has everybody look.
    pub(crate) fn ring(&self) {
        self.rings.lock().count += 1;
        self.rung.notify_all();
    }

    /// Has everybody go home.
    pub(crate) fn interrupt(&self) {
        self.rings.lock().interrupts += 1;
        self.rung.notify_all();
    }

    /// Begins to wait, for `timeout` at most: whoever is sent home from now on goes.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of these stores that reads a timer"
    )]
    pub(crate) fn rest(&self, timeout: Duration) -> Rest<'_> {
        let first = *self.rings.lock();
        Rest {
            bell: self,
            first,
            seen: first,
            started: Instant::now(),
            timeout,
        }
    }

    fn wait_for_more(&self, than: Rings, timeout: Duration) {
        let mut rings = self.rings.lock();
        self.rung
            .wait_while_for(&mut rings, |rings| *rings == than, timeout);
    }
}

impl Rest<'_> {
    /// Looks again and again until something is served: after each ring, and when what the last look
    /// said has passed. `None` when the time is up, or everybody was sent home.
    pub(crate) fn until_served<E>(
        &mut self,
        mut look: impl FnMut() -> Result<Look, E>,
    ) -> Result<Option<Interest>, E> {
        loop {
            // Before the look: what is rung meanwhile may have come too late for it.
            self.seen = *self.bell.rings.lock();
            let quiet = match look()? {
                Look::Served(interest) => return Ok(Some(interest)),
                Look::Quiet(quiet) => quiet,
            };
            let Some(left) = self.left() else {
                return Ok(None);
            };
            if self.bell.rings.lock().interrupts != self.first.interrupts {
                return Ok(None);
            }
            self.bell.wait_for_more(self.seen, quiet.min(left));
        }
    }

    /// Sleeps until the first ring after the last look, for `pause` and for what is left at most.
    #[cfg(feature = "postgres")]
    pub(crate) fn pause(&self, pause: Duration) {
        let left = self.left().unwrap_or_default();
        self.bell.wait_for_more(self.seen, pause.min(left));
    }

    /// How much of the time is left; `None` when it is up.
    fn left(&self) -> Option<Duration> {
        self.timeout.checked_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::thread;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    const NOTHING: Result<Look, Infallible> = Ok(Look::Quiet(HOUR));

    #[test]
    fn a_ring_during_the_look_is_not_slept_through() {
        let bell = Bell::default();
        let mut looks = 0;
        let served = bell.rest(HOUR).until_served(|| {
            looks += 1;
            if looks == 1 {
                bell.ring();
                return NOTHING;
            }
            Ok(Look::Served(Interest::Ready("default".to_owned())))
        });
        assert!(served.unwrap().is_some());
    }

    #[test]
    fn an_interrupt_sends_home_also_one_who_has_not_looked_yet() {
        let bell = Bell::default();
        let mut rest = bell.rest(HOUR);
        bell.interrupt();
        assert_eq!(rest.until_served(|| NOTHING).unwrap(), None);
    }

    #[test]
    fn an_interrupt_wakes_one_who_sleeps() {
        let bell = Bell::default();
        thread::scope(|threads| {
            let mut rest = bell.rest(HOUR);
            let waiter = threads.spawn(move || rest.until_served(|| NOTHING));
            bell.interrupt();
            assert_eq!(waiter.join().unwrap().unwrap(), None);
        });
    }

    #[test]
    fn a_wait_looks_once_even_if_there_is_no_time() {
        let bell = Bell::default();
        let mut looks = 0;
        let served = bell.rest(Duration::ZERO).until_served(|| {
            looks += 1;
            NOTHING
        });
        assert_eq!((served.unwrap(), looks), (None, 1));
    }
}
