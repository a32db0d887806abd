//! What was claimed and not yet started, a lane for each queue. Here the limits are kept: a lane never
//! has more tasks running than its limit, and none is started once the backlog is closed.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::attendance::Held;
use super::timer::{instant, within};
use crate::id::Token;
use crate::store::ClaimKey;

/// How much work is claimed ahead of the running tasks, in time: enough to cover a claim, and too
/// little to keep work from other consumers.
const AHEAD: Duration = Duration::from_millis(20);

/// Names a lane: its place in the order in which the queues were given.
pub(super) type LaneNumber = usize;

pub(super) struct Backlog {
    state: Mutex<State>,
    /// A task can be started, or the backlog is closed.
    startable: Condvar,
    /// A task ended, and a lane has room or nothing runs any more; or the backlog is closed.
    ended: Condvar,
}

struct State {
    lanes: Vec<Lane>,
    /// Where the search for the next task begins, so that every lane gets its turn.
    turn: LaneNumber,
    closed: bool,
}

struct Lane {
    limit: usize,
    prefetch_max: usize,
    running: usize,
    waiting: VecDeque<Waiting>,
    /// How long a task has taken of late; `None` before the first.
    pace: Option<Duration>,
}

struct Waiting {
    claim: Held,
    since: Instant,
}

impl Backlog {
    /// Creates a lane for each limit.
    pub(super) fn new(limits: impl IntoIterator<Item = usize>, prefetch_max: usize) -> Self {
        let lane = |limit| Lane {
            limit,
            prefetch_max,
            running: 0,
            waiting: VecDeque::new(),
            pace: None,
        };
        Self {
            state: Mutex::new(State {
                lanes: limits.into_iter().map(lane).collect(),
                turn: 0,
                closed: false,
            }),
            startable: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// Waits until a lane wants tasks, and returns how many; `None` once the backlog is closed.
    pub(super) fn room(&self, lane: LaneNumber) -> Option<usize> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let room = state.lanes.get(lane)?.room();
            if room > 0 {
                return Some(room);
            }
            self.ended.wait(&mut state);
        }
    }

    /// Lets claimed tasks be started. Returns those that came too late, because it is closed.
    #[must_use]
    pub(super) fn put(&self, lane: LaneNumber, claims: Vec<Held>) -> Vec<Held> {
        let mut state = self.state.lock();
        let closed = state.closed;
        let Some(lane) = state.lanes.get_mut(lane).filter(|_| !closed) else {
            return claims;
        };
        let (since, count) = (instant(), claims.len());
        let waiting = claims.into_iter().map(|claim| Waiting { claim, since });
        lane.waiting.extend(waiting);
        drop(state);
        self.wake(count);
        Vec::new()
    }

    /// Wakes a worker for each of so many tasks, if so many sleep: more would only be in each other's way.
    fn wake(&self, count: usize) {
        for _ in 0..count {
            if !self.startable.notify_one() {
                break;
            }
        }
    }

    /// Waits for a task that may be started, and counts it as running; `None` once it is closed.
    pub(super) fn take(&self) -> Option<(LaneNumber, Held)> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(found) = state.start() {
                return Some(found);
            }
            self.startable.wait(&mut state);
        }
    }

    /// Counts a task of the lane as ended, after it took so long.
    pub(super) fn end(&self, lane: LaneNumber, took: Duration) {
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.get_mut(lane) {
            lane.running = lane.running.saturating_sub(1);
            lane.pace = Some(lane.pace.map_or(took, |pace| (pace * 7 + took) / 8));
        }
        let heard = state.running() == 0 || state.has_room();
        drop(state);
        self.startable.notify_one();
        if heard {
            self.ended.notify_all();
        }
    }

    /// Takes back what has waited for so long: its lane is held up by a long task, and other consumers
    /// may have room.
    pub(super) fn take_stale(&self, wait: Duration) -> Vec<Held> {
        let mut state = self.state.lock();
        let mut held_up = Vec::new();
        for lane in &mut state.lanes {
            if lane
                .waiting
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() >= wait)
            {
                lane.pace = Some(AHEAD.saturating_mul(100));
                held_up.extend(lane.waiting.drain(..).map(|waiting| waiting.claim));
            }
        }
        held_up
    }

    /// Takes back what waits in a lane, of which nothing is to be started for now.
    pub(super) fn take_waiting(&self, lane: LaneNumber) -> Vec<Held> {
        let mut state = self.state.lock();
        let waiting = state.lanes.get_mut(lane).into_iter();
        let waiting = waiting.flat_map(|lane| lane.waiting.drain(..));
        waiting.map(|waiting| waiting.claim).collect()
    }

    /// Forgets waiting claims that were lost.
    pub(super) fn remove(&self, lost: &BTreeSet<Token>) {
        for lane in &mut self.state.lock().lanes {
            lane.waiting
                .retain(|waiting| !lost.contains(&waiting.claim.token));
        }
    }

    /// Returns the claims that wait.
    pub(super) fn keys(&self) -> Vec<ClaimKey> {
        let state = self.state.lock();
        let waiting = state.lanes.iter().flat_map(|lane| &lane.waiting);
        waiting.map(|waiting| waiting.claim.key()).collect()
    }

    /// Lets no task be started any more, and returns those that wait.
    pub(super) fn close(&self) -> Vec<Held> {
        let mut state = self.state.lock();
        state.closed = true;
        let lanes = state.lanes.iter_mut();
        let waiting = lanes.flat_map(|lane| lane.waiting.drain(..));
        let claims = waiting.map(|waiting| waiting.claim).collect();
        drop(state);
        self.startable.notify_all();
        self.ended.notify_all();
        claims
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits for the end; returns whether the backlog was closed within `timeout`.
    pub(super) fn closes_within(&self, timeout: Duration) -> bool {
        let deadline = within(timeout);
        let mut state = self.state.lock();
        while !state.closed {
            if self.ended.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.closed
    }

    /// Waits until nothing runs; returns whether that was so by the deadline.
    pub(super) fn idle_by(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.running() > 0 {
            if self.ended.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.running() == 0
    }
}

impl State {
    fn start(&mut self) -> Option<(LaneNumber, Held)> {
        let count = self.lanes.len();
        let order = (0..count).map(|step| (self.turn + step) % count);
        for number in order {
            if let Some(claim) = self.lanes.get_mut(number).and_then(Lane::start) {
                self.turn = number + 1;
                return Some((number, claim));
            }
        }
        None
    }

    fn has_room(&self) -> bool {
        self.lanes.iter().any(|lane| lane.room() > 0)
    }

    fn running(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running).sum()
    }
}

impl Lane {
    fn start(&mut self) -> Option<Held> {
        if self.running >= self.limit {
            return None;
        }
        let Waiting { claim, .. } = self.waiting.pop_front()?;
        self.running += 1;
        Some(claim)
    }

    /// Returns how many tasks the lane wants: those that could start at once, or, if half of what it
    /// holds ahead is gone, as many as fill that up again, so that claims come in batches.
    fn room(&self) -> usize {
        let held = self.running + self.waiting.len();
        let full = self.limit + self.prefetch();
        if held < self.limit || held <= full / 2 {
            full - held
        } else {
            0
        }
    }

    fn prefetch(&self) -> usize {
        let pace = self.pace.map_or(u128::MAX, |pace| pace.as_nanos().max(1));
        let each = usize::try_from(AHEAD.as_nanos() / pace).unwrap_or(usize::MAX);
        each.saturating_mul(self.limit).min(self.prefetch_max)
    }
}
