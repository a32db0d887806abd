//! How the program ends. The exit codes are a promise to scripts: `docs/cli.md` lists them.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use votive::store::{self, Kind};
use votive::txn::{BoxError, CommitError};

/// What `--help` says of the exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; the message says what state the store is in
  2  wrong usage: an argument, a URL or JSON that cannot be understood
  3  not found: the store, the task or the transaction
  4  something is in doubt or damaged
  5  refused: a task is in a state that does not allow it, or was skipped";

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The store, the task or the transaction is not there.
    NotFound = 3,
    /// Something is in doubt or damaged.
    Unhealthy = 4,
    /// A task is in a state that does not allow it.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    message: String,
    source: Option<BoxError>,
}

impl Failure {
    /// Creates a failure without a cause.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            source: None,
        }
    }

    /// Creates a failure whose exit code follows from its cause.
    pub(crate) fn because(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        let source = source.into();
        Self {
            exit: classify(source.as_ref()),
            message: message.into(),
            source: Some(source),
        }
    }

    /// Replaces the exit code.
    pub(crate) fn exiting(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Returns the messages, outermost first.
    fn chain(&self) -> impl Iterator<Item = String> {
        let source = self.source.as_deref().map(|source| source as &dyn Error);
        let causes = causes(source).map(ToString::to_string);
        std::iter::once(self.message.clone()).chain(causes)
    }

    /// Returns what people read: the message, then each cause on a line of its own.
    pub(crate) fn to_text(&self) -> String {
        let lines: Vec<String> = self.chain().collect();
        format!("votive: {}", lines.join("\n  because: "))
    }

    /// Returns what programs read, as one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Shape {
            exit: u8,
            chain: Vec<String>,
        }
        let shape = Shape {
            exit: self.exit as u8,
            chain: self.chain().collect(),
        };
        serde_json::json!({ "error": shape }).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::because("the store did not do it", error)
    }
}

/// Walks from an error to the last of its causes.
fn causes<'a>(
    first: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(first, |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// Finds the store's error among the causes.
fn store_kind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Kind> {
    causes(Some(error)).find_map(|cause| Some(&cause.downcast_ref::<store::Error>()?.kind))
}

fn classify(error: &(dyn Error + 'static)) -> Exit {
    let undecided = |cause: &(dyn Error + 'static)| {
        let commit = cause.downcast_ref::<CommitError>();
        matches!(commit, Some(CommitError::Undecided { .. }))
    };
    if causes(Some(error)).any(undecided) {
        return Exit::Unhealthy;
    }
    store_kind(error).map_or(Exit::Failed, exit_of)
}

fn exit_of(kind: &Kind) -> Exit {
    match kind {
        Kind::StateChanged {
            found: "missing", ..
        } => Exit::NotFound,
        Kind::StateChanged { .. } | Kind::Pinned(_) | Kind::NotUnique { .. } => Exit::Refused,
        Kind::Unknown | Kind::Corrupt(_) => Exit::Unhealthy,
        Kind::Invalid(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_prints_its_whole_chain() {
        let inner = store::Error::new(Kind::Full, "sqlite", "apply a batch");
        let failure = Failure::because("nothing was enqueued", inner);
        let text = failure.to_text();
        assert!(text.starts_with("votive: nothing was enqueued\n  because: the sqlite store"));
    }

    #[test]
    fn the_exit_code_follows_from_the_deepest_store_error() {
        let error = store::Error::new(Kind::Corrupt("page 3".into()), "sqlite", "scan");
        assert_eq!(Failure::because("x", error).exit, Exit::Unhealthy);
    }
}
