//! A manager, and participants, synchronizers and hooks that write down what they are asked and fail
//! when they are told to.
#![cfg(test)]

use std::any::Any;
use std::cell::RefCell;
use std::error::Error as StdError;
use std::sync::Arc;

use parking_lot::Mutex;
use votive::id::{Incarnation, ResourceId, TxnId};
use votive::txn::{
    Answer, BoxError, DataManager, IncarnationGone, Mark, NoSavepoints, Outcome, PrepareInfo,
    Prepared, Retryable, Role, Synchronizer, Transaction, TransactionManager, Vote, Work,
};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.lock().push(event.into());
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock()).join(" ")
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Error,
    Conflict,
    Panic,
    Unknown,
    Gone(Incarnation),
}

impl Fault {
    pub(crate) fn raise(self, text: &str) -> Result<(), BoxError> {
        match self {
            Self::Error | Self::Unknown => Err(text.into()),
            Self::Conflict => Err(Retryable(text.into()).into()),
            Self::Gone(incarnation) => Err(IncarnationGone(incarnation).into()),
            Self::Panic => panic!("{text}"),
        }
    }
}

/// A manager, and all that it calls.
#[derive(Default)]
pub(crate) struct Scene {
    pub(crate) manager: TransactionManager,
    pub(crate) trace: Trace,
}

impl Scene {
    pub(crate) fn begin(&self) -> Transaction {
        self.manager.begin().unwrap()
    }

    /// What happened since it was asked last.
    pub(crate) fn heard(&self) -> String {
        self.trace.take()
    }

    pub(crate) fn member(&self, name: &'static str) -> Member {
        Member {
            name,
            key: name,
            trace: self.trace.clone(),
            role: Role::Volatile,
            prepared: Prepared::Work,
            faults: RefCell::default(),
            quirks: Vec::new(),
        }
    }

    /// Adds a synchronizer that fails once at each of `faults`.
    pub(crate) fn listen(&self, name: &'static str, faults: &[(&'static str, Fault)]) {
        self.manager.add_synchronizer(Arc::new(Listener {
            name,
            trace: self.trace.clone(),
            faults: Mutex::new(faults.to_vec()),
        }));
    }

    /// Adds a hook to each of the four lists.
    pub(crate) fn hooks(&self, work: &mut Work) {
        let [one, two, three, four] = [(); 4].map(|()| self.trace.clone());
        work.before_commit(move |_| {
            one.add("before_commit");
            Ok(())
        });
        work.after_commit(move |outcome| {
            two.add(format!("after_commit({outcome:?})"));
            Ok(())
        });
        work.before_abort(move |_| {
            three.add("before_abort");
            Ok(())
        });
        work.after_abort(move || {
            four.add("after_abort");
            Ok(())
        });
    }
}

/// A resource that is always the same for the same name.
pub(crate) fn resource(name: &str) -> ResourceId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    ResourceId::from_bytes(bytes)
}

pub(crate) fn join(work: &mut Work, member: Member) {
    let key = resource(member.name);
    work.join_with(key, |_| Ok(member)).unwrap();
}

/// How a participant differs from the usual one.
#[derive(Clone, Copy, PartialEq)]
enum Quirk {
    HandsOverBlindly,
    HasNoSavepoints,
    Retries,
    TellsItsKey,
}

/// A participant.
pub(crate) struct Member {
    name: &'static str,
    key: &'static str,
    trace: Trace,
    role: Role,
    prepared: Prepared,
    faults: RefCell<Vec<(&'static str, Fault)>>,
    quirks: Vec<Quirk>,
}

impl Member {
    /// Makes the next call of `step` fail; again for the call after that.
    pub(crate) fn fails(self, step: &'static str, fault: Fault) -> Self {
        self.faults.borrow_mut().push((step, fault));
        self
    }

    pub(crate) fn keyed(self, key: &'static str) -> Self {
        Self { key, ..self }
    }

    /// Can only commit.
    pub(crate) fn decides(self) -> Self {
        let role = Role::OnePhase(resource(self.name));
        Self { role, ..self }
    }

    /// Can only prepare.
    pub(crate) fn promises(self) -> Self {
        let role = Role::TwoPhase(resource(self.name));
        Self { role, ..self }
    }

    pub(crate) fn has_nothing_to_do(self) -> Self {
        let prepared = Prepared::Nothing;
        Self { prepared, ..self }
    }

    pub(crate) fn follows(self) -> Self {
        let prepared = Prepared::Follows;
        Self { prepared, ..self }
    }

    /// Leaves its work to `host`, if that is there.
    pub(crate) fn travels_with(self, host: &str) -> Self {
        let prepared = Prepared::HandedOver(resource(host));
        Self { prepared, ..self }
    }

    /// Does not look whether its host is there.
    pub(crate) fn blindly(self) -> Self {
        self.with(Quirk::HandsOverBlindly)
    }

    pub(crate) fn without_savepoints(self) -> Self {
        self.with(Quirk::HasNoSavepoints)
    }

    pub(crate) fn retries(self) -> Self {
        self.with(Quirk::Retries)
    }

    pub(crate) fn tells_its_key(self) -> Self {
        self.with(Quirk::TellsItsKey)
    }

    fn with(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    fn fault(&self, step: &str) -> Option<Fault> {
        let mut faults = self.faults.borrow_mut();
        let position = faults.iter().position(|(other, _)| *other == step)?;
        Some(faults.remove(position).1)
    }

    fn step(&self, step: &str) -> Result<(), BoxError> {
        self.trace.add(format!("{}.{step}", self.name));
        match self.fault(step) {
            Some(fault) => fault.raise(&format!("{}.{step} broke", self.name)),
            None => Ok(()),
        }
    }

    fn answer(&self, step: &str) -> Answer {
        let faults = self.faults.borrow();
        let lost = faults
            .iter()
            .any(|(other, fault)| *other == step && matches!(fault, Fault::Unknown));
        drop(faults);
        match self.step(step) {
            Ok(()) => Answer::Ok,
            Err(error) if lost => Answer::Unknown(error),
            Err(error) => Answer::Refused(error),
        }
    }
}

impl DataManager for Member {
    fn role(&self) -> Role {
        self.role
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        if self.has(Quirk::TellsItsKey) {
            self.step("sort_key")?;
        }
        Ok(self.key.to_owned())
    }

    fn prepare(&mut self, info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        self.step("prepare")?;
        let Prepared::HandedOver(host) = self.prepared else {
            return Ok(self.prepared);
        };
        if !self.has(Quirk::HandsOverBlindly) && !info.hosts(host) {
            return Ok(Prepared::Work);
        }
        info.hand_over(host, Box::new(self.name));
        Ok(self.prepared)
    }

    fn accept(&mut self, work: Box<dyn Any + Send>) -> Result<(), BoxError> {
        let of = work.downcast::<&str>().map_err(|_| "odd work")?;
        self.step(&format!("accept({of})"))
    }

    fn vote(&mut self, vote: Vote<'_>) -> Answer {
        self.answer(match vote {
            Vote::Prepare { .. } => "vote",
            Vote::Decide { .. } => "decide",
        })
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        self.step("finish")
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.step("abort")
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        if self.has(Quirk::HasNoSavepoints) {
            return Err(NoSavepoints.into());
        }
        self.step("savepoint").map(|()| Mark(0))
    }

    fn rollback(&mut self, _mark: Mark) -> Result<(), BoxError> {
        self.step("rollback")
    }

    fn is_retryable(&self, _error: &(dyn StdError + 'static)) -> bool {
        let retries = self.has(Quirk::Retries);
        if retries {
            self.trace.add(format!("{}.is_retryable", self.name));
        }
        retries
    }
}

/// A synchronizer.
struct Listener {
    name: &'static str,
    trace: Trace,
    faults: Mutex<Vec<(&'static str, Fault)>>,
}

impl Listener {
    fn step(&self, step: &str, event: &str) -> Result<(), BoxError> {
        self.trace.add(format!("{}.{event}", self.name));
        let mut faults = self.faults.lock();
        let position = faults.iter().position(|(other, _)| *other == step);
        let fault = position.map(|position| faults.remove(position).1);
        drop(faults);
        fault.map_or(Ok(()), |fault| {
            fault.raise(&format!("{}.{step} broke", self.name))
        })
    }
}

impl Synchronizer for Listener {
    fn new_transaction(&self, _work: &mut Work) -> Result<(), BoxError> {
        self.step("new", "new")
    }

    fn before_completion(&self, _work: &mut Work) -> Result<(), BoxError> {
        self.step("before", "before")
    }

    fn after_completion(&self, _txn: TxnId, outcome: Option<Outcome>) -> Result<(), BoxError> {
        let how = outcome.map_or("aborted".to_owned(), |outcome| format!("{outcome:?}"));
        self.step("after", &format!("after({how})"))
    }
}
