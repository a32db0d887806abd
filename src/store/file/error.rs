//! What the operating system's errors mean for a store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::CodecError;
use crate::id::TaskId;
use crate::store::{Error, Kind};

/// An error before it is known during which operation of the contract it happened. Cheap to clone,
/// because one failing write is the failure of all who share it.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Result inside the backend.
pub(super) type Result<T> = std::result::Result<T, Fault>;

/// An error of which each member of a group has a share.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl Fault {
    /// The same failure, of which it is not known whether it prevented anything.
    pub(super) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Says what is damaged, and where.
    pub(super) fn corrupt(file: &Path, offset: u64, what: &str) -> Self {
        Kind::Corrupt(format!("{} at offset {offset}: {what}", file.display())).into()
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
    pub(super) fn during(self, operation: &'static str) -> Error {
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

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Io;
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

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self {
            kind: Kind::Corrupt("a stored value cannot be read".to_owned()),
            source: Some(Arc::new(error)),
        }
    }
}
