//! What the driver's errors mean for a store.

use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::codec::CodecError;
use crate::id::TaskId;
use crate::store::{Error, Kind};

/// An error before it is known during which operation of the contract it happened. Cheap to clone,
/// because one failing commit is the failure of all its members.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(super) kind: Kind,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Result inside the backend.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// An error of which each member of a group has a share.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl Fault {
    /// The same failure, of which it is not known whether it prevented anything.
    pub(super) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Whether SQLite itself says that there was no room: then the end of a transaction was not written,
    /// and a part of it is void.
    pub(super) fn is_definitely_full(&self) -> bool {
        let driver = self
            .source
            .as_deref()
            .and_then(|source| source.downcast_ref());
        driver.and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::DiskFull)
    }

    /// Whether it was judged here and not by the database.
    pub(super) fn is_verdict(&self) -> bool {
        self.source.is_none()
    }

    /// Says what is damaged.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Kind::Corrupt(what.into()).into()
    }

    /// Adds which task it is that cannot be read.
    pub(super) fn of_task(self, task: TaskId) -> Self {
        match &self.kind {
            Kind::Corrupt(what) => {
                let kind = Kind::Corrupt(format!("task {task}: {what}"));
                self.with_kind(kind)
            }
            _ => self,
        }
    }

    /// Names the operation.
    pub(crate) fn during(self, operation: &'static str) -> Error {
        let error = Error::new(self.kind, super::BACKEND, operation);
        match self.source {
            Some(source) => error.with_source(Shared(source)),
            None => error,
        }
    }
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            kind: kind(&error),
            source: Some(Arc::new(error)),
        }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self {
            kind: Kind::Corrupt("a stored value cannot be read".to_owned()),
            source: Some(Arc::new(error)),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::ReadOnly,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Kind::Full,
            Io::NotFound => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self {
            kind,
            source: Some(Arc::new(error)),
        }
    }
}

/// A statement that failed inside a transaction changed nothing, whatever the reason: the transaction
/// is rolled back. What a failing COMMIT means, the writer decides.
fn kind(error: &rusqlite::Error) -> Kind {
    let rusqlite::Error::SqliteFailure(code, message) = error else {
        return match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => Kind::Corrupt(error.to_string()),
            _ => Kind::Other,
        };
    };
    let text = || message.clone().unwrap_or_else(|| code.to_string());
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted => {
            Kind::Unavailable
        }
        ErrorCode::DiskFull => Kind::Full,
        ErrorCode::SystemIoFailure if ran_out_of_room(code.extended_code) => Kind::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Kind::ReadOnly,
        ErrorCode::CannotOpen => Kind::Unavailable,
        ErrorCode::NotADatabase => Kind::Foreign(text()),
        ErrorCode::DatabaseCorrupt => Kind::Corrupt(text()),
        _ => Kind::Other,
    }
}

/// SQLite calls only ENOSPC "full"; a limit on the file's size or a quota is a failing write to it.
fn ran_out_of_room(extended_code: i32) -> bool {
    matches!(
        extended_code,
        ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE | ffi::SQLITE_IOERR_SHMSIZE
    )
}
