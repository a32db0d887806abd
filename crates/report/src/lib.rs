//! What benches measured, and what is made of it: `docs/performance.md` and a plot for each work.
//!
//! A bench, or a script beside a peer, writes a [`Report`] as JSON. `cargo run -p votive-report` makes the
//! document from the reports that are committed in `docs/performance/`, and a test of this crate fails when the
//! committed document is not the one that they make.

mod case;
mod document;
mod figure;
mod plot;
mod work;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use case::{Case, Goal, Round, Sample};
pub use document::{Made, make};
pub use figure::{median, percentile};
pub use work::{Unit, Work};

/// Where reports and plots are kept, from the root of the repository.
pub const FOLDER: &str = "docs/performance";

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The day, as `2026-11-26`.
    pub day: String,
    /// Where it ran: processor, cores, kernel.
    pub machine: String,
    /// What counted flushes.
    pub flushes: String,
    /// What readers must know before they believe it, such as that the machine was busy.
    #[serde(default)]
    pub caveat: String,
    /// What was measured, in the order in which it is shown.
    pub cases: Vec<Case>,
}

/// Why nothing could be made of a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written; files before it are written.
    #[error("{0} could not be read or written")]
    File(PathBuf, #[source] std::io::Error),
    /// A file is no report.
    #[error("{0} is not a report")]
    Form(PathBuf, #[source] serde_json::Error),
    /// A plot could not be drawn; nothing was written.
    #[error("the plot of {work} cannot be drawn: {reason}")]
    Plot {
        /// Whose plot.
        work: Work,
        /// What the plotter says.
        reason: String,
    },
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a report.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|error| Error::File(path.into(), error))?;
        serde_json::from_slice(&text).map_err(|error| Error::Form(path.into(), error))
    }

    /// Writes the report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| Error::Form(path.into(), error))?;
        text.push(b'\n');
        std::fs::write(path, text).map_err(|error| Error::File(path.into(), error))
    }
}
