//! Waiting for something to do: woken by every change, and looking again when a time comes.

use std::time::{Duration, Instant};

use super::{MemoryStore, State};
use crate::store::Interest;
use crate::time::{Clock, Timestamp};

/// The longest sleep while tasks are scheduled, because the store's clock may be moved by hand.
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(50);

/// The shortest sleep, lest rounding turns waiting into spinning.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

impl State {
    /// Whether an interest may be served; `mark` is the value that its mark had when the wait began.
    fn is_served(&self, interest: &Interest, mark: Option<&Vec<u8>>, now: Timestamp) -> bool {
        match interest {
            Interest::Ready(queue) => self.ledger.is_ready(queue, self.is_departed(), now),
            Interest::Settled(task) => self.ledger.is_settled(*task),
            Interest::Mark(key) => self.ledger.mark(key) != mark,
        }
    }

    /// The marks that are waited for, as they are now.
    fn marks(&self, interests: &[Interest]) -> Vec<Option<Vec<u8>>> {
        let marks = interests.iter().map(|interest| match interest {
            Interest::Mark(key) => self.ledger.mark(key).cloned(),
            _ => None,
        });
        marks.collect()
    }

    /// How long nothing but a notification can serve anybody.
    fn quiet_for(&self, now: Timestamp) -> Option<Duration> {
        let at = self.ledger.next_due()?;
        Some(at.since(now).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX))
    }
}

impl MemoryStore {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that reads a timer"
    )]
    pub(super) fn wait_for_any(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Option<Interest> {
        let started = Instant::now();
        let mut state = self.shared.state.lock();
        let (marks, interrupts) = (state.marks(interests), state.interrupt_count);
        loop {
            let now = self.clock.now();
            let mut waiting = interests.iter().zip(&marks);
            let served = waiting.find(|(interest, mark)| {
                let mark = mark.as_ref();
                state.is_served(interest, mark, now)
            });
            if let Some((interest, _)) = served {
                return Some(interest.clone());
            }
            let left = timeout.checked_sub(started.elapsed())?;
            if state.interrupt_count != interrupts {
                return None;
            }
            let pause = state.quiet_for(now).map_or(left, |quiet| quiet.min(left));
            self.shared.changed.wait_for(&mut state, pause);
        }
    }
}
