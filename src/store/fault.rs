//! Errors inside a backend, before it is known during which operation of the contract they happened.

use std::error::Error as StdError;
use std::fmt::Display;
use std::sync::Arc;

use super::{Error, Kind};
use crate::codec::CodecError;
use crate::id::ResourceId;
use crate::register::{RegisterError, RegisterErrorKind};

/// A backend, and what its own code has to know of an error beside the kind.
pub(crate) trait Backend: Default {
    /// What errors call it.
    const NAME: &'static str;

    /// Says what an error means to those who ask the store as a register. Defaults to what it means where nothing
    /// is out of reach but what somebody else has locked.
    fn register_kind(fault: &Fault<Self>) -> RegisterErrorKind {
        match &fault.kind {
            Kind::Unavailable => RegisterErrorKind::Locked,
            Kind::Foreign(_) | Kind::Corrupt(_) | Kind::NewerVersion { .. } => {
                RegisterErrorKind::Unusable
            }
            _ => RegisterErrorKind::Failed,
        }
    }
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

    /// Of a store and its copy only one may answer for the decisions that were made in it.
    #[cfg(any(feature = "sqlite", feature = "file", feature = "postgres"))]
    pub(super) fn copied(made_in: impl Display) -> Self {
        Kind::Foreign(format!(
            "a copy, or moved, of the store that was made in {made_in}: if it has taken its place, run \
             `votive migrate --adopt`"
        ))
        .into()
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

    /// Whether something that is kept cannot be read, so that to try again does not help.
    #[cfg(any(feature = "sqlite", feature = "file", feature = "postgres"))]
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self.kind, Kind::Corrupt(_) | Kind::NewerVersion { .. })
    }

    /// Whether what is kept is damaged, so that no later version reads it either.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_damaged(&self) -> bool {
        matches!(self.kind, Kind::Corrupt(_))
    }

    /// Names the operation.
    pub(crate) fn during(self, operation: &'static str) -> Error {
        let error = Error::new(self.kind, B::NAME, operation);
        match self.source {
            Some(source) => error.with_source(Shared(source)),
            None => error,
        }
    }

    /// What it means to those who ask a register.
    pub(crate) fn register_kind(&self) -> RegisterErrorKind {
        B::register_kind(self)
    }

    /// Names the operation of the store as the register `resource`.
    pub(super) fn in_register(
        self,
        resource: ResourceId,
        operation: &'static str,
    ) -> RegisterError {
        RegisterError::new(self.register_kind(), resource, operation)
            .with_source(self.during(operation))
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
        let kind = match &error {
            CodecError::NewerVersion { found, known } => Kind::NewerVersion {
                found: (*found).into(),
                known: (*known).into(),
            },
            _ => Kind::Corrupt("a stored value cannot be read".to_owned()),
        };
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
