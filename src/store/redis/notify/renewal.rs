//! The thread that renews leases: the proof that this process lives.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::store::redis::presence::Leases;
use crate::store::redis::script::Link;

/// Renews leases for as long as it lives; started by the first lease.
pub(in crate::store::redis) struct Renewal {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

struct Shared {
    leases: Arc<Leases>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_started: bool,
    is_stopped: bool,
}

impl Renewal {
    pub(in crate::store::redis) fn new(link: &Arc<Link>, leases: &Arc<Leases>) -> Self {
        Self {
            shared: Arc::new(Shared {
                leases: Arc::clone(leases),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            link: Arc::clone(link),
        }
    }

    /// Starts to renew, or takes a new lease into account.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub(in crate::store::redis) fn start(&self) -> std::io::Result<()> {
        let mut state = self.shared.state.lock();
        if !state.is_started {
            let (shared, link) = (Arc::clone(&self.shared), Arc::clone(&self.link));
            let thread = std::thread::Builder::new().name("votive-redis-renew".to_owned());
            thread.spawn(move || shared.renew(&link))?;
            state.is_started = true;
        }
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Shared {
    fn renew(&self, link: &Link) {
        loop {
            let interval = match self.leases.renew(link) {
                Ok(shortest) => shortest / 3,
                Err(fault) => {
                    tracing::warn!(?fault, "leases were not renewed; will try again");
                    self.leases.shortest() / 10
                }
            };
            let mut state = self.state.lock();
            if !state.is_stopped {
                self.changed
                    .wait_for(&mut state, interval.max(Duration::from_millis(10)));
            }
            if state.is_stopped {
                return;
            }
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.shared.state.lock().is_stopped = true;
        self.shared.changed.notify_all();
    }
}
