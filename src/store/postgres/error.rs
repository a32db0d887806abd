//! What the driver's errors mean for a store.

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::register::RegisterErrorKind;
use crate::store::Kind;
use crate::store::fault::{self, Backend};

/// A Postgres server, and whether the connection on which something failed is of no use any more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Server {
    is_fatal: bool,
}

impl Backend for Server {
    const NAME: &'static str = super::BACKEND;

    fn register_kind(fault: &Fault) -> RegisterErrorKind {
        match &fault.kind {
            _ if fault.is_locked() => RegisterErrorKind::Locked,
            Kind::Conflict => RegisterErrorKind::Locked,
            Kind::Unavailable => RegisterErrorKind::Unreachable,
            Kind::Foreign(_) | Kind::Corrupt(_) | Kind::NewerVersion { .. } => {
                RegisterErrorKind::Unusable
            }
            _ => RegisterErrorKind::Failed,
        }
    }
}

pub(crate) type Fault = fault::Fault<Server>;

/// Result inside the backend.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer came in {0:?}")]
pub(super) struct NoAnswer(pub(super) std::time::Duration);

impl Fault {
    /// The connection is gone, and what was asked last may or may not have been heard.
    pub(super) fn lost(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(Kind::Unavailable, source).fatal()
    }

    /// The same failure, after which the connection is of no use.
    pub(super) fn fatal(mut self) -> Self {
        self.backend.is_fatal = true;
        self
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_fatal(&self) -> bool {
        self.backend.is_fatal
    }

    /// Whether a statement that is to do all or to fail could not do all.
    pub(super) fn fell_short(&self) -> bool {
        self.code() == Some(&SqlState::DIVISION_BY_ZERO)
    }

    /// Whether there was a row of this name already.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// Whether a lock was waited for in vain.
    pub(super) fn is_locked(&self) -> bool {
        self.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    fn code(&self) -> Option<&SqlState> {
        self.driver().and_then(tokio_postgres::Error::code)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let (kind, is_fatal) = match error.as_db_error() {
            Some(database) => (kind(database), is_fatal(database)),
            // What the driver cannot make sense of may be half read: the connection is of no use.
            None => (distrust(&error).unwrap_or(Kind::Unavailable), true),
        };
        let mut fault = Self::new(kind, error);
        fault.backend.is_fatal = is_fatal;
        fault
    }
}

/// Why an encrypted connection must not be used, if that is so: waiting does not help then.
fn distrust(error: &tokio_postgres::Error) -> Option<Kind> {
    let cause = std::error::Error::source(error)?.to_string();
    cause.contains("invalid peer certificate").then(|| {
        Kind::Invalid(
            "the server's certificate is not trusted: name the file of the authority that has signed it by \
             `sslrootcert`, and the server as its certificate names it"
                .to_owned(),
        )
    })
}

fn is_fatal(error: &DbError) -> bool {
    matches!(
        error.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    )
}

/// A statement that failed changed nothing, whatever the reason: its transaction is rolled back. What a
/// failing COMMIT means, the connection decides.
fn kind(error: &DbError) -> Kind {
    let text = || error.message().to_owned();
    match error.code().code() {
        // The last two are of one who was faster between a look and a write; the next look sees it.
        "40001" | "40P01" | "23505" | "22012" => Kind::Conflict,
        "53100" => Kind::Full,
        "25006" | "42501" => Kind::ReadOnly,
        // Too many connections or locks, a lock or a statement that took too long, a server that is
        // starting or ending.
        "53200" | "53300" | "53400" | "55P03" | "57014" | "57P01" | "57P02" | "57P03" | "57P05" => {
            Kind::Unavailable
        }
        "28000" | "28P01" | "3D000" => Kind::Invalid(format!("the server refuses: {}", text())),
        "3F000" | "42P01" | "42703" => Kind::Corrupt(format!("a table is missing: {}", text())),
        code if code.starts_with("08") => Kind::Unavailable,
        code if code.starts_with("XX") => Kind::Corrupt(text()),
        _ => Kind::Other,
    }
}
