//! A store that fails when it is told to: before it did what it was asked, or after it did and with its
//! answer lost.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use votive::id::{Incarnation, ResourceId, StoreId, TaskId, TxnId};
use votive::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, RegisterErrorKind, Tier,
};
use votive::store::memory::MemoryStore;
use votive::store::{
    Applied, Batch, Capabilities, Claim, ClaimKey, ClaimRequest, Cursor, Dispatch, Error, Filter,
    InDoubt, Inspect, Interest, Kind, Listed, Page, Presence, Published, Result, Stage, Stats,
    Store,
};
use votive::time::{Clock, Timestamp};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing is done, and the caller is told so.
    Refused,
    /// Nothing is done, and the caller cannot know.
    RequestLost,
    /// It is done, and the caller cannot know.
    AnswerLost,
}

/// A fault to come.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many calls go well before.
    pub calls: u8,
    /// How the next one fails.
    pub fault: Fault,
    /// Whether the store is down from then on.
    pub stays_down: bool,
}

/// A memory store that says it is durable, and fails at chosen calls. While it is down every call fails.
pub struct FaultyStore {
    inner: MemoryStore,
    capabilities: Capabilities,
    plan: Mutex<Option<Plan>>,
    down: AtomicBool,
}

impl FaultyStore {
    /// Creates a store without faults.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let inner = MemoryStore::with_clock(clock);
        let mut capabilities = inner.capabilities().clone();
        capabilities.tier_max = Tier::Enlisted;
        Self {
            inner,
            capabilities,
            plan: Mutex::new(None),
            down: AtomicBool::new(false),
        }
    }

    /// Plans a fault, instead of what was planned before.
    pub fn plan(&self, plan: Plan) {
        *self.lock() = Some(plan);
    }

    /// Takes the store down at once.
    pub fn take_down(&self) {
        self.down.store(true, Ordering::Relaxed);
    }

    /// Brings the store up again, and plans no fault.
    pub fn heal(&self) {
        self.down.store(false, Ordering::Relaxed);
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self) -> Option<Fault> {
        if self.down.load(Ordering::Relaxed) {
            return Some(Fault::Refused);
        }
        let mut plan = self.lock();
        let due = plan.take_if(|plan| plan.calls == 0);
        if let Some(plan) = &mut *plan {
            plan.calls -= 1;
        }
        if due.is_some_and(|plan| plan.stays_down) {
            self.take_down();
        }
        due.map(|plan| plan.fault)
    }

    /// A call that changes something.
    fn change<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&MemoryStore) -> Result<T>,
    ) -> Result<T> {
        let unknown = || Error::new(Kind::Unknown, "faulty", what);
        match self.strike() {
            None => call(&self.inner),
            Some(Fault::Refused) => Err(Error::new(Kind::Unavailable, "faulty", what)),
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::AnswerLost) => call(&self.inner).and_then(|_| Err(unknown())),
        }
    }

    /// A call whose answer must not be lost, or that only looks.
    fn look<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&MemoryStore) -> Result<T>,
    ) -> Result<T> {
        match self.strike() {
            None => call(&self.inner),
            Some(_) => Err(Error::new(Kind::Unavailable, "faulty", what)),
        }
    }

    fn ask<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&MemoryStore) -> std::result::Result<T, RegisterError>,
    ) -> std::result::Result<T, RegisterError> {
        let unreachable =
            || RegisterError::new(RegisterErrorKind::Unreachable, self.inner.resource(), what);
        match self.strike() {
            None => call(&self.inner),
            Some(Fault::AnswerLost) => call(&self.inner).and_then(|_| Err(unreachable())),
            Some(_) => Err(unreachable()),
        }
    }
}

impl Store for FaultyStore {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Stage for FaultyStore {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        self.change("stage", |store| store.stage(txn, register, batch, now))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        self.change("publish", |store| store.publish(txn, now))
    }

    fn discard(&self, txn: TxnId) -> Result<()> {
        self.change("discard", |store| store.discard(txn))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        self.change("apply", |store| store.apply(txn, batch, prepared, now))
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>> {
        self.look("forgettable", |store| store.forgettable(txns))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
        self.look("in doubt", |store| store.in_doubt(after, limit))
    }
}

impl Register for FaultyStore {
    fn resource(&self) -> ResourceId {
        self.inner.resource()
    }

    fn enroll(
        &self,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> std::result::Result<(), RegisterError> {
        self.ask("enrol", |store| store.enroll(incarnation, now))
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> std::result::Result<Answer, RegisterError> {
        self.ask("decide", |store| store.decide(txn, want, stores))
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> std::result::Result<Vec<OutcomeRow>, RegisterError> {
        self.ask("outcomes", |store| store.outcomes(after, limit))
    }

    fn incarnations(&self) -> std::result::Result<Vec<IncarnationRow>, RegisterError> {
        self.ask("incarnations", MemoryStore::incarnations)
    }

    fn departed(&self) -> std::result::Result<Vec<Incarnation>, RegisterError> {
        self.ask("departed", Register::departed)
    }

    fn close(&self, incarnation: Incarnation) -> std::result::Result<(), RegisterError> {
        self.ask("close", |store| store.close(incarnation))
    }

    fn forget(&self, txns: &[TxnId]) -> std::result::Result<usize, RegisterError> {
        self.ask("forget", |store| store.forget(txns))
    }

    fn drop_incarnation(
        &self,
        incarnation: Incarnation,
    ) -> std::result::Result<bool, RegisterError> {
        self.ask("drop", |store| store.drop_incarnation(incarnation))
    }
}

impl Dispatch for FaultyStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        self.look("claim", |store| store.claim(request, now))
    }

    fn extend(&self, claims: &[ClaimKey], lease: Duration, now: Timestamp) -> Result<Vec<TaskId>> {
        self.look("extend", |store| store.extend(claims, lease, now))
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>> {
        self.look("wait", |store| store.wait(interests, timeout))
    }

    fn interrupt(&self) {
        self.inner.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, lease: Duration) -> Result<Presence> {
        self.look("attend", |store| store.attend(incarnation, lease))
    }

    fn departed(&self, now: Timestamp) -> Result<BTreeSet<Incarnation>> {
        self.look("departed", |store| Dispatch::departed(store, now))
    }
}

impl Inspect for FaultyStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> Result<Timestamp> {
        self.look("now", MemoryStore::now)
    }

    fn get(&self, task: TaskId) -> Result<Option<Listed>> {
        self.look("get", |store| store.get(task))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.look("scan", |store| store.scan(filter, cursor, limit))
    }

    fn stats(&self) -> Result<Stats> {
        self.look("stats", MemoryStore::stats)
    }

    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.look("mark", |store| store.mark(key))
    }

    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.look("marks", |store| store.marks(prefix))
    }

    fn check(&self) -> Result<Vec<String>> {
        self.look("check", MemoryStore::check)
    }
}
