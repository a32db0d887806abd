//! Waking those who wait in this process.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many topics are remembered. Who sleeps through more than these looks for himself.
const HEARD_MAX: usize = 64;

/// Wakes those who wait in this process.
#[derive(Default)]
pub(in crate::store::redis) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    rings: Rings,
    /// The latest topics that were heard of, each with the number of its ring.
    heard: VecDeque<(u64, Vec<u8>)>,
}

/// How often the bell was rung, and how often everybody was sent home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rings {
    count: u64,
    pub(super) interrupts: u64,
}

impl Bell {
    /// Has everybody look.
    pub(in crate::store::redis) fn ring(&self) {
        self.state.lock().rings.count += 1;
        self.rung.notify_all();
    }

    /// Has everybody look, and says what for.
    pub(super) fn tell(&self, topic: &[u8]) {
        let mut state = self.state.lock();
        state.rings.count += 1;
        let ring = state.rings.count;
        if state.heard.len() == HEARD_MAX {
            state.heard.pop_front();
        }
        state.heard.push_back((ring, topic.to_vec()));
        drop(state);
        self.rung.notify_all();
    }

    /// Whether `topic` was heard of after `since`.
    pub(super) fn has_heard(&self, topic: &str, since: Rings) -> bool {
        let state = self.state.lock();
        let heard = state.heard.iter().rev();
        let mut later = heard.take_while(|(ring, _)| *ring > since.count);
        later.any(|(_, heard)| heard == topic.as_bytes())
    }

    /// Has everybody go home.
    pub(in crate::store::redis) fn interrupt(&self) {
        self.state.lock().rings.interrupts += 1;
        self.rung.notify_all();
    }

    pub(super) fn rings(&self) -> Rings {
        self.state.lock().rings
    }

    pub(super) fn wait_for_more(&self, than: Rings, timeout: Duration) {
        let mut state = self.state.lock();
        self.rung
            .wait_while_for(&mut state, |state| state.rings == than, timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_heard_by_those_who_waited_before() {
        let bell = Bell::default();
        let before = bell.rings();
        bell.tell(b"ready:a");
        bell.ring();
        assert!(bell.has_heard("ready:a", before));
        assert!(!bell.has_heard("ready:b", before));
        assert!(!bell.has_heard("ready:a", bell.rings()));
    }

    #[test]
    fn what_was_told_long_ago_is_forgotten() {
        let bell = Bell::default();
        let before = bell.rings();
        bell.tell(b"ready:a");
        (0..HEARD_MAX).for_each(|_| bell.tell(b"ready:b"));
        assert!(!bell.has_heard("ready:a", before));
        assert!(bell.has_heard("ready:b", before));
    }
}
