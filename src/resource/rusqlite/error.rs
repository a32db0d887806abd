//! What may go wrong with an application's SQLite database.

use std::path::PathBuf;

use crate::id::TxnId;
use crate::register::RegisterError;
use crate::txn::{BoxError, IncarnationGone};

/// Why a database could not be opened, joined or committed. Nothing was committed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The driver failed.
    #[error("{path} could not {operation}", path = path.display())]
    #[non_exhaustive]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The driver's error.
        #[source]
        source: rusqlite::Error,
    },
    /// Another transaction of this process was in the way for longer than the busy timeout. May be
    /// retried.
    #[error("{path} is being written by another transaction of this process", path = .0.display())]
    Busy(PathBuf),
    /// A database that is not a file cannot be shared by several connections.
    #[error("`{0}` is not the path of a file")]
    NotAFile(String),
    /// The file is a copy, or was moved from another disk: which one is the real one, nobody but an
    /// operator knows.
    #[error(
        "the register in {path} was made for another file ({recorded}, but this is {found}): \
         if this file has taken its place, run `votive migrate --register sqlite:{path} --adopt`",
        path = path.display()
    )]
    #[non_exhaustive]
    Moved {
        /// The database.
        path: PathBuf,
        /// The fingerprint in the register.
        recorded: String,
        /// The fingerprint of the file.
        found: String,
    },
    /// Another file has taken the place of the one that was opened.
    #[error("{path} is not the file any more that was opened: open it again", path = .0.display())]
    Replaced(PathBuf),
    /// The database cannot decide for others without a register.
    #[error(
        "{path} holds no register, which a transaction with another store needs: \
         run `votive migrate --register sqlite:{path}` and open it again",
        path = .0.display()
    )]
    NoRegister(PathBuf),
    /// A commit of this database might not survive a power failure, so it cannot decide for others.
    #[error(
        "{path} has {setting}, so its commits may be lost with the power: a transaction with another \
         store needs `synchronous` FULL with `journal_mode` WAL, or else EXTRA",
        path = path.display()
    )]
    #[non_exhaustive]
    NotDurable {
        /// The database.
        path: PathBuf,
        /// Its settings.
        setting: String,
    },
    /// The transaction is over before its time: SQLite rolled it back after an error, such as a full
    /// disk, or a statement of the application's ended it. What was executed after that, against the
    /// error or in spite of it, was committed statement by statement.
    #[error("the transaction in {path} was ended by SQLite or by hand", path = .0.display())]
    Ended(PathBuf),
    /// The file is a store too, but was opened as if it were not.
    #[error(
        "{path} is a store too: open it with `Database::sharing`, so that tasks travel in its commit",
        path = .0.display()
    )]
    NotShared(PathBuf),
    /// Recovery was faster and has decided to abort.
    #[error("transaction {0} was aborted by recovery before it could commit")]
    Decided(TxnId),
    /// The process could not be made known to the register, where it may have to decide. May be
    /// retried, as another incarnation.
    #[error("{path} could not enroll the incarnation: {reason}", path = path.display())]
    #[non_exhaustive]
    NotEnrolled {
        /// The database.
        path: PathBuf,
        /// Why not.
        reason: RegisterError,
        /// Which incarnation.
        #[source]
        source: IncarnationGone,
    },
    /// The process is not known to the register any more. May be retried, as another incarnation.
    #[error("{path} does not know the incarnation any more", path = path.display())]
    #[non_exhaustive]
    Gone {
        /// The database.
        path: PathBuf,
        /// Which incarnation.
        #[source]
        source: IncarnationGone,
    },
    /// This process is a fork of the one that opened the database.
    #[error("{path} was opened before a fork: open it again in the child", path = .0.display())]
    Forked(PathBuf),
}

/// Whether an error, or what caused it, is a conflict with another transaction.
pub(super) fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
            matches!(
                error.sqlite_error_code(),
                Some(DatabaseBusy | DatabaseLocked)
            )
        } else if let Some(error) = error.downcast_ref::<crate::store::Error>() {
            error.is_retryable()
        } else {
            matches!(error.downcast_ref(), Some(DatabaseError::Busy(_)))
        }
    })
}

/// Puts an error into the form in which a participant gives it: a conflict says so of itself, because
/// nobody else can before the participant has joined.
pub(super) fn report(error: DatabaseError) -> BoxError {
    if is_conflict(&error) {
        Box::new(crate::txn::Retryable(error.into()))
    } else {
        error.into()
    }
}
