//! The settler: settlements that have no other participant, collected and made many at a time. None
//! is dropped until the store has accepted it or said that the claim is another's.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::attendance::Held;
use super::core::Core;
use super::hooks::Event;
use super::stats::Stats;
use super::timer::{Backoff, instant, jitter, later, within};
use super::verdict::{self, End};
use crate::queue;
use crate::store::{self, Claim, ClaimKey, Kind, Settlement, Verdict};
use crate::task::Failure;
use crate::txn::BoxError;

/// The largest number of settlements made in one transaction.
const BATCH_MAX: usize = 256;

/// Workers wait before they start more while so many settlements wait.
const WAITING_MAX: usize = 4 * BATCH_MAX;

/// How long after a lost answer the first look is taken at what came of it.
const IN_DOUBT_DELAY: Duration = Duration::from_millis(500);

pub(super) struct Settler {
    state: Mutex<State>,
    /// A settlement came, or it is closed.
    came: Condvar,
    /// Settlements went.
    went: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Job>,
    later: Vec<(Instant, Job)>,
    /// In the hands of the settler's thread.
    taken: Vec<ClaimKey>,
    /// Give up at this instant; until then drain.
    closed: Option<Instant>,
}

struct Job {
    claim: Held,
    end: End,
    conflicts: u32,
    /// A settlement in doubt was in the way when it was last tried.
    pinned: bool,
    backoff: Backoff,
}

impl Job {
    fn new(claim: Held, end: End, conflicts: u32) -> Self {
        Self {
            claim,
            end,
            conflicts,
            pinned: false,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        }
    }
}

impl Settler {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            came: Condvar::new(),
            went: Condvar::new(),
        }
    }

    /// Sees to it that a claim is settled.
    pub(super) fn submit(&self, claim: Held, end: End, conflicts: u32) {
        let job = Job::new(claim, end, conflicts);
        self.state.lock().ready.push_back(job);
        self.came.notify_one();
    }

    /// Sees to it that a claim is given back, after a while.
    pub(super) fn submit_later(&self, claim: Held, conflicts: u32) {
        let job = Job::new(claim, End::Released(None), conflicts);
        let at = within(IN_DOUBT_DELAY);
        self.state.lock().later.push((at, job));
        self.came.notify_one();
    }

    /// Waits while too many settlements wait.
    pub(super) fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while state.closed.is_none() && state.len() >= WAITING_MAX {
            self.went.wait(&mut state);
        }
    }

    /// Returns the claims that are yet to be settled.
    pub(super) fn keys(&self) -> Vec<ClaimKey> {
        let state = self.state.lock();
        let later = state.later.iter().map(|(_, job)| job);
        let waiting = state.ready.iter().chain(later).map(|job| job.claim.key());
        waiting.chain(state.taken.iter().copied()).collect()
    }

    /// Has the settler end when nothing is left to settle, at the latest by the deadline.
    pub(super) fn close(&self, deadline: Instant) {
        self.state.lock().closed = Some(deadline);
        self.came.notify_all();
        self.went.notify_all();
    }

    /// Returns how many settlements wait.
    pub(super) fn len(&self) -> usize {
        self.state.lock().len()
    }

    /// Waits for settlements that are due; empty when there will be none any more.
    fn take(&self) -> Vec<Job> {
        let mut state = self.state.lock();
        loop {
            let now = instant();
            state.promote(now);
            if !state.ready.is_empty() {
                return state.take();
            }
            let ends = state
                .closed
                .is_some_and(|at| at <= now || state.is_drained());
            if ends {
                return Vec::new();
            }
            match state.wake_at() {
                Some(at) => drop(self.came.wait_until(&mut state, at)),
                None => self.came.wait(&mut state),
            }
        }
    }

    /// Takes what is due, without waiting for any.
    fn take_due(&self) -> Vec<Job> {
        let mut state = self.state.lock();
        state.promote(instant());
        state.take()
    }

    /// Puts back what could not be settled for now.
    fn postpone(&self, jobs: Vec<Job>) {
        let now = instant();
        let mut state = self.state.lock();
        for mut job in jobs {
            let at = later(now, job.backoff.next());
            state.later.push((at, job));
        }
    }

    fn settled(&self) {
        self.state.lock().taken.clear();
        self.went.notify_all();
    }
}

impl State {
    fn len(&self) -> usize {
        self.ready.len() + self.later.len() + self.taken.len()
    }

    /// Whether nothing is left but what recovery must free first.
    fn is_drained(&self) -> bool {
        self.ready.is_empty() && self.later.iter().all(|(_, job)| job.pinned)
    }

    fn promote(&mut self, now: Instant) {
        let due = self.later.extract_if(.., |(at, _)| *at <= now);
        self.ready.extend(due.map(|(_, job)| job));
    }

    fn take(&mut self) -> Vec<Job> {
        let count = self.ready.len().min(BATCH_MAX);
        let jobs: Vec<Job> = self.ready.drain(..count).collect();
        self.taken = jobs.iter().map(|job| job.claim.key()).collect();
        jobs
    }

    fn wake_at(&self) -> Option<Instant> {
        let later = self.later.iter().map(|(at, _)| *at);
        later.chain(self.closed).min()
    }
}

/// Settles until the settler is closed and drained.
pub(super) fn run(core: &Core) {
    loop {
        let jobs = core.settler.take();
        if jobs.is_empty() {
            return;
        }
        settle(core, jobs);
        core.settler.settled();
    }
}

/// Settles what is due, on the caller's thread; returns what that was.
pub(super) fn settle_due(core: &Core) -> Vec<(Arc<Claim>, End)> {
    let mut ended = Vec::new();
    loop {
        let jobs = core.settler.take_due();
        if jobs.is_empty() {
            return ended;
        }
        let how = |job: &Job| (job.claim.shared(), job.end.clone());
        ended.extend(jobs.iter().map(how));
        settle(core, jobs);
        core.settler.settled();
    }
}

/// Settles all of `jobs` in one transaction, or, if one of them is in the way, the others without it.
fn settle(core: &Core, mut jobs: Vec<Job>) {
    while !jobs.is_empty() {
        match commit(core, &jobs) {
            Ok(settlements) => return settled(core, &jobs, &settlements),
            Err(error) => jobs = refused(core, jobs, &*error),
        }
    }
}

/// Settles all of `jobs` or none, and returns what became of each.
fn commit(core: &Core, jobs: &[Job]) -> Result<Vec<Settlement>, BoxError> {
    let mut txn = core.manager.begin()?;
    let now = core.store.now()?;
    let mut settlements = Vec::with_capacity(jobs.len());
    for job in jobs {
        let settlement =
            verdict::settlement(&job.claim, job.end.clone(), job.conflicts, now, jitter());
        settlements.push(settlement.clone());
        queue::settle_claim(&core.store, &mut txn, &job.claim.record, settlement)?;
    }
    txn.commit()?;
    Ok(settlements)
}

/// Deals with a refusal, and returns what is to be tried again at once.
fn refused(core: &Core, jobs: Vec<Job>, error: &(dyn StdError + 'static)) -> Vec<Job> {
    let store_error = store::Error::among(error);
    let (task, pinned) = match store_error.map(|error| &error.kind) {
        Some(Kind::ClaimLost(task)) => (Some(*task), false),
        Some(Kind::Pinned(task)) => (Some(*task), true),
        _ => (None, false),
    };
    let is_named = |job: &Job| Some(job.claim.record.id) == task;
    let (mut named, mut others): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_named);
    match (named.pop(), named.is_empty()) {
        (Some(job), true) if pinned => core.settler.postpone(vec![Job { pinned, ..job }]),
        (Some(job), true) => core.lost(job.claim.record.id),
        (last, _) => {
            others.extend(named.into_iter().chain(last));
            let hopeless = store_error.is_some_and(|error| !error.is_retryable());
            give_time(core, std::mem::take(&mut others), error, hopeless);
        }
    }
    others
}

/// Puts back what the store refused without saying which of them is in the way. If waiting alone will
/// not help, each is tried by itself first.
fn give_time(core: &Core, jobs: Vec<Job>, error: &(dyn StdError + 'static), hopeless: bool) {
    if hopeless && jobs.len() > 1 {
        return jobs.into_iter().for_each(|job| settle(core, vec![job]));
    }
    core.store_failed("settle tasks", error);
    core.settler.postpone(jobs);
}

/// Counts what was settled, and tells of it.
fn settled(core: &Core, jobs: &[Job], settlements: &[Settlement]) {
    let settled = || jobs.iter().zip(settlements);
    core.counters.count(|stats| {
        settled().for_each(|(job, settlement)| count(stats, &job.end, settlement.verdict));
    });
    for (job, settlement) in settled() {
        log(core, &job.claim, settlement);
        if let Some(event) = event(&job.claim, settlement) {
            core.hooks.tell(&event);
        }
    }
}

/// Returns why the last attempt failed.
fn failure<'s>(claim: &'s Claim, settlement: &'s Settlement) -> Option<&'s Failure> {
    let account = settlement.account.as_ref();
    account.map_or_else(|| claim.record.failure(), |account| account.failures.last())
}

/// Logs a failure with the chain of its causes.
fn log(core: &Core, claim: &Claim, settlement: &Settlement) {
    let (consumer, record) = (&core.id, &claim.record);
    let (task, kind, queue) = (record.id, &*record.kind, &*record.queue);
    let error = failure(claim, settlement).map(|failure| &failure.chain);
    match settlement.verdict {
        Verdict::Retry { .. } => {
            tracing::warn!(%consumer, %task, kind, queue, ?error, "an attempt failed");
        }
        Verdict::Bury { reason } => {
            tracing::error!(%consumer, %task, kind, queue, ?reason, ?error, "a task is dead");
        }
        _ => {}
    }
}

fn count(stats: &mut Stats, end: &End, verdict: Verdict) {
    match end {
        End::Done(outcome) if outcome.is_part() => stats.chunks += 1,
        End::Done(_) => stats.done += 1,
        End::Failed(_) => stats.failed += 1,
        End::Released(_) => stats.released += 1,
        End::Expired | End::Worn => stats.buried += 1,
    }
    match verdict {
        Verdict::Retry { .. } => stats.retried += 1,
        Verdict::Bury { .. } => stats.dead += 1,
        _ => {}
    }
}

/// Returns what there is to tell of a settlement; nothing of what was given back.
fn event<'e>(claim: &'e Claim, settlement: &'e Settlement) -> Option<Event<'e>> {
    let record = &claim.record;
    match settlement.verdict {
        Verdict::Done => Some(Event::Committed { record }),
        Verdict::Retry { at } => Some(Event::Retrying {
            record,
            failure: failure(claim, settlement)?,
            at,
        }),
        Verdict::Bury { reason } => Some(Event::Dead {
            record,
            reason,
            failure: failure(claim, settlement),
        }),
        Verdict::Release { .. } => None,
    }
}
