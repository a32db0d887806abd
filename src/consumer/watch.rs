//! The watch over running tasks: who runs what, until when, and who is to stop. Whoever takes a run
//! out of the watch — its worker, or the watch itself when the worker does not stop — ends its claim;
//! nobody else does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::attendance::Held;
use super::backlog::LaneNumber;
use super::core::Core;
use super::roll::Role;
use super::timer::{instant, later, within};
use super::verdict::{End, Mishap};
use crate::id::Token;
use crate::store::ClaimKey;
use crate::txn::Cancellation;

/// At least this often the watch looks whether workers are missing and prefetched tasks are stuck.
const ROUND: Duration = Duration::from_secs(1);

/// How often a run that is to stop is interrupted.
const URGE_INTERVAL: Duration = Duration::from_millis(20);

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It took longer than this.
    TimedOut(Duration),
    /// The consumer stops.
    Stopping,
    /// The claim is another's.
    Lost,
}

pub(super) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody is to be interrupted.
    urged: Condvar,
}

#[derive(Default)]
struct State {
    runs: HashMap<Token, Run>,
    /// When the runs are given up that come to be watched although the consumer stops.
    stops_at: Option<Instant>,
    /// Until when the watch sleeps; `None` while it is awake.
    sleeps_until: Option<Instant>,
    closed: bool,
}

struct Run {
    claim: Held,
    lane: LaneNumber,
    since: Instant,
    timeout: Option<Duration>,
    /// Why it is to stop, and when its worker is given up.
    stop: Option<(Reason, Instant)>,
    /// What stops the transaction that the handler works in; `None` while no handler runs.
    cancellation: Option<Cancellation>,
}

impl Run {
    /// When the watch has to do something about it.
    fn due_at(&self) -> Option<Instant> {
        self.cancellation.as_ref()?;
        match self.stop {
            Some((_, give_up_at)) => Some(give_up_at),
            None => self.timeout.map(|timeout| later(self.since, timeout)),
        }
    }

    /// Tells it to stop. To interrupt what it waits for is left to who [urges](Watch::next_urged).
    fn stop(&mut self, reason: Reason, give_up_at: Instant) {
        if let Some((_, at)) = &mut self.stop {
            *at = give_up_at.min(*at);
            return;
        }
        self.stop = Some((reason, give_up_at));
        if let Some(cancellation) = &self.cancellation {
            cancellation.announce();
        }
    }
}

/// What the watch found to do.
#[derive(Default)]
struct Findings {
    timed_out: u64,
    given_up: Vec<(Reason, Run)>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            urged: Condvar::new(),
        }
    }

    /// Begins to watch a run.
    pub(super) fn enter(&self, claim: Held, lane: LaneNumber, timeout: Option<Duration>) {
        let mut state = self.state.lock();
        let run = Run {
            lane,
            since: instant(),
            timeout,
            stop: state.stops_at.map(|at| (Reason::Stopping, at)),
            cancellation: None,
            claim,
        };
        state.runs.insert(run.claim.token, run);
    }

    /// Whether a run is watched: its claim is still its own.
    pub(super) fn has(&self, run: Token) -> bool {
        self.state.lock().runs.contains_key(&run)
    }

    /// Says that a handler begins to work, and how to stop it; returns why it must not, if so.
    pub(super) fn handler_begins(&self, run: Token, by: Cancellation) -> Option<Reason> {
        let mut state = self.state.lock();
        let Some(run) = state.runs.get_mut(&run) else {
            return Some(Reason::Lost);
        };
        if let Some((reason, _)) = run.stop {
            return Some(reason);
        }
        run.cancellation = Some(by);
        let due = run.due_at();
        if due.is_some_and(|due| state.sleeps_until.is_some_and(|until| due < until)) {
            self.changed.notify_one();
        }
        None
    }

    /// Says that the handler has returned, so that nothing interrupts it any more; returns why it was
    /// told to stop, if it was.
    pub(super) fn handler_ended(&self, run: Token) -> Option<Reason> {
        let mut state = self.state.lock();
        let Some(run) = state.runs.get_mut(&run) else {
            return Some(Reason::Lost);
        };
        run.cancellation = None;
        run.stop.map(|(reason, _)| reason)
    }

    /// Ends the watch over a run; returns its claim, unless its worker is no more who settles it.
    pub(super) fn leave(&self, run: Token) -> Option<Held> {
        let run = self.state.lock().runs.remove(&run);
        run.map(|run| run.claim)
    }

    /// Tells every run to stop, because the consumer does, and those that only begin.
    pub(super) fn stop_all(&self, grace: Duration) {
        let mut state = self.state.lock();
        let give_up_at = within(grace);
        state.stops_at = Some(give_up_at);
        for run in state.runs.values_mut() {
            run.stop(Reason::Stopping, give_up_at);
        }
        self.changed.notify_one();
        self.urged.notify_one();
    }

    /// Tells the runs to stop whose claims were lost.
    pub(super) fn stop_lost(&self, lost: &BTreeSet<Token>, grace: Duration) {
        let mut state = self.state.lock();
        let give_up_at = within(grace);
        for token in lost {
            if let Some(run) = state.runs.get_mut(token) {
                run.stop(Reason::Lost, give_up_at);
            }
        }
        self.changed.notify_one();
        self.urged.notify_one();
    }

    /// Returns the claims that run.
    pub(super) fn keys(&self) -> Vec<ClaimKey> {
        let state = self.state.lock();
        state.runs.values().map(|run| run.claim.key()).collect()
    }

    /// Has the watch end.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
        self.urged.notify_one();
    }

    /// Waits until something is due, at most for a round; `None` when the watch is closed.
    fn next(&self, grace: Duration) -> Option<Findings> {
        let mut state = self.state.lock();
        let round_ends = within(ROUND);
        loop {
            if state.closed {
                return None;
            }
            let now = instant();
            let findings = state.look(now, grace);
            if findings.timed_out > 0 {
                self.urged.notify_one();
            }
            if now >= round_ends || findings.timed_out > 0 || !findings.given_up.is_empty() {
                return Some(findings);
            }
            let due = state.runs.values().filter_map(Run::due_at);
            let until = due.chain([round_ends]).min().unwrap_or(round_ends);
            state.sleeps_until = Some(until);
            self.changed.wait_until(&mut state, until);
            state.sleeps_until = None;
        }
    }

    /// Waits until there are runs that are to stop and still work, and returns what interrupts them; `None` when the
    /// watch is closed.
    fn next_urged(&self) -> Option<Vec<Cancellation>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let stopping = state.runs.values().filter(|run| run.stop.is_some());
            let working = stopping.filter_map(|run| run.cancellation.clone());
            let working: Vec<_> = working.collect();
            if !working.is_empty() {
                return Some(working);
            }
            self.urged.wait(&mut state);
        }
    }

    /// Waits for a moment, or until the watch is closed.
    fn rest(&self) {
        let mut state = self.state.lock();
        if !state.closed {
            self.urged.wait_until(&mut state, within(URGE_INTERVAL));
        }
    }
}

impl State {
    fn look(&mut self, now: Instant, grace: Duration) -> Findings {
        let mut findings = Findings::default();
        let due = |run: &Run| run.due_at().is_some_and(|at| at <= now);
        let overdue = |run: &Run| run.stop.is_some() && due(run);
        for (_, run) in self.runs.extract_if(|_, run| overdue(run)) {
            findings
                .given_up
                .extend(run.stop.map(|(reason, _)| (reason, run)));
        }
        for run in self.runs.values_mut().filter(|run| due(run)) {
            run.stop(
                Reason::TimedOut(run.timeout.unwrap_or_default()),
                within(grace),
            );
            findings.timed_out += 1;
        }
        findings
    }
}

/// Watches until the watch is closed.
pub(super) fn run(core: &Arc<Core>) {
    while let Some(findings) = core.watch.next(core.settings.timeout_grace) {
        core.counters
            .count(|stats| stats.timeouts += findings.timed_out);
        for (reason, run) in findings.given_up {
            give_up(core, reason, run);
        }
        for claim in core.backlog.take_stale(ROUND) {
            core.release(claim);
        }
        core.hire();
    }
}

/// Interrupts whatever is to stop and still works, again and again: a wait may begin at any time. That may itself wait,
/// as for a server that is to cancel a statement, so it has a thread of its own and no lock.
pub(super) fn urge(core: &Core) {
    while let Some(working) = core.watch.next_urged() {
        working.iter().for_each(Cancellation::cancel);
        core.watch.rest();
    }
}

/// Settles a run in place of its worker, which does not stop, and lets the worker go: if it ever comes
/// back, its transaction is aborted, and it ends.
fn give_up(core: &Core, reason: Reason, run: Run) {
    let (claim, lane, took) = (run.claim, run.lane, run.since.elapsed());
    tracing::error!(
        consumer = %core.id, task = %claim.record.id, kind = &*claim.record.kind, ?reason,
        "a handler did not stop when told to; its thread is left behind"
    );
    core.counters.count(|stats| stats.abandoned += 1);
    match ending(reason, None) {
        Some(end) => {
            let conflicts = claim.record.counts.conflicts;
            core.settle(claim, end.lasting(took), conflicts);
        }
        None => core.lost(claim.record.id),
    }
    core.roll.leave(Role::Worker);
    core.backlog.end(lane, took);
}

/// Returns how a claim ends whose run was stopped; `None` if it is another's to end. `error` is what
/// the handler gave when it was stopped.
pub(super) fn ending(reason: Reason, error: Option<Vec<String>>) -> Option<End> {
    match reason {
        Reason::TimedOut(timeout) => {
            let mut chain = vec![format!("timed out after {timeout:?}")];
            chain.extend(error.into_iter().flatten());
            Some(End::Failed(Mishap {
                timed_out: true,
                ..Mishap::new(chain)
            }))
        }
        Reason::Stopping => Some(End::Released(None)),
        Reason::Lost => None,
    }
}
