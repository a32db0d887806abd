//! The `consume` command of an application: settings from switches, variables and a file, signals, the
//! log file, and the service manager. Nothing is parted from the place where it was said, so that what
//! cannot be followed is refused with the switch, the variable, or the file and line.
//!
//! An application becomes a consumer by one line, [`votive::main!`](crate::main). One that has a command
//! line of its own flattens [`Args`] into it and calls [`Args::run`]; one that does other things beside
//! calls [`Consumer::from_env`], or goes step by step from [`Settings`] to [`Opened`] to [`Consumers`].

mod args;
mod error;
mod exit;
mod file;
mod key;
mod log;
mod opened;
mod said;
mod serve;
mod settings;
mod signals;
mod variables;

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser;

pub use args::Args;
pub use error::SettingsError;
pub use exit::Exit;
pub use opened::{Consumers, Opened};
pub use settings::Settings;

use crate::consumer::{Builder, Consumer};
use crate::handler::Registry;
use crate::txn::BoxError;

impl Consumer {
    /// Starts the consumers that the variables of this process ask for, and the file that one of them
    /// names; none if they say that this process is no consumer.
    ///
    /// For an application that does other things beside: it neither listens to signals nor logs.
    ///
    /// # Errors
    /// The settings cannot be followed, or a consumer did not start; nothing runs.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use votive::{Consumer, Registry};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # std::env::set_current_dir(folder.path())?;
    /// let consumers = Consumer::from_env(Registry::new())?;
    /// assert_eq!(consumers.running().len(), 1);
    /// assert!(consumers.stop().iter().all(|stopped| stopped.is_clean()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env(registry: impl Into<Arc<Registry>>) -> Result<Consumers, SettingsError> {
        let settings = Settings::from_env()?;
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        settings.open()?.start(registry, |builder| builder)
    }
}

impl Args {
    /// Consumes until a signal says to stop, and returns how that ended. What went wrong is told on
    /// standard error.
    ///
    /// # Blocking
    /// Until SIGTERM or SIGINT, and then as long as the stop takes.
    #[must_use]
    pub fn run(&self, registry: impl Into<Arc<Registry>>) -> Exit {
        self.run_with(registry, |builder| builder)
    }

    /// As [`run`](Self::run), with what settings cannot say of each consumer, such as hooks.
    #[must_use]
    pub fn run_with(
        &self,
        registry: impl Into<Arc<Registry>>,
        adjust: impl Fn(Builder) -> Builder,
    ) -> Exit {
        let settings = Settings::from_args(self);
        end(settings.and_then(|settings| serve::serve(&settings, registry.into(), adjust)))
    }
}

fn end(ended: Result<Exit, SettingsError>) -> Exit {
    ended.unwrap_or_else(|error| {
        serve::say(&serve::explain(&error));
        Exit::of_error(&error)
    })
}

/// Runs what was typed.
#[derive(Debug, Parser)]
#[command(about = "An application whose tasks are run by votive", long_about = None)]
enum Line {
    /// Claim tasks and run them, until a signal says to stop
    #[command(after_help = exit::HELP)]
    Consume(Args),
}

/// Runs the command line of an application that has no other command than `consume`.
///
/// `arguments` begin with the name of the program. Called by [`votive::main!`](crate::main).
#[must_use]
pub fn main<I, E>(arguments: I, registry: impl FnOnce() -> Result<Registry, E>) -> Exit
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
    E: Into<BoxError>,
{
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            // Help that nobody reads to its end is no failure.
            return match error.print() {
                Ok(()) | Err(_) => exit,
            };
        }
    };
    let Line::Consume(args) = line;
    match registry() {
        Ok(registry) => args.run(registry),
        Err(error) => end(Err(SettingsError::Registry(error.into()))),
    }
}

/// Makes the `main` of an application that consumes.
///
/// It takes what makes the registry: a function or closure that returns `Result<Registry, E>`; without
/// one, every task runs that is declared by `#[votive::task]`. The program then has the command `consume`,
/// whose settings `docs/running.md` lists.
///
/// With a second function, that is run unless the first argument is `consume`, so the command is added to
/// an application that has a `main` already.
///
/// ```no_run
/// use votive::Registry;
/// use votive::handler::DuplicateKind;
///
/// fn registry() -> Result<Registry, DuplicateKind> {
///     Ok(Registry::new())
/// }
///
/// votive::main!(registry);
/// ```
#[macro_export]
macro_rules! main {
    () => {
        $crate::main!($crate::handler::Registry::discovered);
    };
    ($registry:expr $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::consume::main(::std::env::args_os(), $registry).into()
        }
    };
    ($registry:expr, $application:expr $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            if ::std::env::args_os()
                .nth(1)
                .is_some_and(|first| first == "consume")
            {
                $crate::consume::main(::std::env::args_os(), $registry).into()
            } else {
                ::std::process::Termination::report($application())
            }
        }
    };
}
