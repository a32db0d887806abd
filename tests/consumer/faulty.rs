//! A memory store that fails when it is told to, and counts what it is asked.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use votive::id::{Incarnation, ResourceId, StoreId, TaskId, TxnId};
use votive::register::{Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError};
use votive::store::memory::MemoryStore;
use votive::store::{
    Applied, Batch, Capabilities, Claim, ClaimKey, ClaimRequest, Cursor, Dispatch, Error, Filter,
    InDoubt, Inspect, Interest, Kind, Listed, Page, Presence, Published, Result, Stage, Stats,
    Store,
};
use votive::time::Timestamp;

#[derive(Default)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    /// What the next claims answer, the last one first.
    pub(crate) claims: Mutex<Vec<Kind>>,
    /// What the next attendances come to, the last one first.
    pub(crate) attends: Mutex<Vec<Kind>>,
    /// What the next batches with settlements answer, the last one first.
    pub(crate) settlements: Mutex<Vec<Kind>>,
    /// Batches with settlements that were taken.
    pub(crate) settled: AtomicU32,
    /// How often those who wait were woken.
    pub(crate) interrupts: AtomicU32,
    /// How often somebody began to wait for a mark.
    pub(crate) mark_waits: AtomicU32,
}

impl Faulty {
    fn fail(faults: &Mutex<Vec<Kind>>) -> Result<()> {
        let kind = faults.lock().pop();
        kind.map_or(Ok(()), |kind| Err(Error::new(kind, "faulty", "do that")))
    }

    fn judge(&self, batch: &Batch) -> Result<()> {
        if batch.settlements().next().is_some() {
            Self::fail(&self.settlements)?;
            self.settled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> $result {
            self.inner.$name($($argument),*)
        }
    )*};
}

impl Stage for Faulty {
    fn stage(&self, txn: TxnId, register: ResourceId, batch: &Batch, now: Timestamp) -> Result<()> {
        self.judge(batch)?;
        self.inner.stage(txn, register, batch, now)
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        self.judge(batch)?;
        self.inner.apply(txn, batch, prepared, now)
    }

    pass_on! {
        publish(txn: TxnId, now: Timestamp) -> Result<Published>;
        discard(txn: TxnId) -> Result<()>;
        forgettable(txns: &[TxnId]) -> Result<Vec<TxnId>>;
        in_doubt(after: Option<TxnId>, limit: usize) -> Result<Vec<InDoubt>>;
    }
}

impl Dispatch for Faulty {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        match self.claims.lock().pop() {
            None => self.inner.claim(request, now),
            // It is done, and its answer is lost.
            Some(Kind::Unknown) => {
                self.inner.claim(request, now)?;
                Err(Error::new(Kind::Unknown, "faulty", "claim"))
            }
            Some(kind) => Err(Error::new(kind, "faulty", "claim")),
        }
    }

    pass_on! {
        extend(claims: &[ClaimKey], lease: Duration, now: Timestamp) -> Result<Vec<TaskId>>;
    }

    fn attend(&self, incarnation: Incarnation, lease: Duration) -> Result<Presence> {
        Self::fail(&self.attends)?;
        self.inner.attend(incarnation, lease)
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>> {
        if interests.iter().any(|one| matches!(one, Interest::Mark(_))) {
            self.mark_waits.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.wait(interests, timeout)
    }

    fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.inner.interrupt();
    }

    fn departed(&self, now: Timestamp) -> Result<BTreeSet<Incarnation>> {
        Dispatch::departed(&self.inner, now)
    }
}

impl Inspect for Faulty {
    pass_on! {
        id() -> StoreId;
        capabilities() -> &Capabilities;
        now() -> Result<Timestamp>;
        get(task: TaskId) -> Result<Option<Listed>>;
        scan(filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page>;
        stats() -> Result<Stats>;
        mark(key: &str) -> Result<Option<Vec<u8>>>;
        marks(prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;
        check() -> Result<Vec<String>>;
    }
}

type Registered<T> = std::result::Result<T, RegisterError>;

impl Register for Faulty {
    fn departed(&self) -> Registered<Vec<Incarnation>> {
        Register::departed(&self.inner)
    }

    pass_on! {
        resource() -> ResourceId;
        enroll(incarnation: Incarnation, now: Timestamp) -> Registered<()>;
        decide(txn: TxnId, want: Decision, stores: &[ResourceId]) -> Registered<Answer>;
        outcomes(after: Option<TxnId>, limit: usize) -> Registered<Vec<OutcomeRow>>;
        incarnations() -> Registered<Vec<IncarnationRow>>;
        close(incarnation: Incarnation) -> Registered<()>;
        forget(txns: &[TxnId]) -> Registered<usize>;
        drop_incarnation(incarnation: Incarnation) -> Registered<bool>;
    }
}

impl Store for Faulty {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
