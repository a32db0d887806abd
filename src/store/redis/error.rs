//! What the driver's errors mean for a store.

use std::error::Error as StdError;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::register::RegisterErrorKind;
use crate::store::Kind;
use crate::store::fault::{self, Backend};

/// A Redis server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Server;

impl Backend for Server {
    const NAME: &'static str = super::BACKEND;

    fn register_kind(fault: &Fault) -> RegisterErrorKind {
        match &fault.kind {
            Kind::Unavailable | Kind::Unknown => RegisterErrorKind::Unreachable,
            Kind::Foreign(_)
            | Kind::Corrupt(_)
            | Kind::NewerVersion { .. }
            | Kind::NotDurable(_) => RegisterErrorKind::Unusable,
            _ => RegisterErrorKind::Failed,
        }
    }
}

pub(super) type Fault = fault::Fault<Server>;

/// Result inside the backend.
pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Adds what caused it.
    pub(super) fn because(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(self.kind, source)
    }

    /// What it means that no connection could be made: nothing was sent.
    pub(super) fn unreachable(error: RedisError) -> Self {
        let kind = refusal(&error).or_else(|| distrust(&error));
        let kind = kind.unwrap_or(Kind::Unavailable);
        Self::new(kind, error)
    }

    /// What it means that a request was not answered as it should be: one that the server refused did
    /// nothing; of one without an answer only the caller knows whether it could change anything.
    pub(super) fn unanswered(error: RedisError, lost: Kind) -> Self {
        let kind = refusal(&error).unwrap_or(lost);
        Self::new(kind, error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Kind::Other, error)
    }
}

/// Whether the connection must not be used again: an answer may still come, for somebody else.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// What the server's own word means; `None` if it said nothing.
fn refusal(error: &RedisError) -> Option<Kind> {
    use ServerErrorKind as Server;
    Some(match error.kind() {
        ErrorKind::Server(
            Server::BusyLoading
            | Server::TryAgain
            | Server::ClusterDown
            | Server::MasterDown
            | Server::Moved
            | Server::Ask,
        ) => Kind::Unavailable,
        ErrorKind::Server(Server::ReadOnly) => Kind::ReadOnly,
        ErrorKind::Extension => match error.code() {
            Some("OOM") => Kind::Full,
            Some("MISCONF") if is_full(error) => Kind::Full,
            Some("MISCONF") => Kind::ReadOnly,
            Some("BUSY" | "NOREPLICAS" | "UNBLOCKED") => Kind::Unavailable,
            _ => Kind::Other,
        },
        ErrorKind::AuthenticationFailed => Kind::Invalid(
            "the server lets nobody in with this user and password: check both".to_owned(),
        ),
        ErrorKind::Server(_) => Kind::Other,
        _ => return None,
    })
}

/// Why an encrypted connection must not be used, if that is so: waiting does not help then.
fn distrust(error: &RedisError) -> Option<Kind> {
    let is_distrusted = error.to_string().contains("invalid peer certificate");
    is_distrusted.then(|| {
        Kind::Invalid(
            "the server's certificate is not trusted: name the file of the authority that has signed it by \
             `tls_root`, and the server as its certificate names it"
                .to_owned(),
        )
    })
}

/// The server stops accepting writes for several reasons, and names the operating system's.
fn is_full(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    detail.contains("No space left") || detail.contains("quota exceeded")
}
