//! `votive recover`: what crashes left in doubt is asked for, and published or discarded.

use std::fmt;

use serde::Serialize;
use votive::queue;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Report {
    published: usize,
    discarded: usize,
    in_doubt: usize,
    databases: Databases,
}

/// What became of transactions that application databases had prepared.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Databases {
    committed: usize,
    rolled_back: usize,
    in_doubt: usize,
}

/// Recovers once.
pub(super) fn run(target: &Target, typed: &args::Recover, json: bool) -> Result<Exit, Failure> {
    target.know(&typed.applications)?;
    let recovered = queue::recover_older_than(&target.store, &target.manager, typed.grace)?;
    let report = Report {
        published: recovered.published,
        discarded: recovered.discarded,
        in_doubt: recovered.in_doubt,
        databases: Databases {
            committed: recovered.databases.committed,
            rolled_back: recovered.databases.rolled_back,
            in_doubt: recovered.databases.in_doubt,
        },
    };
    output::print(&report, json)?;
    Ok(if report.in_doubt + report.databases.in_doubt == 0 {
        Exit::Ok
    } else {
        Exit::Unhealthy
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            discarded,
            in_doubt,
            databases,
        } = self;
        writeln!(
            f,
            "{published} published, {discarded} discarded, {in_doubt} still in doubt"
        )?;
        if *databases == Databases::default() {
            return Ok(());
        }
        writeln!(
            f,
            "in databases: {} committed, {} rolled back, {} still in doubt",
            databases.committed, databases.rolled_back, databases.in_doubt
        )
    }
}
