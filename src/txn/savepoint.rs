//! Points to go back to. A savepoint holds the transaction's work mutably, so only the innermost one
//! can be used: what a rollback would invalidate does not compile.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::txn::data_manager::{BoxError, DataManager, Mark, NoSavepoints};
use crate::txn::error::SavepointError;
use crate::txn::work::{Seat, Work, abort_early};

/// A point to go back to. Dropping it lets go of the point and keeps the work.
///
/// Points nest by borrow: while an inner one lives, an outer one cannot be used.
///
/// ```compile_fail,E0499
/// let manager = votive::txn::TransactionManager::new();
/// let mut txn = manager.begin().unwrap();
/// let mut outer = txn.savepoint().unwrap();
/// let mut inner = outer.savepoint().unwrap();
/// outer.rollback().unwrap(); // the inner point is still in use
/// inner.rollback().unwrap();
/// ```
#[must_use = "a savepoint that is dropped at once protects nothing"]
pub struct Savepoint<'a> {
    work: &'a mut Work,
    /// One per participant that had joined, in join order; `None` where it supports no savepoints.
    marks: Vec<Option<Mark>>,
}

/// What a participant without savepoints does to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsupported {
    Fails,
    Tolerated,
}

pub(super) fn make(
    work: &mut Work,
    unsupported: Unsupported,
) -> Result<Savepoint<'_>, SavepointError> {
    check(work)?;
    let asked: Result<_, _> = work
        .seats
        .iter_mut()
        .map(|seat| mark(seat, unsupported))
        .collect();
    match asked {
        Ok(marks) => Ok(Savepoint { work, marks }),
        Err(error) => {
            work.fail(&error);
            Err(error)
        }
    }
}

fn check(work: &Work) -> Result<(), SavepointError> {
    if !work.is_active() {
        Err(SavepointError::NotActive)
    } else if work.is_lending() {
        Err(SavepointError::Lent)
    } else {
        Ok(())
    }
}

fn mark(seat: &mut Seat, unsupported: Unsupported) -> Result<Option<Mark>, SavepointError> {
    match seat.call(DataManager::savepoint) {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if error.is::<NoSavepoints>() && unsupported == Unsupported::Tolerated => {
            Ok(None)
        }
        Err(error) => Err(trouble(seat, error)),
    }
}

fn go_back(seat: &mut Seat, mark: Option<Mark>) -> Result<(), SavepointError> {
    let mark = mark.ok_or_else(|| trouble(seat, NoSavepoints.into()))?;
    seat.call(|participant| participant.rollback(mark))
        .map_err(|error| trouble(seat, error))
}

fn trouble(seat: &Seat, error: BoxError) -> SavepointError {
    if error.is::<NoSavepoints>() {
        let participant = seat.name();
        SavepointError::Unsupported { participant }
    } else {
        SavepointError::Failed(error)
    }
}

impl Savepoint<'_> {
    /// Undoes what was done since the savepoint was made; participants that joined since are aborted,
    /// and may join anew. May be called any number of times. A doomed transaction stays doomed.
    ///
    /// # Errors
    /// The transaction has failed, and every participant was aborted; or nothing changed, because it
    /// had failed before.
    pub fn rollback(&mut self) -> Result<(), SavepointError> {
        check(self.work)?;
        self.go_back().inspect_err(|error| self.work.fail(error))
    }

    fn go_back(&mut self) -> Result<(), SavepointError> {
        for (seat, mark) in self.work.seats.iter_mut().zip(&self.marks) {
            go_back(seat, *mark)?;
        }
        let late = self.work.seats.split_off(self.marks.len());
        match abort_early(late).into_iter().next() {
            Some(error) => Err(SavepointError::Failed(error)),
            None => Ok(()),
        }
    }

    fn release(&mut self) -> Result<(), BoxError> {
        for (seat, mark) in self.work.seats.iter_mut().zip(&self.marks) {
            if let Some(mark) = *mark {
                seat.call(|participant| participant.release(mark))?;
            }
        }
        Ok(())
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if !self.work.is_active() {
            return;
        }
        if let Err(error) = self.release() {
            tracing::warn!(txn = %self.work.id(), %error, "a savepoint could not be let go");
            self.work.fail(&*error);
        }
    }
}

impl Deref for Savepoint<'_> {
    type Target = Work;

    fn deref(&self) -> &Work {
        self.work
    }
}

impl DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut Work {
        self.work
    }
}

impl fmt::Debug for Savepoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}
