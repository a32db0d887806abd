//! The part of a transaction in which work is done.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;

use crate::id::{ResourceId, TxnId};
use crate::register::Registers;
use crate::txn::data_manager::{BoxError, DataManager, Prepared, Role};
use crate::txn::error::{
    FailedEarlier, IncarnationGone, JoinError, Panicked, PlanError, Retryable, SavepointError,
    chain, discard, find, guarded,
};
use crate::txn::hooks::{HookLists, Outcome};
use crate::txn::notes::Notes;
use crate::txn::plan::{Candidate, Plan};
use crate::txn::savepoint::{self, Savepoint, Unsupported};

/// The part of a transaction in which work is done; lent by [`Transaction`](crate::txn::Transaction)
/// and [`Savepoint`]. Functions that enqueue take `&mut Work`.
///
/// Nobody outside can make or own one, and its type parameter makes it unsized on purpose: two of them
/// cannot be swapped behind the back of a savepoint.
///
/// ```compile_fail,E0277
/// let manager = votive::txn::TransactionManager::new();
/// let (mut one, mut other) = (manager.begin().unwrap(), manager.begin().unwrap());
/// let mut savepoint = one.savepoint().unwrap();
/// std::mem::swap::<votive::txn::Work>(&mut savepoint, &mut other);
/// ```
pub struct Work<Tail: ?Sized = [()]> {
    id: TxnId,
    registers: Registers,
    pub(super) seats: Vec<Seat>,
    number: u64,
    phase: Phase,
    doomed: bool,
    /// Why one who wanted to join could not, if its incarnation was the reason.
    pub(super) gone: Option<IncarnationGone>,
    pub(super) hooks: HookLists,
    notes: Notes,
    _unsized: Tail,
}

/// A participant in its place; seats are in join order.
pub(super) struct Seat {
    id: (TypeId, ResourceId),
    /// `None` while it is lent, and when it is out.
    pub(super) participant: Option<Box<dyn DataManager>>,
    number: usize,
    /// Once it was asked for.
    pub(super) sort_key: Option<String>,
    pub(super) role: Role,
    pub(super) prepared: Prepared,
}

enum Phase {
    Active,
    Failed {
        error: FailedEarlier,
        retryable: bool,
    },
    /// It is ending, and nobody may join any more.
    Closed,
}

impl Work {
    pub(super) fn new(id: TxnId, registers: Registers, seats: Vec<Seat>) -> Box<Self> {
        let work: Box<Work<[(); 0]>> = Box::new(Work {
            id,
            registers,
            seats,
            number: 0,
            phase: Phase::Active,
            doomed: false,
            gone: None,
            hooks: HookLists::default(),
            notes: Notes::default(),
            _unsized: [],
        });
        work
    }

    /// Returns the transaction's id, which belongs to this one attempt.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// Counts what is named after the transaction. A rollback to a savepoint does not count back.
    pub(crate) fn count_up(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Returns the registers that the transaction's manager knows.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Joins one participant per type and key, made by `init` if it has not joined yet, and lends it.
    ///
    /// # Errors
    /// Nothing changed. Besides a failing `init`: too late, failed, or [lent](Self::lend) already. After an
    /// [`IncarnationGone`] of `init` the transaction cannot go on with that participant; one that begins
    /// when it has ended has another incarnation.
    pub fn join_with<D: DataManager>(
        &mut self,
        key: ResourceId,
        init: impl FnOnce(TxnId) -> Result<D, BoxError>,
    ) -> Result<&mut D, JoinError> {
        match self.phase {
            Phase::Active => {}
            Phase::Failed { .. } => return Err(JoinError::Failed),
            Phase::Closed => return Err(JoinError::Committing),
        }
        let seat = match self.seat_of::<D>(key) {
            Some(seat) => seat,
            None => match init(self.id) {
                Ok(participant) => self.sit(key, participant),
                Err(error) => return Err(self.not_joined(error)),
            },
        };
        let participant = self.seats.get_mut(seat).and_then(Seat::participant_mut);
        participant.ok_or(JoinError::Lent)
    }

    fn not_joined(&mut self, error: BoxError) -> JoinError {
        self.gone = self.gone.or(find(&*error).copied());
        JoinError::Init(error)
    }

    fn seat_of<D: DataManager>(&self, key: ResourceId) -> Option<usize> {
        let id = (TypeId::of::<D>(), key);
        self.seats.iter().position(|seat| seat.id == id)
    }

    fn sit<D: DataManager>(&mut self, key: ResourceId, participant: D) -> usize {
        let number = self.seats.len();
        self.seats.push(Seat {
            id: (TypeId::of::<D>(), key),
            role: Role::Volatile,
            participant: Some(Box::new(participant)),
            number,
            sort_key: None,
            prepared: Prepared::Work,
        });
        number
    }

    /// Looks at the joined participants of a type, in join order; one that is lent is left out.
    pub fn joined<D: DataManager>(&self) -> impl Iterator<Item = &D> {
        self.seats.iter().filter_map(|seat| {
            let participant: &dyn Any = seat.participant.as_deref()?;
            participant.downcast_ref()
        })
    }

    /// Lends a joined participant together with the rest of the transaction: for the usual loop that
    /// reads rows and enqueues. `None` if it has not joined, or is lent already.
    ///
    /// Until `f` returns, the participant counts as away: joining it again and making a savepoint are
    /// errors. It comes back even if `f` panics; if the transaction failed meanwhile it is aborted then.
    pub fn lend<D: DataManager, T>(
        &mut self,
        key: ResourceId,
        f: impl FnOnce(&mut D, &mut Work) -> T,
    ) -> Option<T> {
        let seat = self.seat_of::<D>(key)?;
        let participant = self.seats.get_mut(seat)?.participant.take()?;
        let mut loan = Loan {
            work: self,
            seat: (TypeId::of::<D>(), key),
            participant: Some(participant),
        };
        let Loan {
            work, participant, ..
        } = &mut loan;
        let participant: &mut dyn Any = participant.as_deref_mut()?;
        Some(f(participant.downcast_mut()?, work))
    }

    /// Makes a point to go back to.
    ///
    /// # Errors
    /// If a participant fails, or supports no savepoints, the transaction has failed and every
    /// participant was aborted. Otherwise nothing changed.
    pub fn savepoint(&mut self) -> Result<Savepoint<'_>, SavepointError> {
        savepoint::make(self, Unsupported::Fails)
    }

    /// Makes a point to go back to, even if a participant supports none; then only going back fails.
    ///
    /// # Errors
    /// If a participant fails, the transaction has failed and every participant was aborted. Otherwise
    /// nothing changed.
    pub fn savepoint_optimistic(&mut self) -> Result<Savepoint<'_>, SavepointError> {
        savepoint::make(self, Unsupported::Tolerated)
    }

    /// Sees to it that the transaction can only be aborted.
    #[doc(alias = "rollback_only")]
    pub fn doom(&mut self) {
        self.doomed = true;
    }

    /// Whether the transaction can only be aborted because it was [doomed](Self::doom).
    #[must_use]
    pub fn is_doomed(&self) -> bool {
        self.doomed
    }

    /// Adds a hook that a commit runs first. It may join, enqueue, doom and add hooks of its kind; an
    /// error or a panic refuses the commit, and the hooks that follow are not run.
    pub fn before_commit(
        &mut self,
        hook: impl FnOnce(&mut Work) -> Result<(), BoxError> + Send + 'static,
    ) {
        self.hooks.before_commit.add(Box::new(hook));
    }

    /// Adds a hook that a commit runs last, whatever came of it. No participant is called any more. An
    /// error or a panic is logged and changes nothing.
    pub fn after_commit(
        &mut self,
        hook: impl FnOnce(Outcome) -> Result<(), BoxError> + Send + 'static,
    ) {
        self.hooks.after_commit.add(Box::new(hook));
    }

    /// Adds a hook that an abort, or the clean-up of a refused commit, runs first. An error or a panic
    /// is logged and changes nothing.
    pub fn before_abort(
        &mut self,
        hook: impl FnOnce(&mut Work) -> Result<(), BoxError> + Send + 'static,
    ) {
        self.hooks.before_abort.add(Box::new(hook));
    }

    /// Adds a hook that runs when all participants were aborted. An error or a panic is logged and
    /// changes nothing.
    pub fn after_abort(&mut self, hook: impl FnOnce() -> Result<(), BoxError> + Send + 'static) {
        self.hooks.after_abort.add(Box::new(hook));
    }

    /// Adds a line to the description; blanks around it go.
    pub fn note(&mut self, text: &str) {
        self.notes.note(text);
    }

    /// Returns the lines that were [noted](Self::note).
    #[must_use]
    pub fn description(&self) -> &str {
        &self.notes.description
    }

    /// Says on whose behalf the work is done: a name, and the path of the place that knows the name.
    pub fn set_user(&mut self, path: &str, name: &str) {
        self.notes.user = format!("{path} {name}");
    }

    /// Returns path and name of the user; empty if none was set.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.notes.user
    }

    /// Sets an entry of the extension; the last value stays.
    pub fn set_extension(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.notes.extension.insert(key.into(), value.into());
    }

    /// Returns the entries that describe the transaction besides its description.
    #[must_use]
    pub fn extension(&self) -> &BTreeMap<String, String> {
        &self.notes.extension
    }

    /// Keeps a value until the transaction ends, one per type.
    pub fn set_data<T: Any + Send>(&mut self, value: T) {
        self.notes.set_data(value);
    }

    /// Returns the value of that type, if there is one.
    #[must_use]
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.notes.data()
    }

    /// Forecasts the plan of a commit: every joined participant is taken as having work, and whoever
    /// can do either on a database that another participant owns is taken as handing it over.
    ///
    /// # Errors
    /// The participants could not be committed together.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let seats: Vec<(&Seat, Role)> = self
            .seats
            .iter()
            .filter_map(|seat| Some((seat, seat.participant.as_ref()?.role())))
            .collect();
        let hosted = |role: Role| match role {
            Role::Either(id) => seats.iter().any(|(_, host)| *host == Role::OnePhase(id)),
            _ => false,
        };
        let alone = seats.iter().filter(|(_, role)| !hosted(*role)).enumerate();
        let candidates: Vec<Candidate<'_>> = alone
            .map(|(number, (seat, role))| Candidate {
                seat: number,
                name: seat.name().into(),
                role: *role,
            })
            .collect();
        Plan::make(&candidates).map(|(plan, _)| plan)
    }

    /// Whether there is neither a participant nor a hook.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.hooks.are_empty()
    }

    /// Whether the work may succeed if it is done again after `error`: because an error in its chain
    /// is [`Retryable`] or [`IncarnationGone`], or because a participant says so. A panic never is.
    #[must_use]
    pub fn is_retryable(&self, error: &(dyn StdError + 'static)) -> bool {
        if find::<Panicked>(error).is_some() {
            return false;
        }
        find::<Retryable>(error).is_some()
            || find::<IncarnationGone>(error).is_some()
            || matches!(self.phase, Phase::Failed { retryable, .. } if retryable)
            || chain(error).any(|error| self.participant_retries(error))
    }

    fn participant_retries(&self, error: &(dyn StdError + 'static)) -> bool {
        let mut participants = self.seats.iter().filter_map(|s| s.participant.as_ref());
        participants.any(|participant| {
            // One that panics when asked has not said yes.
            guarded(|| Ok(participant.is_retryable(error))).unwrap_or(false)
        })
    }

    /// Lets nobody join any more.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Drops what hooks and data are left.
    pub(super) fn discard(&mut self) {
        self.hooks.discard();
        self.notes.discard();
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    /// Whether a participant is lent out.
    pub(super) fn is_lending(&self) -> bool {
        self.seats.iter().any(|seat| seat.participant.is_none())
    }

    /// Names a participant.
    pub(super) fn name(&self, number: usize) -> String {
        self.seats
            .get(number)
            .map(Seat::known_name)
            .unwrap_or_default()
    }

    /// Returns why the transaction failed, if it did.
    pub(super) fn failure(&self) -> Option<FailedEarlier> {
        match &self.phase {
            Phase::Failed { error, .. } => Some(error.clone()),
            Phase::Active | Phase::Closed => None,
        }
    }

    /// Fails the transaction: every participant is aborted, and only an abort is left to do.
    pub(super) fn fail(&mut self, error: &(dyn StdError + 'static)) {
        self.phase = Phase::Failed {
            error: FailedEarlier::new(error),
            retryable: self.is_retryable(error),
        };
        let (present, lent) = std::mem::take(&mut self.seats)
            .into_iter()
            .partition(|seat| seat.participant.is_some());
        self.seats = lent;
        abort_early(present);
    }

    /// Takes back a participant that was lent.
    fn take_back(&mut self, id: (TypeId, ResourceId), participant: Option<Box<dyn DataManager>>) {
        let Some(number) = self.seats.iter().position(|seat| seat.id == id) else {
            return;
        };
        if let Some(seat) = self.seats.get_mut(number) {
            seat.participant = participant;
        }
        if matches!(self.phase, Phase::Failed { .. }) {
            abort_early(vec![self.seats.remove(number)]);
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("id", &self.id)
            .field("participants", &self.seats.len())
            .field("doomed", &self.doomed)
            .finish_non_exhaustive()
    }
}

impl Seat {
    fn participant_mut<D: DataManager>(&mut self) -> Option<&mut D> {
        let participant: &mut dyn Any = self.participant.as_deref_mut()?;
        participant.downcast_mut()
    }

    /// Its sort key or, if it has none, its position.
    pub(super) fn name(&self) -> String {
        let participant = self.participant.as_deref();
        let key = participant.and_then(|p| guarded(|| p.sort_key()).ok());
        key.unwrap_or_else(|| self.known_name())
    }

    /// Its sort key if it was asked for, or else its position.
    fn known_name(&self) -> String {
        let position = || format!("#{}", self.number + 1);
        self.sort_key.clone().unwrap_or_else(position)
    }

    /// Asks for what has to be known before anything changes.
    pub(super) fn introduce(&mut self) -> Result<(), BoxError> {
        let (role, sort_key) = self.call(|p| Ok((p.role(), p.sort_key()?)))?;
        self.role = role;
        self.sort_key = Some(sort_key);
        Ok(())
    }

    /// Whether it keeps work of its own in that resource.
    pub(super) fn owns(&self, resource: ResourceId) -> bool {
        self.prepared == Prepared::Work && self.role.resource() == Some(resource)
    }

    /// Calls the participant; a panic becomes an error.
    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn DataManager) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        let participant = self.participant.as_deref_mut();
        let participant = participant.ok_or("the participant is not there")?;
        guarded(|| call(participant))
    }

    /// Aborts the participant, and logs if that fails.
    pub(super) fn abort(&mut self) -> Result<(), BoxError> {
        self.call(DataManager::abort).inspect_err(|error| {
            tracing::warn!(participant = self.known_name(), %error, "a participant failed to abort");
        })
    }
}

/// Aborts participants that leave before the end. All are called; returns the errors, which are
/// logged already.
pub(super) fn abort_early(seats: Vec<Seat>) -> Vec<BoxError> {
    seats
        .into_iter()
        .filter_map(|mut seat| {
            let aborted = seat.abort();
            discard(seat.participant);
            aborted.err()
        })
        .collect()
}

/// A participant that is away; it comes back when this is dropped.
struct Loan<'w> {
    work: &'w mut Work,
    seat: (TypeId, ResourceId),
    participant: Option<Box<dyn DataManager>>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let participant = self.participant.take();
        self.work.take_back(self.seat, participant);
    }
}
