//! How work in progress is told, from another thread, to stop.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Tells work in progress, from another thread, to stop: a flag that the work may look at, and the
/// interrupts of the connections that it waits on. Cheap to clone; clones share.
///
/// Whoever runs work that may be cancelled leaves one in the [data](crate::txn::Work::set_data) of its
/// transaction; a participant that can be interrupted looks for it there when it joins.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cancelled: bool,
    interrupts: Vec<Interrupt>,
}

type Interrupt = Box<dyn FnOnce() + Send>;

impl Cancellation {
    /// Creates one that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the work is to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().cancelled
    }

    /// Adds what ends a wait of the work early; called at once if it is cancelled already.
    ///
    /// It must not block, and must be harmless when the wait is over.
    pub fn on_cancel(&self, interrupt: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        if !state.cancelled {
            state.interrupts.push(Box::new(interrupt));
            return;
        }
        drop(state);
        interrupt();
    }

    /// Tells the work to stop. Again is harmless.
    pub fn cancel(&self) {
        let interrupts = {
            let mut state = self.0.lock();
            state.cancelled = true;
            std::mem::take(&mut state.interrupts)
        };
        for interrupt in interrupts {
            interrupt();
        }
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation")
            .field(&self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn every_interrupt_is_called_once_whether_it_came_before_or_after() {
        let (cancellation, calls) = (Cancellation::new(), Arc::new(AtomicU32::new(0)));
        let interrupt = || {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        cancellation.on_cancel(interrupt());
        assert!(!cancellation.is_cancelled());
        cancellation.cancel();
        cancellation.cancel();
        cancellation.on_cancel(interrupt());
        assert!(cancellation.is_cancelled());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
