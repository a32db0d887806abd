//! The workers: each task in a transaction of its own, which its settlement joins.

use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attendance::Held;
use super::backlog::LaneNumber;
use super::core::Core;
use super::hooks::{Event, caught};
use super::report::Reporter;
use super::roll::Role;
use super::timer::{instant, jitter};
use super::verdict::{self, End, chain};
use super::watch::{self, Reason};
use crate::handler::{Attempt, Context, Outcome};
use crate::queue::{self, Queue};
use crate::store::{self, Claim, Kind};
use crate::task::Position;
use crate::txn::{BoxError, Cancellation, CommitError, Transaction};

/// The longest pause before the first run after a conflict; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// How long a task rests whose run could not even begin or be undone cleanly.
const REST: Duration = Duration::from_secs(1);

/// How the run of a claim ended.
enum Ending {
    /// The settlement was part of the transaction that committed: of the whole, or of a chunk.
    Committed(Share),
    /// The settlement is still to be made, by itself.
    Settle(End),
    /// The commit's outcome is not known; the claim ends when it is.
    Undecided,
    /// The claim is another's.
    Lost,
}

/// How much of a task a run has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Whole,
    Chunk,
}

/// How one try in one transaction ended.
enum Tried {
    Over(Ending),
    Conflict {
        error: BoxError,
        /// Whether it was undone cleanly, so that it can be run again at once.
        clean: bool,
    },
}

impl Tried {
    fn settle(end: End) -> Self {
        Self::Over(Ending::Settle(end))
    }
}

/// Runs tasks until the backlog is closed, or until this worker was given up.
///
/// Returns whether the worker still counts among the present ones.
pub(super) fn run(core: &Arc<Core>) -> bool {
    loop {
        core.settler.wait_for_room();
        let Some((lane, claim)) = core.backlog.take() else {
            return true;
        };
        // A lane without a queue there is not; if there were, its tasks would be for others.
        let Some(queue) = core.queues.get(lane) else {
            core.release(claim);
            core.backlog.end(lane, Duration::ZERO);
            continue;
        };
        let hold = Hold::new(core, lane, queue, claim);
        if !hold.run() {
            return false;
        }
        core.backlog.end(lane, hold.since.elapsed());
    }
}

/// A claim in the hands of a worker. What a handler throws is caught, but what is thrown while that is
/// cleared away is not, and ends the thread: then the claim has failed, and its lane has room again.
struct Hold<'c> {
    core: &'c Core,
    lane: LaneNumber,
    queue: &'c Queue,
    /// `None` while the watch has it, and may give the worker up.
    held: Cell<Option<Held>>,
    claim: Arc<Claim>,
    since: Instant,
    /// Whether it was taken back, to be settled.
    taken: Cell<bool>,
    /// Whether the run came to its end.
    over: Cell<bool>,
}

impl<'c> Hold<'c> {
    fn new(core: &'c Core, lane: LaneNumber, queue: &'c Queue, held: Held) -> Self {
        Self {
            core,
            lane,
            queue,
            claim: held.shared(),
            held: Cell::new(Some(held)),
            since: instant(),
            taken: Cell::new(false),
            over: Cell::new(false),
        }
    }

    /// Runs the claim; returns whether this worker was not given up meanwhile.
    fn run(&self) -> bool {
        let present = run_claim(self);
        self.over.set(true);
        present
    }

    /// Has the watch look after the claim from now on.
    fn watch(&self, timeout: Option<Duration>) {
        if let Some(held) = self.held.take() {
            self.core.watch.enter(held, self.lane, timeout);
        }
    }

    /// Takes the claim back; `None` if this worker was given up meanwhile.
    fn take_back(&self) -> Option<Held> {
        let watch = &self.core.watch;
        let held = self.held.take().or_else(|| watch.leave(self.claim.token));
        self.taken.set(held.is_some());
        held
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.over.get() {
            return;
        }
        let core = self.core;
        if self.taken.get() {
            return core.backlog.end(self.lane, self.since.elapsed());
        }
        let Some(held) = self.take_back() else {
            // The watch has taken the thread off the roll, and its end is about to do so again.
            return core.roll.enter(Role::Worker);
        };
        let (task, conflicts) = (self.claim.record.id, self.claim.record.counts.conflicts);
        tracing::error!(consumer = %core.id, %task, "a worker died of a panic");
        let failure = vec!["its worker died of a panic".to_owned()];
        core.counters.count(|stats| stats.panics += 1);
        core.settle(held, End::failed(failure), conflicts);
        core.backlog.end(self.lane, self.since.elapsed());
    }
}

/// Runs one claim on the caller's thread, which nobody watches.
pub(super) fn run_here(core: &Core, queue: &Queue, held: Held) {
    Hold::new(core, LaneNumber::default(), queue, held).run();
}

/// Runs one claim to its end; returns whether this worker was not given up meanwhile.
fn run_claim(hold: &Hold<'_>) -> bool {
    let core = hold.core;
    let mut runner = match Runner::new(core, hold.queue, Arc::clone(&hold.claim)) {
        Ok(runner) => runner,
        Err(end) => {
            if let Some(claim) = hold.take_back() {
                let conflicts = claim.record.counts.conflicts;
                core.settle(claim, end, conflicts);
            }
            return true;
        }
    };
    hold.watch(runner.timeout);
    let ending = catch_unwind(AssertUnwindSafe(|| runner.run()));
    let ending = ending.unwrap_or_else(|panic| Ending::Settle(End::failed(vec![caught(panic)])));
    let Some(claim) = hold.take_back() else {
        return false;
    };
    match ending {
        Ending::Committed(Share::Whole) => {
            core.counters.count(|stats| stats.done += 1);
            let record = &claim.record;
            core.hooks.tell(&Event::Committed { record });
        }
        Ending::Committed(Share::Chunk) => core.counters.count(|stats| stats.chunks += 1),
        Ending::Settle(end) => {
            let end = end.lasting(hold.since.elapsed());
            let end = end.in_chunk(runner.chunk.get());
            core.settle(claim, end, runner.attempt.conflict_count);
        }
        Ending::Undecided => core.settle_in_doubt(claim, runner.attempt.conflict_count),
        Ending::Lost => core.lost(claim.record.id),
    }
    true
}

/// Runs one claim, in as many transactions as its conflicts make it take.
struct Runner<'c> {
    core: &'c Core,
    claim: Arc<Claim>,
    queue: &'c Queue,
    timeout: Option<Duration>,
    attempt: Attempt,
    /// How far the task was when the handler began, if it runs in chunks and said so.
    chunk: Cell<Option<Position>>,
}

impl<'c> Runner<'c> {
    /// Prepares a run, unless the claim ends without one.
    fn new(core: &'c Core, queue: &'c Queue, claim: Arc<Claim>) -> Result<Self, End> {
        let record = &claim.record;
        let now = core.store.now().map_err(|error| {
            core.store_failed("tell the time", &error);
            End::Released(Some(REST))
        })?;
        if let Some(end) = verdict::before_run(&claim, core.settings.reclaims_max, now) {
            return Err(end);
        }
        if !core.registry.handles(&record.kind) {
            return Err(core.unknown(record));
        }
        let timeout = record.options.timeout.or(core.settings.timeout);
        let position = record.account.as_ref().and_then(|account| account.position);
        let timeout = timeout.map(|timeout| verdict::timeout(timeout, position));
        let attempt = Attempt {
            task: record.id,
            kind: record.kind.clone(),
            number: record.counts.attempts.saturating_add(1),
            conflict_count: record.counts.conflicts,
            not_before: record.options.not_before,
            trace: record.options.trace.clone(),
            deadline: timeout.map(|timeout| now.saturating_add(timeout)),
        };
        Ok(Self {
            core,
            claim,
            queue,
            timeout,
            attempt,
            chunk: Cell::new(None),
        })
    }

    fn run(&mut self) -> Ending {
        loop {
            let (error, clean) = match self.try_once() {
                Tried::Over(ending) => return ending,
                Tried::Conflict { error, clean } => (error, clean),
            };
            self.attempt.conflict_count = self.attempt.conflict_count.saturating_add(1);
            self.core.counters.count(|stats| stats.conflicts += 1);
            let (count, max) = (
                self.attempt.conflict_count,
                self.core.settings.retry_max_count,
            );
            tracing::debug!(task = %self.attempt.task, count, error = &*error, "a conflict");
            self.tell(&Event::Conflicted {
                record: &self.claim.record,
                attempt: &self.attempt,
                error: &*error,
            });
            if count > max {
                let mut failure = vec![format!("more than {max} conflicts")];
                failure.extend(chain(&*error));
                return Ending::Settle(End::failed(failure));
            }
            if !clean {
                return Ending::Settle(End::Released(Some(REST)));
            }
            if self.core.backlog.closes_within(self.pause()) {
                return Ending::Settle(End::Released(None));
            }
        }
    }

    /// Returns how long to let the others in a conflict get out of the way.
    fn pause(&self) -> Duration {
        let doublings = self.attempt.conflict_count.saturating_sub(1).min(6);
        PAUSE_MIN
            .saturating_mul(1 << doublings)
            .min(PAUSE_MAX)
            .mul_f64(jitter())
    }

    /// Runs the handler in a fresh transaction, and ends that.
    fn try_once(&self) -> Tried {
        let mut txn = match self.core.manager.begin() {
            Ok(txn) => txn,
            Err(error) => {
                self.core.store_failed("begin a transaction", &error);
                return Tried::settle(End::Released(Some(REST)));
            }
        };
        let _entered = self.span(&txn).entered();
        let cancellation = Cancellation::new();
        txn.set_data(cancellation.clone());
        self.tell(&Event::Executing {
            record: &self.claim.record,
            attempt: &self.attempt,
        });
        if let Some(reason) = self
            .core
            .watch
            .handler_begins(self.claim.token, cancellation.clone())
        {
            return Self::stopped(txn, reason, None);
        }
        let started = instant();
        let result = self.handle(&mut txn, &cancellation);
        let reason = self.core.watch.handler_ended(self.claim.token);
        self.executed(started.elapsed(), result.as_ref().err());
        match (result, reason) {
            (Ok(outcome), None) => self.commit(txn, outcome),
            (Ok(outcome), Some(Reason::Stopping)) => {
                Self::unless_stopped(self.commit(txn, outcome))
            }
            (Ok(_), Some(reason)) => Self::stopped(txn, reason, None),
            (Err(error), Some(reason)) => Self::stopped(txn, reason, Some(chain(&*error))),
            (Err(error), None) => Self::failed(txn, error),
        }
    }

    /// Returns the span of one run: what is logged meanwhile is about this task and transaction.
    fn span(&self, txn: &Transaction) -> tracing::Span {
        let (record, attempt) = (&self.claim.record, &self.attempt);
        tracing::info_span!(
            "task",
            txn = %txn.id(),
            task = %record.id,
            queue = &*record.queue,
            kind = &*record.kind,
            attempt = attempt.number,
            conflicts = attempt.conflict_count,
            trace = attempt.trace.as_deref(),
        )
    }

    fn tell(&self, event: &Event<'_>) {
        self.core.hooks.tell(event);
    }

    /// Counts a run of the handler, and tells of it.
    fn executed(&self, took: Duration, error: Option<&BoxError>) {
        self.core.counters.count(|stats| stats.ran(took));
        self.tell(&Event::Executed {
            record: &self.claim.record,
            attempt: &self.attempt,
            took,
            error: error.map(|error| -> &(dyn StdError + 'static) { &**error }),
        });
    }

    fn handle(
        &self,
        txn: &mut Transaction,
        cancellation: &Cancellation,
    ) -> Result<Outcome, BoxError> {
        let record = &self.claim.record;
        let reporter = Reporter::new(self.core, &self.claim);
        let report = |text: &str| reporter.report(text);
        let context = Context::new(txn, &self.attempt, record, self.queue, cancellation);
        let mut context = context.reporting(&report);
        let run = || self.core.registry.run(record, &mut context);
        let ran = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            self.core.counters.count(|stats| stats.panics += 1);
            Err(caught(panic).into())
        });
        self.chunk.set(context.chunk());
        ran.map(|()| context.into_outcome())
    }

    /// Undoes a run that was told to stop.
    fn stopped(txn: Transaction, reason: Reason, error: Option<Vec<String>>) -> Tried {
        abort(txn);
        Tried::Over(watch::ending(reason, error).map_or(Ending::Lost, Ending::Settle))
    }

    /// Undoes a run whose handler failed. The participants are asked whether that was a conflict while
    /// they still know.
    fn failed(txn: Transaction, error: BoxError) -> Tried {
        let conflict = txn.is_retryable(&*error);
        let clean = abort(txn);
        if conflict {
            return Tried::Conflict { error, clean };
        }
        Tried::settle(End::failed(chain(&*error)))
    }

    /// What came of the commit of a run that was told to stop: if that was refused, what told it to may be the reason,
    /// so nothing is counted.
    fn unless_stopped(tried: Tried) -> Tried {
        match tried {
            Tried::Conflict { clean: true, .. } | Tried::Over(Ending::Settle(End::Failed(_))) => {
                Tried::settle(End::Released(None))
            }
            tried => tried,
        }
    }

    /// Commits a run whose handler succeeded, together with the task's completion — or leaves that to
    /// the settler, which shares its durable write with others, if there is nothing to go with it, nor can be: a
    /// synchronizer may have something join at the last moment.
    fn commit(&self, mut txn: Transaction, outcome: Outcome) -> Tried {
        let alone = txn.is_empty() && !self.core.manager.has_synchronizers();
        let share = if outcome.is_part() {
            Share::Chunk
        } else {
            Share::Whole
        };
        let end = End::Done(outcome);
        if !alone && let Err(error) = self.join_settlement(&mut txn, end.clone()) {
            if is_away(&*error) {
                abort(txn);
                return self.postponed(&*error);
            }
            return Self::failed(txn, error);
        }
        match txn.commit() {
            Ok(_) if alone => Tried::settle(end),
            Ok(_) => Tried::Over(Ending::Committed(share)),
            Err(error) => self.not_committed(error),
        }
    }

    fn join_settlement(&self, txn: &mut Transaction, end: End) -> Result<(), BoxError> {
        let now = self.core.store.now()?;
        let conflicts = self.attempt.conflict_count;
        let settlement = verdict::settlement(&self.claim, end, conflicts, now, 0.0);
        queue::settle_claim(&self.core.store, txn, &self.claim.record, settlement)?;
        Ok(())
    }

    fn not_committed(&self, error: CommitError) -> Tried {
        match &error {
            CommitError::Undecided { .. } => {
                let (task, error) = (self.attempt.task, chain(&error));
                tracing::warn!(%task, ?error, "the outcome of a task's commit is not known");
                Tried::Over(Ending::Undecided)
            }
            CommitError::Refused { source, .. } if self.is_lost(&**source) => {
                Tried::Over(Ending::Lost)
            }
            CommitError::Refused { source, .. } if is_away(&**source) => self.postponed(&error),
            CommitError::Refused {
                retryable: true,
                also,
                ..
            } => Tried::Conflict {
                clean: also.is_empty(),
                error: error.into(),
            },
            _ => Tried::settle(End::failed(chain(&error))),
        }
    }

    /// Gives a task back whose run could not be committed because a store cannot be reached. That is no fault of the
    /// task's, and lasts longer than a conflict.
    fn postponed(&self, error: &(dyn StdError + 'static)) -> Tried {
        self.core.store_failed("commit the run of a task", error);
        Tried::settle(End::Released(Some(REST)))
    }

    fn is_lost(&self, error: &(dyn StdError + 'static)) -> bool {
        let kind = store::Error::among(error).map(|error| &error.kind);
        kind == Some(&Kind::ClaimLost(self.attempt.task))
    }
}

/// Whether a store could not be reached.
fn is_away(error: &(dyn StdError + 'static)) -> bool {
    store::Error::among(error).is_some_and(|error| error.kind == Kind::Unavailable)
}

/// Aborts, and returns whether every participant did so cleanly.
fn abort(txn: Transaction) -> bool {
    let aborted = txn.abort();
    if let Err(error) = &aborted {
        tracing::warn!(error = ?chain(error), "a task's transaction did not abort cleanly");
    }
    aborted.is_ok()
}
