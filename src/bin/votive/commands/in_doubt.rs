//! `votive in-doubt`: transactions that are staged and undecided, and what a person can do about them.

use std::fmt;

use serde::Serialize;
use votive::id::{ResourceId, TxnId};
use votive::queue::{self, Heuristic, Settled, Wish};
use votive::register::Decision;
use votive::store::InDoubt;
use votive::time::Timestamp;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::table::{Table, relative};
use crate::target::Target;
use crate::view::Text;

#[derive(Debug, Serialize)]
struct Listing {
    in_doubt: Vec<StagedView>,
    heuristics: Vec<HeuristicView>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Debug, Serialize)]
struct StagedView {
    txn: Text<TxnId>,
    register: Text<ResourceId>,
    staged_at: Text<Timestamp>,
    age_seconds: f64,
    changes: usize,
    size: usize,
}

#[derive(Debug, Serialize)]
struct HeuristicView {
    txn: Text<TxnId>,
    register: Text<ResourceId>,
    decision: &'static str,
    reason: String,
    at: Text<Timestamp>,
}

/// A transaction that was settled.
#[derive(Debug, Serialize)]
struct Outcome {
    txn: Text<TxnId>,
    decision: &'static str,
    by: &'static str,
}

/// A heuristic outcome that was forgotten.
#[derive(Debug, Serialize)]
struct Forgotten {
    forgotten: Text<TxnId>,
}

/// Does what was typed after `in-doubt`.
pub(super) fn run(target: &Target, typed: &args::InDoubt, json: bool) -> Result<Exit, Failure> {
    match typed {
        args::InDoubt::List => list(target, json),
        args::InDoubt::Commit(settle) => decide(target, settle, Decision::Committed, json),
        args::InDoubt::Abort(settle) => decide(target, settle, Decision::Aborted, json),
        args::InDoubt::Forget { txn } => forget(target, *txn, json),
    }
}

fn list(target: &Target, json: bool) -> Result<Exit, Failure> {
    let store = &*target.store;
    let now = store.now()?;
    let staged = queue::in_doubt(store)?;
    let heuristics = queue::heuristics(store)?;
    let listing = Listing {
        in_doubt: staged
            .iter()
            .map(|staged| StagedView::new(staged, now))
            .collect(),
        heuristics: heuristics.into_iter().map(HeuristicView::from).collect(),
        now,
    };
    output::print(&listing, json)?;
    Ok(Exit::Ok)
}

fn decide(
    target: &Target,
    typed: &args::Settle,
    decision: Decision,
    json: bool,
) -> Result<Exit, Failure> {
    let (txn, name) = (typed.txn, decision_name(decision));
    let question = if typed.force {
        format!("if its register cannot be asked, take {txn} for {name}?")
    } else {
        format!("settle {txn} as {name}?")
    };
    output::confirm(&question, typed.yes)?;
    target.know(&typed.applications)?;
    let wish = Wish {
        decision,
        reason: &typed.reason,
        force: typed.force,
    };
    let settled = queue::settle(&target.store, &target.manager, txn, wish).map_err(Failure::of)?;
    let outcome = Outcome {
        txn: Text(txn),
        decision: name,
        by: settled_name(settled),
    };
    output::print(&outcome, json)?;
    Ok(Exit::Ok)
}

fn forget(target: &Target, txn: TxnId, json: bool) -> Result<Exit, Failure> {
    if queue::forget_heuristic(&target.store, &target.manager, txn)? {
        output::print(
            &Forgotten {
                forgotten: Text(txn),
            },
            json,
        )?;
        return Ok(Exit::Ok);
    }
    let message = format!("transaction {txn} was not settled by force, or is forgotten");
    Err(Failure::new(Exit::NotFound, message))
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Committed => "committed",
        Decision::Aborted => "aborted",
    }
}

fn settled_name(settled: Settled) -> &'static str {
    match settled {
        Settled::ByRegister => "register",
        Settled::ByForce => "force",
    }
}

impl StagedView {
    fn new(staged: &InDoubt, now: Timestamp) -> Self {
        Self {
            txn: Text(staged.txn),
            register: Text(staged.register),
            staged_at: Text(staged.staged_at),
            age_seconds: now.since(staged.staged_at).as_secs_f64(),
            changes: staged.change_count,
            size: staged.size,
        }
    }
}

impl From<Heuristic> for HeuristicView {
    fn from(heuristic: Heuristic) -> Self {
        Self {
            txn: Text(heuristic.txn),
            register: Text(heuristic.register),
            decision: decision_name(heuristic.decision),
            reason: heuristic.reason,
            at: Text(heuristic.at),
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_doubt.is_empty() {
            writeln!(f, "nothing is in doubt")?;
        } else {
            self.staged().fmt(f)?;
        }
        if !self.heuristics.is_empty() {
            writeln!(f, "\nsettled by force:")?;
            self.forced().fmt(f)?;
        }
        Ok(())
    }
}

impl Listing {
    fn staged(&self) -> Table {
        let mut table = Table::new(["transaction", "register", "staged", "changes", "bytes"]);
        for staged in &self.in_doubt {
            table.row([
                staged.txn.to_string(),
                staged.register.to_string(),
                relative(staged.staged_at.0, self.now),
                staged.changes.to_string(),
                staged.size.to_string(),
            ]);
        }
        table
    }

    fn forced(&self) -> Table {
        let mut table = Table::new(["transaction", "register", "as", "when", "reason"]);
        for heuristic in &self.heuristics {
            table.row([
                heuristic.txn.to_string(),
                heuristic.register.to_string(),
                heuristic.decision.to_owned(),
                relative(heuristic.at.0, self.now),
                heuristic.reason.clone(),
            ]);
        }
        table
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is {}, by {}", self.txn, self.decision, self.by)
    }
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is forgotten", self.forgotten)
    }
}
