//! `votive copy`: tasks leave one store and come to another.

use std::fmt;

use serde::Serialize;
use votive::queue::{self, Copied, Left};

use crate::args;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::table::{count, plain};
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Report {
    tasks: usize,
    merged: usize,
    known: usize,
    marks: usize,
    claimed: u64,
    in_doubt: u64,
    in_flight: u64,
    left: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    what: String,
    why: String,
}

/// Copies what can be copied now.
pub(super) fn run(typed: &args::Copy, json: bool) -> Result<Exit, Failure> {
    let from = Target::open_at(&typed.from)?;
    let to = Target::open_or_create_at(&typed.to)?;
    for target in [&from, &to] {
        if !target.store.capabilities().shared {
            let message = "a store in memory ends with this program: nothing was copied";
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    from.know(&typed.applications)?;
    let queue = typed.queue.as_deref();
    let copied = queue::copy(&from.store, &to.store, &from.manager, queue).map_err(Failure::of)?;
    let exit = if copied.is_complete() {
        Exit::Ok
    } else {
        Exit::Unhealthy
    };
    output::print(&Report::from(copied), json)?;
    Ok(exit)
}

impl From<Copied> for Report {
    fn from(copied: Copied) -> Self {
        let left = copied.left.into_iter();
        Self {
            tasks: copied.tasks,
            merged: copied.merged,
            known: copied.known,
            marks: copied.marks,
            claimed: copied.claimed,
            in_doubt: copied.in_doubt,
            in_flight: copied.in_flight,
            left: left
                .map(|Left { what, why, .. }| Refusal { what, why })
                .collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, marks) = (count(self.tasks, "task"), count(self.marks, "mark"));
        writeln!(f, "{tasks} and {marks} copied")?;
        if self.merged > 0 {
            writeln!(f, "{} of them merged into tasks there", self.merged)?;
        }
        if self.known > 0 {
            writeln!(f, "{} were there already", self.known)?;
        }
        for Refusal { what, why } in &self.left {
            writeln!(f, "{} stays: {}", plain(what), plain(why))?;
        }
        if self.claimed > 0 {
            writeln!(
                f,
                "{} still claimed: run this again when they have ended",
                self.claimed
            )?;
        }
        if self.in_flight > 0 {
            let text = "of an earlier copy in doubt: run this again";
            writeln!(f, "{} {text}", self.in_flight)?;
        }
        if self.in_doubt > 0 {
            writeln!(
                f,
                "{} in doubt: `votive recover`, then run this again",
                self.in_doubt
            )?;
        }
        Ok(())
    }
}
