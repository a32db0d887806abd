//! The thread that hears of changes, on a connection of its own.
//!
//! Nothing is missed across a loss of the connection: whoever looks in vain says so in the store, in the
//! same step, and whenever the channel has been subscribed to, everybody looks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use redis::RedisError;

use super::bell::Bell;
use crate::store::Kind;
use crate::store::redis::error::Fault;
use crate::store::redis::script::Link;

/// The first and the longest pause between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(2)];

/// Hears of changes for as long as it lives; started by the first who waits.
pub(in crate::store::redis) struct Listener {
    shared: Arc<Shared>,
    link: Arc<Link>,
    started: Mutex<bool>,
}

struct Shared {
    bell: Arc<Bell>,
    connected: AtomicBool,
    stopped: Mutex<bool>,
    stopping: Condvar,
}

impl Listener {
    pub(in crate::store::redis) fn new(link: &Arc<Link>, bell: &Arc<Bell>) -> Self {
        Self {
            shared: Arc::new(Shared {
                bell: Arc::clone(bell),
                connected: AtomicBool::new(false),
                stopped: Mutex::new(false),
                stopping: Condvar::new(),
            }),
            link: Arc::clone(link),
            started: Mutex::new(false),
        }
    }

    /// Whether messages arrive at present.
    pub(in crate::store::redis) fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// Starts to listen, unless that was done before.
    pub(super) fn start(&self) {
        let mut started = self.started.lock();
        if *started {
            return;
        }
        let (shared, link) = (Arc::clone(&self.shared), Arc::clone(&self.link));
        let thread = std::thread::Builder::new().name("votive-redis-listen".to_owned());
        match thread.spawn(move || shared.listen(&link)) {
            Ok(_) => *started = true,
            Err(error) => tracing::warn!(%error, "no thread: changes are noticed only by polling"),
        }
    }
}

impl Shared {
    fn listen(&self, link: &Link) {
        let [first, longest] = PAUSES;
        let mut pause = first;
        while !self.is_stopped_within(Duration::ZERO) {
            let heard = self.hear(link);
            if self.connected.swap(false, Ordering::SeqCst) {
                pause = first;
            }
            let Err(fault) = heard else { return };
            tracing::warn!(
                ?fault,
                "the connection for wake-ups was lost; will try again"
            );
            if self.is_stopped_within(pause) {
                return;
            }
            pause = longest.min(pause * 2);
        }
    }

    /// Passes on what is heard until the connection is lost, or the store is closed.
    fn hear(&self, link: &Link) -> Result<(), Fault> {
        let mut connection = link.pool.listen()?;
        let lost = |error: RedisError| Fault::unanswered(error, Kind::Unavailable);
        let mut channel = connection.as_pubsub();
        channel.subscribe(link.channel()).map_err(lost)?;
        channel.set_read_timeout(None).map_err(lost)?;
        self.connected.store(true, Ordering::SeqCst);
        // Who closes the store nudges a listener that is connected, so one that was not looks for itself.
        if self.is_stopped_within(Duration::ZERO) {
            return Ok(());
        }
        self.bell.ring();
        loop {
            let message = channel.get_message().map_err(lost)?;
            if self.is_stopped_within(Duration::ZERO) {
                return Ok(());
            }
            self.bell.tell(message.get_payload_bytes());
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped && !pause.is_zero() {
            self.stopping.wait_for(&mut stopped, pause);
        }
        *stopped
    }
}

/// The thread ends by the message, or by the loss of its connection; it is not waited for.
impl Drop for Listener {
    fn drop(&mut self) {
        *self.shared.stopped.lock() = true;
        self.shared.stopping.notify_all();
        if self.is_connected()
            && let Err(fault) = self.link.nudge()
        {
            tracing::debug!(
                ?fault,
                "the thread for wake-ups ends when its connection does"
            );
        }
    }
}
