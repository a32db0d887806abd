//! How the program ends. The exit codes are a promise to scripts: `docs/cli.md` lists them.

use std::error::Error;
use std::process::ExitCode;

use votive::OpenError;
use votive::queue::{EnqueueError, OperatorError};
use votive::store::url::UrlError;
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
    context: Option<String>,
    error: BoxError,
}

impl Failure {
    /// Creates a failure that has no cause but what it says.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            context: None,
            error: message.into().into(),
        }
    }

    /// Creates a failure of an error, from which the exit code follows.
    pub(crate) fn of(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let exit = causes(error.as_ref()).find_map(exit_of);
        Self {
            exit: exit.unwrap_or(Exit::Failed),
            context: None,
            error,
        }
    }

    /// Says what an error means for what was asked.
    pub(crate) fn because(context: impl Into<String>, error: impl Into<BoxError>) -> Self {
        Self {
            context: Some(context.into()),
            ..Self::of(error)
        }
    }

    /// Says what an error means for what was asked, if nothing does yet.
    pub(crate) fn during(self, context: impl Into<String>) -> Self {
        Self {
            context: self.context.or_else(|| Some(context.into())),
            ..self
        }
    }

    /// Replaces the exit code.
    pub(crate) fn exiting(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Returns what people read: the message, then each cause on a line of its own.
    pub(crate) fn to_text(&self) -> String {
        format!("votive: {}", self.chain().join("\n  because: "))
    }

    /// Returns what programs read, as one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let (exit, chain) = (self.exit as u8, self.chain());
        serde_json::json!({ "error": { "exit": exit, "chain": chain } }).to_string()
    }

    /// Returns the messages, outermost first.
    fn chain(&self) -> Vec<String> {
        let causes = causes(self.error.as_ref()).map(ToString::to_string);
        self.context.iter().cloned().chain(causes).collect()
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::of(error)
    }
}

type Cause<'a> = &'a (dyn Error + 'static);

/// Walks from an error to the last of its causes.
fn causes(first: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(first), |error| (*error).source())
}

/// Returns the exit code that an error asks for, if it is one that has a say.
fn exit_of(error: Cause<'_>) -> Option<Exit> {
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return Some(exit_of_kind(&error.kind));
    }
    if let Some(error) = error.downcast_ref::<OperatorError>() {
        return exit_of_operator(error);
    }
    let is_undecided = matches!(error.downcast_ref(), Some(CommitError::Undecided { .. }));
    let is_wrong = matches!(
        error.downcast_ref(),
        Some(EnqueueError::Payload(_) | EnqueueError::Invalid(_))
    );
    if is_undecided {
        Some(Exit::Unhealthy)
    } else if is_wrong || is_wrong_url(error) {
        Some(Exit::Usage)
    } else {
        None
    }
}

fn is_wrong_url(error: Cause<'_>) -> bool {
    let open = matches!(error.downcast_ref(), Some(OpenError::UnknownScheme { .. }));
    open || error.is::<UrlError>()
}

fn exit_of_kind(kind: &Kind) -> Exit {
    match kind {
        Kind::NoStore(_)
        | Kind::StateChanged {
            found: "missing", ..
        } => Exit::NotFound,
        Kind::StateChanged { .. }
        | Kind::Pinned(_)
        | Kind::NotUnique { .. }
        | Kind::QueueFull { .. } => Exit::Refused,
        Kind::Unknown | Kind::Corrupt(_) => Exit::Unhealthy,
        Kind::Invalid(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn exit_of_operator(error: &OperatorError) -> Option<Exit> {
    match error {
        OperatorError::NotInDoubt(_) => Some(Exit::NotFound),
        OperatorError::NoReason => Some(Exit::Usage),
        OperatorError::Unreachable { .. } | OperatorError::StillInDoubt(_) => Some(Exit::Unhealthy),
        OperatorError::Contradicted { .. } => Some(Exit::Refused),
        _ => None,
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
