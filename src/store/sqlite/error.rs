//! What the driver's errors mean for a store.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::store::Kind;
use crate::store::fault::{self, Backend};

/// A SQLite file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sqlite;

impl Backend for Sqlite {
    const NAME: &'static str = super::BACKEND;
}

pub(crate) type Fault = fault::Fault<Sqlite>;

/// Result inside the backend.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Whether SQLite itself says that there was no room: then the end of a transaction was not written,
    /// and a part of it is void.
    pub(super) fn is_definitely_full(&self) -> bool {
        let code = self.driver().and_then(rusqlite::Error::sqlite_error_code);
        code == Some(ErrorCode::DiskFull)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(kind(&error), error)
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
