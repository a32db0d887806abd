//! What one transaction does to one store: buffered until the commit, then voted with.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::{ResourceId, StoreId, TaskId, TxnId};
use crate::queue::error::{BatchUnknown, DatabasesUnfinished, NotEnrolled};
use crate::queue::{databases, decision, garbage};
use crate::register::{Decision, Holder, OutcomeRow, RegisterErrorKind, Registers, Tier};
use crate::store::{self, Applied, Batch, Change, Kind, Published, Store};
use crate::task::{Name, Record};
use crate::txn::{
    Answer, BoxError, DataManager, IncarnationGone, JoinError, Mark, PrepareInfo, Prepared, Role,
    Vote, Work,
};

/// What the data manager of a store hands over to the participant that owns a transaction of the same
/// database (see [`PrepareInfo::hand_over`]): the participant writes it before it commits.
pub struct HandedBatch {
    batch: Batch,
    applied: Receipt,
}

/// Where a participant that took over a batch leaves what became of it.
type Receipt = Arc<Mutex<Option<Applied>>>;

impl HandedBatch {
    /// What to write.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Tells the data manager what became of it, which counts if the commit succeeds.
    pub fn note(&self, applied: Applied) {
        *self.applied.lock() = Some(applied);
    }
}

/// The data manager: one per transaction and store, whatever the queue.
pub(super) struct Buffer {
    store: Arc<dyn Store>,
    registers: Registers,
    txn: TxnId,
    batch: Batch,
    /// How many tasks may be pending in queues of which that was said.
    capacities: BTreeMap<Name, u64>,
    phase: Phase,
    merged: Vec<(TaskId, TaskId)>,
}

/// Where the batch is.
enum Phase {
    /// In the buffer.
    Buffered,
    /// With another participant, which writes it in its own commit.
    Handed(Receipt),
    /// Staged in the store, or possibly so: its answer was lost.
    Staged(Staged),
    /// Applied, or possibly so, by a decision that lists these resources.
    Decided(Vec<ResourceId>),
    /// Finished or aborted.
    Ended,
}

/// Who decides on a staged batch, and who promised beside it.
struct Staged {
    register: ResourceId,
    prepared: Vec<ResourceId>,
}

impl Buffer {
    /// Joins the store to the transaction, once, and makes it known to the transaction's manager.
    pub(super) fn join<'w>(
        store: &Arc<dyn Store>,
        work: &'w mut Work,
    ) -> Result<&'w mut Self, JoinError> {
        let registers = work.registers().clone();
        work.join_with(store.id(), |txn| {
            introduce(store, &registers);
            Ok(Self {
                store: Arc::clone(store),
                registers,
                txn,
                batch: Batch::default(),
                capacities: BTreeMap::new(),
                phase: Phase::Buffered,
                merged: Vec::new(),
            })
        })
    }

    pub(super) fn push(&mut self, change: Change) {
        self.batch.changes.push(change);
    }

    /// Whether it changes a task by an amendment.
    pub(super) fn amends(&self, id: TaskId) -> bool {
        let mut changes = self.batch.changes.iter();
        changes.any(|change| matches!(change, Change::Amend { task, .. } if *task == id))
    }

    /// Notes how many tasks may be pending in a queue that something was enqueued into.
    pub(super) fn limit(&mut self, queue: &Name, capacity: Option<u64>) {
        match capacity {
            Some(capacity) => drop(self.capacities.insert(queue.clone(), capacity)),
            None if self.capacities.is_empty() => {}
            None => drop(self.capacities.remove(queue)),
        }
    }

    /// Has the store judge, after all that is inserted, whether there is room for it.
    fn ask_for_room(&mut self) {
        for (queue, pending_max) in std::mem::take(&mut self.capacities) {
            if self.batch.inserts().any(|record| record.queue == queue) {
                let queue = queue.to_string();
                self.batch.changes.push(Change::Room { queue, pending_max });
            }
        }
    }

    pub(super) fn inserts(&self) -> impl Iterator<Item = &Record> {
        self.batch.inserts()
    }

    /// Enrols the incarnation where it may have to decide: before the vote, in a transaction of the
    /// store's own.
    fn enroll(&self) -> Result<(), BoxError> {
        let incarnation = self.txn.incarnation;
        if self.registers.is_enrolled(self.store.id(), incarnation) {
            return Ok(());
        }
        let enrolled = self
            .registers
            .enroll(&*self.store, incarnation, self.store.now()?);
        enrolled.map_err(|reason| {
            if reason.kind == RegisterErrorKind::Unusable {
                // Nothing was written, and another incarnation would fare no better.
                return reason.into();
            }
            let gone = IncarnationGone(incarnation);
            NotEnrolled { reason, gone }.into()
        })
    }

    fn hand_over(&mut self, info: &mut PrepareInfo<'_>) -> Prepared {
        let applied = Receipt::default();
        self.phase = Phase::Handed(Arc::clone(&applied));
        let handed = HandedBatch {
            batch: std::mem::take(&mut self.batch),
            applied,
        };
        info.hand_over(self.store.id(), Box::new(handed));
        Prepared::HandedOver(self.store.id())
    }

    fn stage(&mut self, by: Staged) -> Answer {
        let staged = self
            .store
            .now()
            .and_then(|now| self.store.stage(self.txn, by.register, &self.batch, now));
        match staged {
            Ok(()) => {
                self.phase = Phase::Staged(by);
                Answer::Ok
            }
            Err(error) => {
                if !error.is_definite() {
                    self.phase = Phase::Staged(by);
                }
                Answer::Refused(refusal(error))
            }
        }
    }

    fn decide(&mut self, prepared: &[ResourceId]) -> Answer {
        if prepared.iter().any(|id| id.is_preparing_database()) {
            self.decide_staged(prepared)
        } else {
            self.apply(prepared)
        }
    }

    /// Decides, and keeps the batch staged until every database has committed. The outcome record lists
    /// this store too: it has to stay as long as the batch is staged.
    fn decide_staged(&mut self, prepared: &[ResourceId]) -> Answer {
        let register = self.store.id();
        let holders: Vec<ResourceId> = prepared.iter().copied().chain([register]).collect();
        let staged = self.stage(Staged {
            register,
            prepared: holders.clone(),
        });
        let Answer::Ok = staged else {
            return staged;
        };
        match self.store.decide(self.txn, Decision::Committed, &holders) {
            Ok(answer) => self.judge(answer.decision),
            Err(error) => self.ask(error.into()),
        }
    }

    /// Judges the answer to the deciding message, which is sent once: without a commit record after it
    /// there will never be one.
    fn judge(&self, decision: Option<Decision>) -> Answer {
        let kind = match decision {
            Some(Decision::Committed) => return Answer::Ok,
            Some(Decision::Aborted) => Kind::Decided(self.txn),
            None => Kind::IncarnationGone(self.txn.incarnation),
        };
        let backend = self.store.capabilities().backend;
        Answer::Refused(refusal(store::Error::new(
            kind,
            backend,
            "decide a transaction",
        )))
    }

    fn apply(&mut self, prepared: &[ResourceId]) -> Answer {
        let applied = self
            .store
            .now()
            .and_then(|now| self.store.apply(self.txn, &self.batch, prepared, now));
        match applied {
            Ok(applied) => {
                self.phase = Phase::Decided(prepared.to_vec());
                self.merged = applied.merged;
                Answer::Ok
            }
            Err(error) if error.is_definite() => Answer::Refused(refusal(error)),
            Err(error) => {
                self.phase = Phase::Decided(prepared.to_vec());
                self.ask(error.into())
            }
        }
    }

    /// Asks, as the owner, whether a decision whose answer was lost took place.
    fn ask(&self, lost: BoxError) -> Answer {
        match self.store.decide(self.txn, Decision::Aborted, &[]) {
            Ok(answer) => match answer.as_owner() {
                Some(Decision::Committed) => Answer::Ok,
                Some(Decision::Aborted) => Answer::Refused(lost),
                None => Answer::Unknown(lost),
            },
            Err(error) => {
                tracing::warn!(txn = %self.txn, %error, "the store could not say whether it committed");
                Answer::Unknown(lost)
            }
        }
    }

    /// Makes the staged batch visible, once every database that promised beside it has committed.
    fn finish_staged(&mut self) -> Result<(), BoxError> {
        let Phase::Staged(Staged { register, prepared }) = &self.phase else {
            return Ok(());
        };
        let finished = databases::commit(&self.registers, (*register, self.txn), prepared);
        if decision::unfinished(prepared, &finished) {
            return Err(DatabasesUnfinished(self.txn).into());
        }
        let decided_here = (*register == self.store.id()).then(|| prepared.clone());
        self.publish()?;
        if let Some(prepared) = decided_here {
            self.note_committed(&prepared);
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), BoxError> {
        match self.store.publish(self.txn, self.store.now()?)? {
            Published::Now(applied) => self.merged = applied.merged,
            Published::Already => {}
            Published::Unknown => {
                let (txn, store) = (self.txn, self.store.id());
                return Err(BatchUnknown { txn, store }.into());
            }
        }
        Ok(())
    }

    /// Notes that nobody needs to ask this store's register on the owner's behalf any more.
    fn note_committed(&self, prepared: &[ResourceId]) {
        if prepared.is_empty() {
            return; // the store itself forgets a record that no other store can ask for
        }
        let row = OutcomeRow {
            txn: self.txn,
            decision: Decision::Committed,
            stores: prepared.to_vec(),
        };
        garbage::note_committed(&*self.store, &self.registers, row);
    }
}

impl DataManager for Buffer {
    fn role(&self) -> Role {
        match self.store.capabilities().tier_max {
            Tier::Volatile => Role::VolatileAlone(self.store.id()),
            Tier::Prepared | Tier::Enlisted => Role::Either(self.store.id()),
        }
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        let mut buffer = [0; 36];
        Ok(["votive:", self.store.id().write_into(&mut buffer)].concat())
    }

    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        if self.batch.is_empty() {
            return Ok(Prepared::Nothing);
        }
        self.ask_for_room();
        if info.hosts(self.store.id()) {
            return Ok(self.hand_over(info));
        }
        self.enroll()?;
        Ok(Prepared::Work)
    }

    fn vote(&mut self, vote: Vote<'_>) -> Answer {
        match vote {
            // It was written, or refused, in the commit of the participant that took it over.
            _ if matches!(self.phase, Phase::Handed(_)) => Answer::Ok,
            Vote::Prepare { register, prepared } => self.stage(Staged {
                register: register.unwrap_or(self.store.id()),
                prepared: prepared.to_vec(),
            }),
            Vote::Decide { prepared } => self.decide(prepared),
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        match &self.phase {
            Phase::Staged(_) => self.finish_staged()?,
            Phase::Decided(prepared) => self.note_committed(prepared),
            Phase::Handed(applied) => {
                self.merged = applied.lock().take().unwrap_or_default().merged;
            }
            Phase::Buffered | Phase::Ended => {}
        }
        self.phase = Phase::Ended;
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.batch = Batch::default();
        if let Phase::Staged(_) = self.phase {
            self.store.discard(self.txn)?;
        }
        self.phase = Phase::Ended;
        Ok(())
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        Ok(Mark(self.batch.changes.len() as u64))
    }

    fn rollback(&mut self, mark: Mark) -> Result<(), BoxError> {
        self.batch.changes.truncate(usize::try_from(mark.0)?);
        Ok(())
    }

    fn merged(&self) -> Vec<(TaskId, TaskId)> {
        self.merged.clone()
    }

    fn is_retryable(&self, error: &(dyn StdError + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.downcast_ref().is_some_and(store::Error::is_retryable) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("txn", &self.txn)
            .field("store", &self.store.id())
            .field("changes", &self.batch.changes.len())
            .finish_non_exhaustive()
    }
}

/// Lets the manager know a store as a register and as a holder of staged batches.
pub(super) fn introduce(store: &Arc<dyn Store>, registers: &Registers) {
    if registers.find_holder(store.id()).is_none() {
        registers.insert(Arc::clone(store) as _);
        registers.insert_holder(Arc::new(StoreHolder(Arc::clone(store))));
    }
}

/// A store, as garbage collection asks it.
struct StoreHolder(Arc<dyn Store>);

impl Holder for StoreHolder {
    fn resource(&self) -> StoreId {
        self.0.id()
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>, BoxError> {
        Ok(self.0.forgettable(txns)?)
    }
}

/// Turns an error into a *no*, with what the manager looks for in its chain.
fn refusal(error: store::Error) -> BoxError {
    match error.kind {
        Kind::IncarnationGone(incarnation) => {
            error.with_source(IncarnationGone(incarnation)).into()
        }
        _ => error.into(),
    }
}
