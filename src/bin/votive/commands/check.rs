//! `votive check`: everything in the store is looked at.

use std::fmt;

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::table::{count, plain};
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    faults: Vec<String>,
}

/// Checks the store.
pub(super) fn run(target: &Target, json: bool) -> Result<Exit, Failure> {
    let faults = target.store.check()?;
    let report = Report {
        healthy: faults.is_empty(),
        faults,
    };
    output::print(&report, json)?;
    Ok(if report.healthy {
        Exit::Ok
    } else {
        Exit::Unhealthy
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{}", plain(fault))?;
        }
        match self.faults.len() {
            0 => writeln!(f, "healthy"),
            faults => writeln!(f, "{}", count(faults, "fault")),
        }
    }
}
