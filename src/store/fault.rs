//! Errors inside a backend, before it is known during which operation of the contract they happened.

use std::error::Error as StdError;
use std::fmt::Display;
use std::sync::Arc;

use super::{Error, Kind};
use crate::codec::CodecError;

/// A backend, and what its own code has to know of an error beside the kind.
pub(crate) trait Backend: Default {
    /// What errors call it.
    const NAME: &'static str;
}

/// What went wrong in a backend. Cheap to clone, because one failing write is the failure of all who share it.
#[derive(Debug, Clone)]
pub(crate) struct Fault<B> {
    pub(crate) kind: Kind,
    /// What only the backend's own code asks for.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "the others have nothing to say")
    )]
    pub(super) backend: B,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// An error that is the source of several others.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn StdError + Send + Sync>);

impl<B: Backend> Fault<B> {
    /// Says what a driver's or the system's error is taken for.
    pub(super) fn new(kind: Kind, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..kind.into()
        }
    }

    /// Says what is damaged.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Kind::Corrupt(what.into()).into()
    }

    /// The same failure, taken for another kind.
    pub(crate) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Adds which task it is that cannot be read.
    pub(super) fn of_task(self, task: impl Display) -> Self {
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
        let error = Error::new(self.kind, B::NAME, operation);
        match self.source {
            Some(source) => error.with_source(Shared(source)),
            None => error,
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl<B> Fault<B> {
    /// Whether it was judged here and not by the database.
    pub(super) fn is_verdict(&self) -> bool {
        self.source.is_none()
    }

    /// Returns the driver's own error, if it is one.
    pub(super) fn driver<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.as_deref()?.downcast_ref()
    }
}

impl<B: Backend> From<Kind> for Fault<B> {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            backend: B::default(),
            source: None,
        }
    }
}

impl<B: Backend> From<CodecError> for Fault<B> {
    fn from(error: CodecError) -> Self {
        let kind = Kind::Corrupt("a stored value cannot be read".to_owned());
        Self::new(kind, error)
    }
}

#[cfg(any(feature = "sqlite", feature = "file"))]
impl<B: Backend> From<std::io::Error> for Fault<B> {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::ReadOnly,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Kind::Full,
            Io::NotFound => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self::new(kind, error)
    }
}
