//! Moves tasks from one store to another: each leaves the one and comes to the other in one transaction
//! of both, so that whatever dies in between, a task is in exactly one of them.
//!
//! What is not moved is said: tasks that are claimed, and what is staged and undecided. Both become
//! movable, or go, by themselves; so a copy is run again until nothing is left.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{ConsumerId, Incarnation, TaskId};
use crate::queue::data_manager::introduce;
use crate::queue::{self, recovery, turn};
use crate::store::{
    self, Amendment, Batch, Change, Claim, ClaimRequest, Dispatch, Filter, Kind, Listed,
    Settlement, Store, Verdict, Want,
};
use crate::task::{Options, Record, State, StateSet};
use crate::txn::{BeginError, CommitError, JoinError, TransactionManager};

/// How many tasks one transaction moves at most.
const PAGE: usize = 100;

/// How many bytes of payloads one transaction moves, unless it moves a single task.
const PAGE_BYTES: usize = 4 << 20;

/// How many claims of the dead are taken over at once.
const CLAIMS: usize = 500;

/// How often what another transaction is in the way of is tried again, with a pause before each time.
const ROUNDS_MAX: usize = 15;
const PAUSE: Duration = Duration::from_secs(1);

/// What is a store's own, and means nothing in another.
const OWN_MARKS: [&str; 3] = ["consumer/", "heuristic/", turn::PREFIX];

/// What a copy did, and what it had to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Copied {
    /// Tasks that are in the other store now.
    pub tasks: usize,
    /// Of these, tasks that merged there into one with the same unique key.
    pub merged: usize,
    /// Tasks that the other store had already, and that were only removed here.
    pub known: usize,
    /// Marks that are in the other store now.
    pub marks: usize,
    /// What was refused.
    pub left: Vec<Left>,
    /// Tasks that are claimed: their consumers have yet to settle them.
    pub claimed: u64,
    /// Transactions that are staged and undecided here.
    pub in_doubt: u64,
    /// Of an earlier copy, transactions that are staged in either store and undecided: what they move is
    /// in one of the two, and not yet to be seen in the other.
    pub in_flight: u64,
}

impl Copied {
    /// Whether nothing is left to be moved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.claimed + self.in_doubt + self.in_flight == 0
    }
}

/// Something that was not moved, and is where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// The task's id, or the mark's key.
    pub what: String,
    /// Why it was refused.
    pub why: String,
    /// Whether another transaction is in the way, for now.
    pub for_now: bool,
}

/// Why a copy ended early. What was moved before is moved; the rest is where it was. Run it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Both are the same store. Nothing changed.
    #[error("a store cannot be copied into itself")]
    SameStore,
    /// A store failed.
    #[error("a store could not be read or written")]
    Store(#[from] store::Error),
    /// No transaction could begin, or be joined.
    #[error("no transaction could begin")]
    Begin(#[source] crate::txn::BoxError),
    /// It is not known whether the last few tasks were moved. They are in exactly one of the stores, and
    /// the next run finds out in which.
    #[error("it is not known yet whether the last tasks were moved; run the copy again")]
    Undecided(#[source] CommitError),
}

impl From<BeginError> for CopyError {
    fn from(error: BeginError) -> Self {
        Self::Begin(error.into())
    }
}

impl From<JoinError> for CopyError {
    fn from(error: JoinError) -> Self {
        Self::Begin(error.into())
    }
}

/// Moves the tasks of `queue`, or all tasks and marks, from one store to another, after settling what
/// crashes left in doubt in both.
///
/// A task keeps its id, its place, its history and its group. Unique keys are judged anew. A task that
/// waits for others waits there for those that are not done. The ids of tasks that had merged are known
/// no more. Producers and consumers of the first store should have stopped: what they still do is not
/// lost, but may have to be moved by another run.
///
/// # Errors
/// [`CopyError`]; each kind says what was moved.
///
/// # Blocking
/// For as long as there are tasks, and up to 15 s more while other transactions are in the way.
pub fn copy(
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    manager: &TransactionManager,
    queue: Option<&str>,
) -> Result<Copied, CopyError> {
    if from.id() == to.id() {
        return Err(CopyError::SameStore);
    }
    // Each may have to be asked what became of what is staged in the other.
    for store in [from, to] {
        introduce(store, manager.registers());
    }
    let mut mover = Mover {
        from,
        to,
        manager,
        queue,
        copied: Copied::default(),
    };
    for _ in 0..ROUNDS_MAX {
        mover.round()?;
        mover.count_rest()?;
        if !mover.copied.left.iter().any(|left| left.for_now) && mover.copied.in_flight == 0 {
            break;
        }
        from.wait(&[], PAUSE)?;
    }
    Ok(mover.copied)
}

struct Mover<'a> {
    from: &'a Arc<dyn Store>,
    to: &'a Arc<dyn Store>,
    manager: &'a TransactionManager,
    queue: Option<&'a str>,
    copied: Copied,
}

impl Mover<'_> {
    /// Moves all that can be moved now. The marks come first: they say what was done already.
    fn round(&mut self) -> Result<(), CopyError> {
        self.copied.left.clear();
        for store in [self.from, self.to] {
            recovery::recover(store, self.manager)?;
        }
        self.take_back_from_the_dead()?;
        if self.queue.is_none() {
            self.move_marks()?;
        }
        let filter = Filter {
            queue: self.queue.map(str::to_owned),
            states: Some(MOVABLE),
            ghosts: true,
            ..Filter::default()
        };
        let mut cursor = None;
        loop {
            let page = self.from.scan(&filter, cursor.as_ref(), PAGE)?;
            for part in parts(page.tasks) {
                self.move_part(&part)?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Moves tasks together or, if one of them is in the way of the others, one by one.
    fn move_part(&mut self, tasks: &[Record]) -> Result<(), CopyError> {
        let Some(refused) = self.move_together(tasks)? else {
            return Ok(());
        };
        match tasks {
            [task] => self.refused(task, &refused),
            _ => tasks
                .iter()
                .try_for_each(|task| self.move_part(std::slice::from_ref(task))),
        }
    }

    /// Moves tasks in one transaction; returns why it was refused, if it was.
    fn move_together(&mut self, tasks: &[Record]) -> Result<Option<CommitError>, CopyError> {
        let mut txn = self.manager.begin()?;
        for task in tasks {
            let arriving = Change::Insert(Box::new(self.arriving(task)?));
            queue::change(self.to, &mut txn, arriving)?;
            queue::change(self.from, &mut txn, leaving(task))?;
        }
        match txn.commit() {
            Ok(committed) => {
                self.copied.tasks += tasks.len();
                self.copied.merged += committed.merged.len();
                tasks.iter().try_for_each(|task| self.catch_up(task))?;
                Ok(None)
            }
            Err(error @ CommitError::Undecided { .. }) => Err(CopyError::Undecided(error)),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Deals with one task that cannot be moved. One that the other store has is only removed.
    fn refused(&mut self, task: &Record, error: &CommitError) -> Result<(), CopyError> {
        let kind = store::Error::among(error).map(|error| &error.kind);
        let exists = kind == Some(&Kind::TaskExists(task.id));
        if exists && self.to.get(task.id)?.is_some() {
            queue::apply(self.from, self.manager, &Batch::new(vec![leaving(task)]))?;
            self.copied.known += 1;
            return Ok(());
        }
        let in_the_way = match kind {
            // It has ended meanwhile, or was claimed; the claimed ones are counted in the end.
            Some(Kind::StateChanged {
                found: "missing" | "claimed",
                ..
            }) => return Ok(()),
            Some(
                Kind::StateChanged { .. } | Kind::Conflict | Kind::Unavailable | Kind::Pinned(_),
            ) => true,
            _ => exists,
        };
        self.leave(task.id.to_string(), error, in_the_way);
        Ok(())
    }

    fn leave(&mut self, what: String, error: &CommitError, for_now: bool) {
        let mut causes =
            std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
                error.source()
            });
        let last = causes.by_ref().last();
        let why = last.map_or_else(|| error.to_string(), ToString::to_string);
        self.copied.left.push(Left { what, why, for_now });
    }

    /// The task as it comes to the other store.
    fn arriving(&self, task: &Record) -> store::Result<Record> {
        let mut arriving = task.clone();
        if task.state.is_ended() {
            return Ok(arriving);
        }
        if !task.options.waits_for.is_empty() {
            let options = Options {
                waits_for: self.unmet(task)?,
                ..Options::clone(&task.options)
            };
            arriving.options = options.shared();
        }
        arriving.state = State::Staged;
        Ok(arriving)
    }

    /// The tasks that a task still waits for. One that neither store has is done, and has left.
    fn unmet(&self, task: &Record) -> store::Result<Vec<TaskId>> {
        let mut unmet = task.options.waits_for.clone();
        if task.state != State::Waiting {
            unmet.clear();
        }
        let mut known = Vec::with_capacity(unmet.len());
        for prerequisite in unmet {
            let here = self.from.get(prerequisite)?;
            let found = here.map_or_else(|| self.to.get(prerequisite), |here| Ok(Some(here)))?;
            if found.is_some_and(|found| found.record.state != State::Done) {
                known.push(prerequisite);
            }
        }
        Ok(known)
    }

    /// Tells a task that has come what was done in the other store while it was on the way.
    fn catch_up(&self, task: &Record) -> store::Result<()> {
        if task.state != State::Waiting || task.options.waits_for.is_empty() {
            return Ok(());
        }
        let unmet = self.unmet(task)?;
        let prerequisites = task.options.waits_for.iter();
        let met = prerequisites.filter(|prerequisite| !unmet.contains(prerequisite));
        let arrivals = met.map(|done| Change::Arrive {
            task: task.id,
            done: *done,
        });
        let arrivals: Batch = arrivals.collect();
        if !arrivals.is_empty() {
            queue::apply(self.to, self.manager, &arrivals)?;
        }
        Ok(())
    }

    fn move_marks(&mut self) -> Result<(), CopyError> {
        for (key, value) in self.from.marks("")? {
            if OWN_MARKS.iter().any(|own| key.starts_with(own)) {
                continue;
            }
            let mut txn = self.manager.begin()?;
            queue::change(self.to, &mut txn, mark(&key, None, Some(&value)))?;
            queue::change(self.from, &mut txn, mark(&key, Some(&value), None))?;
            match txn.commit() {
                Ok(_) => self.copied.marks += 1,
                Err(error @ CommitError::Undecided { .. }) => {
                    return Err(CopyError::Undecided(error));
                }
                Err(error) => self.leave(key, &error, false),
            }
        }
        Ok(())
    }

    /// Takes over what consumers that are proved dead have claimed, and gives it back.
    fn take_back_from_the_dead(&self) -> Result<(), CopyError> {
        let from: &dyn Dispatch = &**self.from;
        let is_held = || Ok::<_, store::Error>(!from.departed(self.from.now()?)?.is_empty());
        if !is_held()? {
            return Ok(());
        }
        let consumer = ConsumerId {
            incarnation: Incarnation::random(),
            name: "votive copy".to_owned(),
        };
        let lease = Duration::from_secs(60);
        let _presence = self.from.attend(consumer.incarnation, lease)?;
        let mut request = ClaimRequest {
            consumer,
            wants: Vec::new(),
            lease,
        };
        let mut taken = Vec::new();
        for queue in self.queues()? {
            request.wants = vec![Want {
                queue,
                count: CLAIMS,
            }];
            while is_held()? {
                let claims = self.from.claim(&request, self.from.now()?)?;
                if claims.is_empty() {
                    break;
                }
                taken.extend(claims.iter().map(release));
            }
        }
        for changes in taken.chunks(CLAIMS) {
            queue::apply(self.from, self.manager, &Batch::new(changes.to_vec()))?;
        }
        Ok(())
    }

    /// The queues that are to be moved.
    fn queues(&self) -> store::Result<Vec<String>> {
        if let Some(queue) = self.queue {
            return Ok(vec![queue.to_owned()]);
        }
        let queues = self.from.stats()?.queues.into_iter();
        Ok(queues.map(|stats| stats.queue).collect())
    }

    /// Counts what is left that only time, or somebody else, makes movable.
    fn count_rest(&mut self) -> store::Result<()> {
        let stats = self.from.stats()?;
        let is_meant = |name: &str| self.queue.is_none_or(|queue| queue == name);
        let queues = stats.queues.iter().filter(|stats| is_meant(&stats.queue));
        let claimed = queues.flat_map(|stats| &stats.counts);
        let claimed = claimed.filter(|(state, _)| *state == State::Claimed);
        self.copied.claimed = claimed.map(|(_, count)| count).sum();
        self.copied.in_doubt = stats.in_doubt;
        let waits = |of: &Arc<dyn Store>, on: &Arc<dyn Store>| {
            let all = recovery::all_in_doubt(&**of)?.into_iter();
            let both = all.filter(|in_doubt| in_doubt.register == on.id());
            Ok::<_, store::Error>(both.count() as u64)
        };
        self.copied.in_flight = waits(self.from, self.to)? + waits(self.to, self.from)?;
        Ok(())
    }
}

/// All that nobody is at work on.
const MOVABLE: StateSet = StateSet::of(&[
    State::Waiting,
    State::Scheduled,
    State::Ready,
    State::Done,
    State::Dead,
    State::Cancelled,
]);

/// Splits a page so that no part is too large for one transaction.
fn parts(page: Vec<Listed>) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut size = usize::MAX;
    for listed in page {
        let record = listed.record;
        size = size.saturating_add(record.payload.bytes.len());
        match parts.last_mut() {
            Some(part) if size <= PAGE_BYTES => part.push(record),
            _ => {
                size = record.payload.bytes.len();
                parts.push(vec![record]);
            }
        }
    }
    parts
}

/// Removes a task that is still in the state in which it was read.
fn leaving(task: &Record) -> Change {
    Change::Amend {
        task: task.id,
        expect: StateSet::of(&[task.state]),
        amendment: Amendment::Remove,
    }
}

/// Gives a claim back as it was.
fn release(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Release { at: None },
        counts: claim.record.counts,
        account: None,
    })
}

fn mark(key: &str, expect: Option<&[u8]>, value: Option<&[u8]>) -> Change {
    Change::Mark {
        key: key.to_owned(),
        expect: expect.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
    }
}
