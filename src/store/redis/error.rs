//! What the driver's errors mean for a store.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::codec::CodecError;
use crate::store::{Error, Kind};

/// An error before it is known during which operation of the contract it happened.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result inside the backend.
pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Says what is damaged.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Kind::Corrupt(what.into()).into()
    }

    /// Adds what caused it.
    pub(super) fn because(
        self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
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

    fn new(kind: Kind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// Adds which task it is that cannot be read.
    pub(super) fn of_task(self, task: &str) -> Self {
        match self.kind {
            Kind::Corrupt(what) => Self {
                kind: Kind::Corrupt(format!("task {task}: {what}")),
                ..self
            },
            _ => self,
        }
    }

    /// Names the operation.
    pub(super) fn during(self, operation: &'static str) -> Error {
        let error = Error::new(self.kind, super::BACKEND, operation);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self::new(
            Kind::Corrupt("a stored value cannot be read".to_owned()),
            error,
        )
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
