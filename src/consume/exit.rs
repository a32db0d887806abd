//! How the `consume` command ends. The codes are a promise to those who run it: `docs/running.md` lists
//! them.

use std::io::ErrorKind;
use std::process::ExitCode;

use super::error::SettingsError;
use crate::consumer::Stopped;
use crate::open::OpenError;

/// What `--help` says of the exit codes.
pub(super) const HELP: &str = "\
Settings come from these switches, then from variables (VOTIVE_THREADS for --threads), then from the
file that --config or VOTIVE_CONFIG names, then from HUEY_TASKQUEUE_URL, HUEY_WORKERS, HUEY_LOG_LEVEL
and HUEY_CONSUMER.

SIGTERM and SIGINT stop within --stop-timeout, a second one stops at once. SIGHUP opens the log file
anew.

Exit codes:
  0  stopped when asked to, with nothing left behind; or the settings say not to consume
  1  could not start, or could not go on
  2  wrong usage: a switch, a variable or a line of the file that cannot be followed
  3  not found: the file with the settings
  4  stopped when asked to, but left tasks behind, which others reclaim";

/// How the `consume` command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// Stopped when asked to, with nothing left behind; or help was asked for.
    Ok = 0,
    /// Could not start, or could not go on.
    Failed = 1,
    /// Settings cannot be followed.
    Usage = 2,
    /// The file with the settings is not there.
    NotFound = 3,
    /// Stopped when asked to, but tasks were left behind, which others reclaim.
    Unsettled = 4,
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn of_error(error: &SettingsError) -> Self {
        match error {
            SettingsError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::NotFound
            }
            SettingsError::Store { source, .. } => match **source {
                OpenError::Url { .. } | OpenError::UnknownScheme { .. } => Self::Usage,
                _ => Self::Failed,
            },
            SettingsError::Unreadable { .. }
            | SettingsError::Log { .. }
            | SettingsError::Start { .. }
            | SettingsError::Registry(_)
            | SettingsError::Signals(_) => Self::Failed,
            _ => Self::Usage,
        }
    }

    pub(super) fn of_stop(stopped: &[Stopped]) -> Self {
        if stopped.iter().all(Stopped::is_clean) {
            Self::Ok
        } else {
            Self::Unsettled
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
