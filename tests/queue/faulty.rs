//! A store that claims to be durable, and fails when it is told to.
#![cfg(test)]

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
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
use votive::time::{ManualClock, Timestamp};

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The call does nothing and says so.
    Refused(Kind),
    /// The call does nothing, and its answer is lost.
    Lost,
    /// The call does what it is told, and its answer is lost.
    LostAfterwards,
    /// The call says that it did what it was told, and did nothing.
    Vanishes,
}

/// A memory store that says that it is durable; the next call of a method can be made to fail.
pub(crate) struct Faulty {
    inner: MemoryStore,
    capabilities: Capabilities,
    pub(crate) clock: ManualClock,
    pub(crate) faults: Mutex<Vec<(&'static str, Fault)>>,
    pub(crate) departed: Mutex<Vec<Incarnation>>,
    pub(crate) write_count: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(tier: Tier) -> Arc<Self> {
        Self::with(Capabilities::new("faulty", tier))
    }

    /// One whose tasks other processes see.
    pub(crate) fn shared(tier: Tier) -> Arc<Self> {
        let mut capabilities = Capabilities::new("faulty", tier);
        capabilities.shared = true;
        Self::with(capabilities)
    }

    fn with(capabilities: Capabilities) -> Arc<Self> {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        Arc::new(Self {
            inner: MemoryStore::with_clock(Arc::new(clock.clone())),
            capabilities,
            clock,
            faults: Mutex::default(),
            departed: Mutex::default(),
            write_count: AtomicUsize::new(0),
        })
    }

    /// Makes the next call of `method` fail.
    pub(crate) fn fail(&self, method: &'static str, fault: Fault) {
        self.faults.lock().push((method, fault));
    }

    pub(crate) fn write_count(&self) -> usize {
        self.write_count.load(Ordering::Relaxed)
    }

    /// Forgets every commit record.
    pub(crate) fn forget_all(&self) {
        let rows = self.inner.outcomes(None, 100).unwrap();
        let txns: Vec<_> = rows.iter().map(|row| row.txn).collect();
        self.inner.forget(&txns).unwrap();
    }

    fn next_fault(&self, method: &'static str) -> Option<Fault> {
        let mut faults = self.faults.lock();
        let at = faults.iter().position(|(of, _)| *of == method);
        at.map(|at| faults.remove(at).1)
    }

    fn call<T: Default>(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let error = |kind| Err(Error::new(kind, "faulty", method));
        match self.next_fault(method) {
            None => call(),
            Some(Fault::Refused(kind)) => error(kind),
            Some(Fault::Lost) => error(Kind::Unknown),
            Some(Fault::LostAfterwards) => {
                call()?;
                error(Kind::Unknown)
            }
            Some(Fault::Vanishes) => Ok(T::default()),
        }
    }

    fn write<T: Default>(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.write_count.fetch_add(1, Ordering::Relaxed);
        self.call(method, call)
    }
}

impl Store for Faulty {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Stage for Faulty {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        self.write("stage", || self.inner.stage(txn, register, batch, now))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        self.call("publish", || self.inner.publish(txn, now).map(Some))
            .map(|published| published.unwrap_or(Published::Unknown))
    }

    fn discard(&self, txn: TxnId) -> Result<()> {
        self.call("discard", || self.inner.discard(txn))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        self.write("apply", || self.inner.apply(txn, batch, prepared, now))
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>> {
        self.call("forgettable", || self.inner.forgettable(txns))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>> {
        self.call("in_doubt", || self.inner.in_doubt(after, limit))
    }
}

impl Register for Faulty {
    fn resource(&self) -> ResourceId {
        self.inner.id()
    }

    fn enroll(
        &self,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> std::result::Result<(), RegisterError> {
        self.inner.enroll(incarnation, now)
    }

    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> std::result::Result<Answer, RegisterError> {
        let mut answer = None;
        let called = self.call("decide", || {
            answer = Some(self.inner.decide(txn, want, stores));
            Ok(())
        });
        called.map_err(|error| {
            let kind = match error.kind {
                Kind::Conflict => RegisterErrorKind::Locked,
                _ => RegisterErrorKind::Unreachable,
            };
            RegisterError::new(kind, self.inner.id(), "decide")
        })?;
        answer.expect("the call was made")
    }

    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> std::result::Result<Vec<OutcomeRow>, RegisterError> {
        self.inner.outcomes(after, limit)
    }

    fn incarnations(&self) -> std::result::Result<Vec<IncarnationRow>, RegisterError> {
        self.inner.incarnations()
    }

    fn departed(&self) -> std::result::Result<Vec<Incarnation>, RegisterError> {
        Ok(self.departed.lock().clone())
    }

    fn close(&self, incarnation: Incarnation) -> std::result::Result<(), RegisterError> {
        self.inner.close(incarnation)
    }

    fn forget(&self, txns: &[TxnId]) -> std::result::Result<usize, RegisterError> {
        self.inner.forget(txns)
    }

    fn drop_incarnation(
        &self,
        incarnation: Incarnation,
    ) -> std::result::Result<bool, RegisterError> {
        self.inner.drop_incarnation(incarnation)
    }
}

impl Dispatch for Faulty {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        self.inner.claim(request, now)
    }

    fn extend(&self, claims: &[ClaimKey], lease: Duration, now: Timestamp) -> Result<Vec<TaskId>> {
        self.inner.extend(claims, lease, now)
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>> {
        self.inner.wait(interests, timeout)
    }

    fn interrupt(&self) {
        self.inner.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, lease: Duration) -> Result<Presence> {
        self.inner.attend(incarnation, lease)
    }

    fn departed(&self, now: Timestamp) -> Result<BTreeSet<Incarnation>> {
        Dispatch::departed(&self.inner, now)
    }
}

impl Inspect for Faulty {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> Result<Timestamp> {
        self.inner.now()
    }

    fn get(&self, task: TaskId) -> Result<Option<Listed>> {
        self.inner.get(task)
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.inner.scan(filter, cursor, limit)
    }

    fn stats(&self) -> Result<Stats> {
        self.inner.stats()
    }

    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.mark(key)
    }

    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.marks(prefix)
    }

    fn check(&self) -> Result<Vec<String>> {
        self.inner.check()
    }
}
