//! Waking those who wait for a store in files, by the kernel's word, after commits of other processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
#[cfg(feature = "sqlite")]
use std::time::Duration;

#[cfg(feature = "sqlite")]
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;

/// Watches a file or a folder for what other processes write; has the only thread of a store.
///
/// The kernel is asked only while somebody waits: what is written by those who are busy wakes nobody.
pub(crate) struct Watcher {
    shared: Arc<Watching>,
    nudge: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Watching {
    path: PathBuf,
    waiters: AtomicUsize,
    watch: Mutex<Watch>,
}

struct Watch {
    /// `None` when the store is being closed.
    watcher: Option<RecommendedWatcher>,
    is_on: bool,
}

/// What the kernel tells: that something was written, not what.
pub(crate) struct Nudges {
    receiver: Receiver<()>,
    shared: Arc<Watching>,
}

/// Somebody waits for as long as this lives.
pub(crate) struct Waiting<'w>(&'w Watcher);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.shared.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watcher {
    /// Starts to watch `path`: `follow` is called whenever something was written while somebody waits.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the stores in files that has a thread"
    )]
    pub(crate) fn start(
        path: PathBuf,
        mut follow: impl FnMut(&Nudges) + Send + 'static,
    ) -> notify::Result<Self> {
        let (nudge, receiver) = crossbeam_channel::bounded(1);
        let written = nudge.clone();
        let watcher = notify::recommended_watcher(move |_: notify::Result<_>| send(&written))?;
        let shared = Arc::new(Watching {
            path,
            waiters: AtomicUsize::new(0),
            watch: Mutex::new(Watch {
                watcher: Some(watcher),
                is_on: false,
            }),
        });
        let nudges = Nudges {
            receiver,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::spawn(move || nudges.follow(&mut follow));
        Ok(Self {
            shared,
            nudge: Some(nudge),
            thread: Some(thread),
        })
    }

    /// Has the path watched while the caller waits.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.shared.waiters.fetch_add(1, Ordering::SeqCst);
        if self.shared.turn_on() {
            // What was written before may become visible only now.
            self.nudge.iter().for_each(send);
        }
        Waiting(self)
    }
}

/// One nudge that is not yet taken stands for all, and nobody takes one when the store is closed.
fn send(nudge: &Sender<()>) {
    if let Err(TrySendError::Disconnected(())) = nudge.try_send(()) {
        tracing::trace!("nobody waits for what others write any more");
    }
}

impl Nudges {
    fn follow(self, follow: &mut dyn FnMut(&Self)) {
        while self.receiver.recv().is_ok() {
            if self.is_waited_for() {
                follow(&self);
            } else {
                self.shared.turn_off();
            }
        }
    }

    /// Whether somebody waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.shared.waiters.load(Ordering::SeqCst) > 0
    }

    /// Waits for the next nudge; `None` when the store is being closed, else whether one came in time.
    #[cfg(feature = "sqlite")]
    pub(crate) fn next_within(&self, pause: Duration) -> Option<bool> {
        match self.receiver.recv_timeout(pause) {
            Ok(()) => Some(true),
            Err(RecvTimeoutError::Timeout) => Some(false),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Watching {
    /// Returns whether the watch was off.
    fn turn_on(&self) -> bool {
        let mut watch = self.watch.lock();
        let was_off = !std::mem::replace(&mut watch.is_on, true);
        if was_off && let Some(watcher) = &mut watch.watcher {
            let on = watcher.watch(&self.path, RecursiveMode::NonRecursive);
            self.complain(on);
        }
        was_off
    }

    /// Ends the watch unless somebody waits.
    fn turn_off(&self) {
        let mut watch = self.watch.lock();
        if self.waiters.load(Ordering::SeqCst) > 0 || !watch.is_on {
            return;
        }
        watch.is_on = false;
        if let Some(watcher) = &mut watch.watcher {
            let off = watcher.unwatch(&self.path);
            self.complain(off);
        }
    }

    fn complain(&self, done: notify::Result<()>) {
        if let Err(error) = done {
            let path = self.path.display();
            tracing::warn!(%error, %path, "commits of other processes may be noticed only by polling");
        }
    }
}

/// Without anybody left to nudge it the thread ends.
impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.watch.lock().watcher = None;
        self.nudge = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that follows other processes panicked");
        }
    }
}

/// Goes on without a watcher where there cannot be one.
pub(crate) fn or_poll(watcher: notify::Result<Watcher>) -> Option<Watcher> {
    watcher
        .inspect_err(|error| {
            tracing::warn!(%error, "commits of other processes are noticed only by polling");
        })
        .ok()
}
