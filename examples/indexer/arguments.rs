//! The command line of the example.

use std::path::PathBuf;

use votive::txn::BoxError;

use crate::application::Layout;

/// How to use the example.
pub(crate) const USAGE: &str = "\
usage: cargo run --example indexer [-- [PATH] [--two-files] [--kill [N]] [--search WORDS]]

  PATH            what to index; by default this repository's own files
  --two-files     keep the queue in a database of its own: the prepared tier
  --kill [N]      run as a child process that is killed N times (by default 25), then finish
  --search WORDS  only search what an earlier run has indexed";

/// What the command line says.
#[derive(Clone)]
pub(crate) struct Arguments {
    /// What to index.
    pub path: PathBuf,
    /// Where the databases are.
    pub layout: Layout,
    /// How often to be killed.
    pub kill: Option<u32>,
    /// What to search for instead.
    pub search: Option<String>,
    /// Go on with what is there instead of starting afresh, and say nothing.
    pub child: bool,
}

impl Arguments {
    /// Reads the command line.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut parsed = Self {
            path: env!("CARGO_MANIFEST_DIR").into(),
            layout: Layout::OneFile,
            kill: None,
            search: None,
            child: false,
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--two-files" => parsed.layout = Layout::TwoFiles,
                "--child" => parsed.child = true,
                "--kill" => {
                    let count = arguments.peek().and_then(|count| count.parse().ok());
                    parsed.kill = Some(count.unwrap_or(25));
                    arguments.next_if(|_| count.is_some());
                }
                "--search" => parsed.search = Some(arguments.next().ok_or(USAGE)?),
                flag if flag.starts_with('-') => return Err(USAGE.into()),
                path => parsed.path = path.into(),
            }
        }
        Ok(parsed)
    }

    /// Returns the arguments of a child that goes on with the same job.
    pub(crate) fn of_child(&self) -> Vec<String> {
        let mut arguments = vec![self.path.display().to_string(), "--child".to_owned()];
        if self.layout == Layout::TwoFiles {
            arguments.push("--two-files".to_owned());
        }
        arguments
    }
}
