//! What can go wrong with a server, and what a test does about it.

use std::io::{self, Write as _};

/// What went wrong with a private server or a proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is not on this machine.
    #[error("`{program}` is not installed")]
    Missing {
        /// What it is called.
        program: String,
        /// Whether tests pass without it even where servers are required.
        is_optional: bool,
    },
    /// The program ended, or did not answer in time.
    #[error("`{program}` did not start; it said:\n{log}")]
    Failed {
        /// What it is called.
        program: String,
        /// What it wrote.
        log: String,
    },
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// The server refused a statement.
    #[error("the server refused a statement")]
    Refused(#[from] postgres::Error),
}

/// The result of what a testbed does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error of what the system answered to `what`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Returns what was started, or nothing where its program is not installed: the test is then skipped.
///
/// # Panics
/// If the program is required and not installed, or the server failed.
#[must_use]
pub fn or_skip<T>(started: Result<T>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(Error::Missing {
            program,
            is_optional: true,
        }) => {
            say(&format!("`{program}` is not installed"));
            None
        }
        Err(error @ Error::Missing { .. }) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// Says that a test is skipped, and why.
///
/// # Panics
/// If servers are required: the environment has `VOTIVE_REQUIRE_SERVERS=1`.
pub fn skip(why: &str) {
    let is_required = std::env::var("VOTIVE_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(!is_required, "{why}, and servers are required");
    say(why);
}

/// Past the test harness, which hides what a test that passes prints.
fn say(why: &str) {
    // Nobody can be told that standard error is closed.
    drop(writeln!(io::stderr(), "skipped: {why}"));
}
