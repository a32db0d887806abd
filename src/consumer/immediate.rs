//! Immediate mode: what a commit made visible runs before `commit` returns, on the thread that called it.
//!
//! No thread of its own: a synchronizer of the manager claims, runs and settles by the same code as the
//! workers. It is called when no participant is any more, and no lock is held, so the tasks' own
//! transactions are ordinary ones. What they enqueue is left to the loop that runs them already.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;

use super::attendance::Held;
use super::core::Core;
use super::rules::Rules;
use super::stats::Stats;
use super::verdict::End;
use super::{execute, fetch, settle};
use crate::id::{TaskId, TxnId};
use crate::queue::{Allowed, Queue};
use crate::store::{self, Claim, Want};
use crate::task::{Name, State};
use crate::txn::{BoxError, Outcome, Synchronizer, SynchronizerId, TransactionManager};

/// How many tasks run after one commit, so that a task that enqueues itself comes to an end.
const RUNS_MAX: usize = 10_000;

/// Runs every task right after the commit that enqueued it, on the thread that committed. For tests and
/// development. Made by [`Builder::immediate`](super::Builder::immediate); dropping it ends the mode.
#[must_use = "dropping it ends immediate mode"]
pub struct Immediate {
    desk: Arc<Desk>,
    manager: TransactionManager,
    synchronizer: SynchronizerId,
}

/// A task that did not succeed when it was run immediately.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// The task.
    pub task: TaskId,
    /// Its type tag.
    pub kind: Name,
    /// The error and its chain of sources, outermost first; or why it did not run.
    pub chain: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, kind, chain } = self;
        write!(f, "task {task} (`{kind}`): {}", chain.join(": "))
    }
}

impl StdError for Failed {}

impl Immediate {
    /// Follows the commits of `manager` from now on. `only` are the queues to serve; all, if it is empty.
    pub(super) fn start(core: Core, only: Vec<String>, manager: TransactionManager) -> Self {
        let desk = Arc::new(Desk {
            core,
            only,
            busy: Busy::default(),
            failed: Mutex::default(),
        });
        let synchronizer = manager.add_synchronizer(desk.clone());
        Self {
            desk,
            manager,
            synchronizer,
        }
    }

    /// Runs what is ready now: tasks whose time has come since the last commit, or that were committed
    /// without the manager. Returns how many runs there were; none, if this thread runs tasks already.
    ///
    /// # Errors
    /// The store could not be asked, or the tasks came to no end. What ran is settled.
    pub fn run_ready(&self) -> Result<usize, BoxError> {
        self.desk.run_ready()
    }

    /// Takes what failed since this was last called, in the order of running. A task that failed is tried
    /// again as its retry policy says: not before its delay has passed, and then at the next commit.
    #[must_use]
    pub fn take_failed(&self) -> Vec<Failed> {
        std::mem::take(&mut *self.desk.failed.lock())
    }

    /// Returns what has been done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.desk.core.counters.snapshot()
    }
}

impl Drop for Immediate {
    fn drop(&mut self) {
        self.manager.remove_synchronizer(self.synchronizer);
    }
}

impl fmt::Debug for Immediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Immediate")
            .field("id", &self.desk.core.id)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What the threads share that commit.
struct Desk {
    core: Core,
    only: Vec<String>,
    busy: Busy,
    failed: Mutex<Vec<Failed>>,
}

impl Synchronizer for Desk {
    fn after_completion(&self, _txn: TxnId, outcome: Option<Outcome>) -> Result<(), BoxError> {
        match outcome {
            Some(Outcome::Committed) => self.run_ready().map(drop),
            _ => Ok(()),
        }
    }
}

impl Desk {
    fn run_ready(&self) -> Result<usize, BoxError> {
        let Some(_turn) = self.busy.enter() else {
            return Ok(0);
        };
        let mut runs = 0;
        loop {
            match self.round()? {
                0 => return Ok(runs),
                more => runs += more,
            }
            if runs > RUNS_MAX {
                return Err(
                    format!("more than {RUNS_MAX} tasks ran: does one enqueue itself?").into(),
                );
            }
        }
    }

    /// Runs one task of each queue that has some, and returns how many that were.
    fn round(&self) -> Result<usize, BoxError> {
        let mut runs = 0;
        for name in self.ready()? {
            let queue = Queue::new(Arc::clone(&self.core.store), name.as_str())?;
            for claim in self.claim(&queue)? {
                self.run(&queue, claim);
                runs += 1;
            }
        }
        Ok(runs)
    }

    /// Claims one task of a queue, if it is not paused and one may start.
    fn claim(&self, queue: &Queue) -> store::Result<Vec<Held>> {
        let mut rules = Rules::new(queue.clone());
        if rules.present()?.paused.is_some() {
            return Ok(Vec::new());
        }
        let Allowed::Now(_) = fetch::allowed(&mut rules, 1)? else {
            return Ok(Vec::new());
        };
        let want = Want {
            queue: queue.name().to_owned(),
            count: 1,
        };
        let claims = fetch::claim(&self.core, want)?;
        let started = fetch::take_starts(&self.core, &mut rules, claims);
        // One for which there was no start any more is given back, and has not failed.
        drop(settle::settle_due(&self.core));
        started
    }

    /// Returns the queues that are served and may have tasks to run.
    fn ready(&self) -> store::Result<Vec<String>> {
        // Whether the time of a scheduled one has come is for the claim to say.
        let may_run = |(state, count): &(State, u64)| {
            *count > 0 && matches!(state, State::Ready | State::Scheduled)
        };
        let queues = self.core.store.stats()?.queues.into_iter();
        let ready = queues.filter(|queue| queue.counts.iter().any(may_run));
        let served = |name: &String| self.only.is_empty() || self.only.contains(name);
        Ok(ready.map(|queue| queue.queue).filter(served).collect())
    }

    fn run(&self, queue: &Queue, claim: Held) {
        execute::run_here(&self.core, queue, claim);
        for (claim, end) in settle::settle_due(&self.core) {
            if let Some(chain) = self.fault(&claim, end) {
                let failed = Failed {
                    task: claim.record.id,
                    kind: claim.record.kind.clone(),
                    chain,
                };
                tracing::error!(%failed, "run immediately");
                self.failed.lock().push(failed);
            }
        }
    }

    /// Returns why a task did not succeed; `None` if it did.
    fn fault(&self, claim: &Claim, end: End) -> Option<Vec<String>> {
        let text = match end {
            End::Done(_) => return None,
            End::Failed(mishap) => return Some(mishap.chain),
            End::Released(_) if !self.core.registry.handles(&claim.record.kind) => {
                "nobody handles this kind of task"
            }
            End::Released(_) => "given back: its transaction could not begin, end or be undone",
            End::Expired => "its time to start had passed",
            End::Worn => "its consumers died too often",
        };
        Some(vec![text.to_owned()])
    }
}

/// The threads that run tasks.
#[derive(Default)]
struct Busy(Mutex<HashSet<ThreadId>>);

impl Busy {
    /// Counts this thread among them, until what is returned is dropped; `None` if it is one already.
    fn enter(&self) -> Option<Turn<'_>> {
        let thread = thread::current().id();
        let is_new = self.0.lock().insert(thread);
        is_new.then(|| Turn { busy: self, thread })
    }
}

struct Turn<'b> {
    busy: &'b Busy,
    thread: ThreadId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.thread);
    }
}
