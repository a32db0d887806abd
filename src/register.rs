//! The register: where a transaction's outcome is written. One trait, which stores and application
//! databases implement; the first writer wins, and nobody ever answers from what may not be on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, ResourceId, TxnId};
use crate::time::Timestamp;

/// How sure it is that a task is visible if and only if its transaction committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// While the process lives; after a crash staged tasks are discarded.
    Volatile,
    /// After a crash at any instruction: two-phase commit with a register and recovery.
    Prepared,
    /// By the database's own transaction: one commit, no window.
    Enlisted,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Volatile => "volatile",
            Self::Prepared => "prepared",
            Self::Enlisted => "enlisted",
        })
    }
}

/// What the outcome record of a transaction says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Decision {
    /// The application's transaction committed.
    Committed,
    /// It did not and never will.
    Aborted,
}

/// What a register knows of an incarnation, read in a statement after the outcome record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// Enrolled: nobody but its own process forgets its commit rows.
    Open,
    /// Closed: others may forget its commit rows once every store has released them.
    Closed,
    /// Not there: dropped with its abort rows, or never enrolled.
    Gone,
}

/// The answer of a register: facts on disk, not yet a judgement.
///
/// Who owns the transaction and who holds a staged batch draw different conclusions from the same
/// answer: [`as_owner`](Self::as_owner) and [`as_holder`](Self::as_holder).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The outcome record after the insert; `None` where none could be written because the
    /// incarnation is [`Standing::Gone`].
    pub decision: Option<Decision>,
    /// The incarnation's standing.
    pub standing: Standing,
}

impl Answer {
    /// Judges as the owner of a transaction whose own COMMIT lost its answer; `None` is still
    /// undecided.
    ///
    /// *Committed* is always true. *Aborted*, or no record, is believed only while the incarnation is
    /// open: of a closed one the commit record may have been forgotten, and what now stands in its
    /// place is the abort that this very question wrote.
    #[must_use]
    pub fn as_owner(self) -> Option<Decision> {
        match (self.decision, self.standing) {
            (Some(Decision::Committed), _) => Some(Decision::Committed),
            (_, Standing::Open) => Some(Decision::Aborted),
            (_, Standing::Closed | Standing::Gone) => None,
        }
    }

    /// Judges as the holder of a staged batch or of a prepared database transaction; `None` is still
    /// in doubt.
    ///
    /// A record is true as written: a commit record is not forgotten before every holder has let go.
    /// Where the incarnation is gone, so is every commit record of it, and none can come any more.
    #[must_use]
    pub fn as_holder(self) -> Option<Decision> {
        match (self.decision, self.standing) {
            (Some(decision), _) => Some(decision),
            (None, Standing::Gone) => Some(Decision::Aborted),
            (None, Standing::Open | Standing::Closed) => None,
        }
    }
}

/// An outcome record, as garbage collection reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRow {
    /// Whose outcome it is.
    pub txn: TxnId,
    /// What it says.
    pub decision: Decision,
    /// Every store and database that prepared, and so may still hold the transaction in doubt.
    pub stores: Vec<ResourceId>,
}

/// An incarnation, as garbage collection reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncarnationRow {
    /// Which start of which process.
    pub incarnation: Incarnation,
    /// The name of the machine it ran on.
    pub host: String,
    /// When it was enrolled.
    pub started_at: Timestamp,
    /// Whether it was closed.
    pub closed: bool,
}

/// A register that could not do what it was asked. Nothing is decided by an error: whoever asked
/// stays in doubt and asks again.
#[derive(Debug, thiserror::Error)]
#[error("{kind} while the register {resource} was asked to {operation}")]
#[non_exhaustive]
pub struct RegisterError {
    /// What went wrong.
    pub kind: RegisterErrorKind,
    /// Which register.
    pub resource: ResourceId,
    /// What it was asked to do, as a verb phrase.
    pub operation: &'static str,
    /// The driver's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl RegisterError {
    /// Creates an error without a source.
    #[must_use]
    pub fn new(kind: RegisterErrorKind, resource: ResourceId, operation: &'static str) -> Self {
        Self {
            kind,
            resource,
            operation,
            source: None,
        }
    }

    /// Adds the driver's error.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What went wrong in a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterErrorKind {
    /// An uncommitted record, or another lock, was in the way for longer than the lock timeout.
    #[error("a lock was not released in time")]
    Locked,
    /// The register could not be reached.
    #[error("no connection")]
    Unreachable,
    /// The register's tables are missing, of another version, or of another database.
    #[error("the register's tables are not usable")]
    Unusable,
    /// Anything else; the source says what.
    #[error("a failure")]
    Failed,
}

/// The place where decisions are written: a queue store or an application database.
///
/// Order of calls: 1. [`enroll`](Self::enroll), once for an incarnation, outside any transaction;
/// 2. the commit point writes `Committed` inside its own transaction, by means of its own;
/// 3. anybody asks with [`decide`](Self::decide); 4. garbage collection.
///
/// # Durability
/// Everything that a method reports is on disk when it returns: an implementation flushes before it
/// answers, even when it only read.
pub trait Register: Send + Sync {
    /// Returns the identity that staged batches name.
    fn resource(&self) -> ResourceId;

    /// Enrols an incarnation. Called before its first transaction here, never inside one, and never
    /// to bring back one that is missing: whose incarnation is gone draws a new one.
    ///
    /// # Errors
    /// The incarnation is not enrolled, or it is not known whether it is; draw a new one.
    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Result<(), RegisterError>;

    /// Writes the outcome of `txn` if there is none yet, then reads what is there, then reads the
    /// incarnation's standing. `stores` is what a written record lists.
    ///
    /// # Errors
    /// The caller is as much in doubt as before.
    ///
    /// # Blocking
    /// Waits for an uncommitted record of `txn`, at most for the register's short lock timeout.
    fn decide(
        &self,
        txn: TxnId,
        want: Decision,
        stores: &[ResourceId],
    ) -> Result<Answer, RegisterError>;

    /// Lists the outcome records, oldest id first, up to `limit`, after `after`.
    ///
    /// # Errors
    /// Nothing changed.
    fn outcomes(
        &self,
        after: Option<TxnId>,
        limit: usize,
    ) -> Result<Vec<OutcomeRow>, RegisterError>;

    /// Lists the incarnations.
    ///
    /// # Errors
    /// Nothing changed.
    fn incarnations(&self) -> Result<Vec<IncarnationRow>, RegisterError>;

    /// Returns those of the enrolled incarnations that are proved dead; empty where it cannot be known.
    ///
    /// # Errors
    /// Nothing changed.
    fn departed(&self) -> Result<Vec<Incarnation>, RegisterError>;

    /// Closes an incarnation, durably: from now on others may forget its commit rows.
    ///
    /// # Errors
    /// It may or may not be closed; closing again is harmless.
    fn close(&self, incarnation: Incarnation) -> Result<(), RegisterError>;

    /// Deletes the *commit* records of `txns`. The caller has made sure that every store they name
    /// released them. Returns how many went. Need not be flushed.
    ///
    /// # Errors
    /// Some may be gone; forgetting again is harmless.
    fn forget(&self, txns: &[TxnId]) -> Result<usize, RegisterError>;

    /// Drops an incarnation with its abort records, in one transaction, after locking it and only if
    /// no commit record of it is left. Returns whether it went.
    ///
    /// # Errors
    /// It may or may not be gone; dropping again is harmless.
    fn drop_incarnation(&self, incarnation: Incarnation) -> Result<bool, RegisterError>;
}

/// A place that holds its part of a prepared transaction until it is told how it ended: a queue store,
/// or a database that can prepare. Asked by garbage collection.
pub trait Holder: Send + Sync {
    /// Returns the identity that outcome records list.
    fn resource(&self) -> ResourceId;

    /// Flushes what was finished before, once, then returns those of `txns` that no crash can bring
    /// back in doubt here.
    ///
    /// # Errors
    /// Nothing may be forgotten.
    fn forgettable(
        &self,
        txns: &[TxnId],
    ) -> Result<Vec<TxnId>, Box<dyn std::error::Error + Send + Sync>>;
}

/// A transaction that a database has prepared: it is on disk there, invisible, and its locks are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedTxn {
    /// Where its outcome is written.
    pub register: ResourceId,
    /// Which transaction.
    pub txn: TxnId,
    /// How long ago it was prepared, by the database's own clock.
    pub age: Duration,
}

/// A database that can prepare: it keeps a transaction under the name of register and transaction until
/// it is told how that ended. Called by whoever publishes the tasks of the transaction, and by recovery.
///
/// An implementor asks no database but the one that its [`resource`](Holder::resource) names: what is
/// missing in a copy says nothing of the original.
pub trait Preparing: Holder {
    /// Lists what is prepared, of every register.
    ///
    /// # Errors
    /// Nothing changed.
    fn prepared(&self) -> Result<Vec<PreparedTxn>, Box<dyn std::error::Error + Send + Sync>>;

    /// Commits what is prepared of a transaction that is decided to commit. Idempotent: nothing prepared
    /// means that it was committed before.
    ///
    /// # Errors
    /// It may or may not be committed; call again.
    ///
    /// # Durability
    /// The database's part is committed, on disk, when this returns `Ok`.
    fn commit_prepared(
        &self,
        register: ResourceId,
        txn: TxnId,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Rolls back what is prepared of a transaction that is decided to abort. Idempotent.
    ///
    /// # Errors
    /// It may or may not be rolled back; call again.
    fn roll_back_prepared(
        &self,
        register: ResourceId,
        txn: TxnId,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What one transaction manager knows of the outside: the registers and holders that it can ask, where
/// its incarnations are enrolled, and which of its commit records nobody needs to ask for any more.
/// Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Registers(Arc<Directory>);

/// Which incarnations were enrolled in one register, and whether that succeeded.
type Enrolments = BTreeMap<Incarnation, bool>;

#[derive(Default)]
struct Directory {
    registers: RwLock<BTreeMap<ResourceId, Arc<dyn Register>>>,
    holders: RwLock<BTreeMap<ResourceId, Arc<dyn Holder>>>,
    databases: RwLock<BTreeMap<ResourceId, Arc<dyn Preparing>>>,
    /// A lock for each register, because one enrolment may wait for a transaction that is itself about
    /// to enrol elsewhere.
    enrolled: Mutex<BTreeMap<ResourceId, Arc<Mutex<Enrolments>>>>,
    known: Mutex<BTreeMap<ResourceId, Vec<OutcomeRow>>>,
}

impl Registers {
    /// Makes a register known; one of the same identity is replaced.
    pub fn insert(&self, register: Arc<dyn Register>) {
        let resource = register.resource();
        self.0.registers.write().insert(resource, register);
    }

    /// Finds a register.
    #[must_use]
    pub fn find(&self, resource: ResourceId) -> Option<Arc<dyn Register>> {
        self.0.registers.read().get(&resource).cloned()
    }

    /// Returns all that are known.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Register>> {
        self.0.registers.read().values().cloned().collect()
    }

    /// Makes a holder known; one of the same identity is replaced.
    pub fn insert_holder(&self, holder: Arc<dyn Holder>) {
        let resource = holder.resource();
        self.0.holders.write().insert(resource, holder);
    }

    /// Finds a holder.
    #[must_use]
    pub fn find_holder(&self, resource: ResourceId) -> Option<Arc<dyn Holder>> {
        self.0.holders.read().get(&resource).cloned()
    }

    /// Makes a database that can prepare known, as a holder too; one of the same identity is replaced.
    pub fn insert_database(&self, database: Arc<dyn Preparing>) {
        let resource = database.resource();
        self.insert_holder(Arc::clone(&database) as _);
        self.0.databases.write().insert(resource, database);
    }

    /// Finds a database that can prepare.
    #[must_use]
    pub fn find_database(&self, resource: ResourceId) -> Option<Arc<dyn Preparing>> {
        self.0.databases.read().get(&resource).cloned()
    }

    /// Names what is known, by FNV-1a over the sorted identities: two managers that know the same return
    /// the same, and so can do each other's recovery.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let registers = self.0.registers.read();
        let (holders, databases) = (self.0.holders.read(), self.0.databases.read());
        let registers = registers.keys().map(|id| (b'r', *id));
        let holders = holders.keys().map(|id| (b'h', *id));
        let databases = databases.keys().map(|id| (b'd', *id));
        let known = registers.chain(holders).chain(databases);
        let bytes = known.flat_map(|(what, id)| std::iter::once(what).chain(id.to_bytes()));
        bytes.fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Returns all databases that are known and can prepare.
    #[must_use]
    pub fn databases(&self) -> Vec<Arc<dyn Preparing>> {
        self.0.databases.read().values().cloned().collect()
    }

    /// Enrols `incarnation` in `register`, unless it was enrolled by this manager before: one that is
    /// missing there by now is gone, and is never brought back.
    ///
    /// # Errors
    /// It is not known whether it is enrolled: draw a new incarnation.
    ///
    /// # Blocking
    /// Waits for the register, and for another thread that enrols in the same one.
    pub fn enroll(
        &self,
        register: &dyn Register,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let slot = Arc::clone(
            self.0
                .enrolled
                .lock()
                .entry(register.resource())
                .or_default(),
        );
        let mut enrolled = slot.lock();
        match enrolled.get(&incarnation) {
            Some(true) => Ok(()),
            // It may have been enrolled by that attempt, and dropped by now.
            Some(false) => Err(RegisterError {
                kind: RegisterErrorKind::Failed,
                resource: register.resource(),
                operation: "enrol an incarnation whose first enrolment failed",
                source: None,
            }),
            None => {
                let result = register.enroll(incarnation, now);
                enrolled.insert(incarnation, result.is_ok());
                result
            }
        }
    }

    /// Whether this manager itself enrolled the incarnation in a register.
    #[must_use]
    pub fn has_enrolled(&self, register: ResourceId, incarnation: Incarnation) -> bool {
        let slot = self.0.enrolled.lock().get(&register).cloned();
        slot.is_some_and(|enrolled| enrolled.lock().contains_key(&incarnation))
    }

    /// Whether this manager enrolled the incarnation in a register, and knows that it did.
    pub(crate) fn is_enrolled(&self, register: ResourceId, incarnation: Incarnation) -> bool {
        let slot = self.0.enrolled.lock().get(&register).cloned();
        slot.is_some_and(|enrolled| enrolled.lock().get(&incarnation) == Some(&true))
    }

    /// Notes that the owner of a transaction knows that it committed: from now on its record in
    /// `register` is needed only by the holders that it lists.
    pub fn note_committed(&self, register: ResourceId, row: OutcomeRow) {
        self.0.known.lock().entry(register).or_default().push(row);
    }

    /// Counts what is noted for a register.
    #[must_use]
    pub fn count_committed(&self, register: ResourceId) -> usize {
        self.0.known.lock().get(&register).map_or(0, Vec::len)
    }

    /// Takes what [`note_committed`](Self::note_committed) noted for a register. Who cannot have it
    /// forgotten yet notes it again.
    #[must_use]
    pub fn take_committed(&self, register: ResourceId) -> Vec<OutcomeRow> {
        self.0.known.lock().remove(&register).unwrap_or_default()
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers")
            .field("registers", &self.0.registers.read().keys())
            .field("holders", &self.0.holders.read().keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECISIONS: [Option<Decision>; 3] =
        [None, Some(Decision::Aborted), Some(Decision::Committed)];
    const STANDINGS: [Standing; 3] = [Standing::Open, Standing::Closed, Standing::Gone];

    fn judge(judge: impl Fn(Answer) -> Option<Decision>) -> [[Option<Decision>; 3]; 3] {
        STANDINGS.map(|standing| DECISIONS.map(|decision| judge(Answer { decision, standing })))
    }

    #[test]
    fn an_owner_believes_an_abort_only_while_its_incarnation_is_open() {
        let (aborted, committed) = (Some(Decision::Aborted), Some(Decision::Committed));
        assert_eq!(
            judge(Answer::as_owner),
            [
                [aborted, aborted, committed],
                [None, None, committed],
                [None, None, committed],
            ]
        );
    }

    #[test]
    fn a_holder_believes_a_record_and_takes_a_gone_incarnation_for_an_abort() {
        let (aborted, committed) = (Some(Decision::Aborted), Some(Decision::Committed));
        assert_eq!(
            judge(Answer::as_holder),
            [
                [None, aborted, committed],
                [None, aborted, committed],
                [aborted, aborted, committed],
            ]
        );
    }
}
