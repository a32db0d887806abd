//! How work in progress is told, from another thread, to stop.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::txn::error::guarded;

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

type Interrupt = Box<dyn Fn() + Send>;

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
    /// It must not block, and must be harmless when the wait is over. It is called again as long as the
    /// work goes on, since a wait may begin just after.
    pub fn on_cancel(&self, interrupt: impl Fn() + Send + 'static) {
        let mut state = self.0.lock();
        if state.cancelled {
            drop(state);
            call(&interrupt);
            state = self.0.lock();
        }
        state.interrupts.push(Box::new(interrupt));
    }

    /// Tells the work to stop, if it looks. Interrupts nothing.
    pub(crate) fn announce(&self) {
        self.0.lock().cancelled = true;
    }

    /// Tells the work to stop, and interrupts what it waits for now. To be called again until it has.
    pub fn cancel(&self) {
        let interrupts = {
            let mut state = self.0.lock();
            state.cancelled = true;
            std::mem::take(&mut state.interrupts)
        };
        for interrupt in &interrupts {
            call(interrupt);
        }
        self.0.lock().interrupts.extend(interrupts);
    }
}

fn call(interrupt: &dyn Fn()) {
    let called = guarded(|| {
        interrupt();
        Ok(())
    });
    if let Err(error) = called {
        tracing::warn!(%error, "an interrupt panicked");
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
    fn an_interrupt_is_called_by_every_cancel_and_at_once_if_it_comes_late() {
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
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        cancellation.on_cancel(interrupt());
        assert!(cancellation.is_cancelled());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn an_interrupt_that_panics_keeps_no_other_from_being_called() {
        let (cancellation, called) = (Cancellation::new(), Arc::new(AtomicU32::new(0)));
        let seen = Arc::clone(&called);
        cancellation.on_cancel(|| panic!("not now"));
        cancellation.on_cancel(move || seen.store(1, Ordering::Relaxed));
        cancellation.cancel();
        assert_eq!(called.load(Ordering::Relaxed), 1);
    }
}
