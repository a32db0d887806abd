//! `votive list`: tasks in the order of their enqueueing, a page at a time.

use std::fmt;

use serde::Serialize;
use votive::store::{Cursor, Listed, Page};
use votive::task::{Record, State};
use votive::time::Timestamp;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::selection;
use crate::table::{Table, plain, relative};
use crate::target::Target;
use crate::view::TaskView;

#[derive(Debug, Serialize)]
struct Report<'a> {
    tasks: Vec<TaskView<'a>>,
    next: Option<&'a str>,
    #[serde(skip)]
    page: &'a Page,
    #[serde(skip)]
    now: Timestamp,
}

/// Lists a page of tasks.
pub(super) fn run(target: &Target, typed: &args::List, json: bool) -> Result<Exit, Failure> {
    let now = target.store.now()?;
    let filter = selection::filter(&typed.filter, now);
    let cursor = typed.cursor.clone().map(Cursor);
    let limit = usize::try_from(typed.limit).unwrap_or(usize::MAX);
    let mut page = target.store.scan(&filter, cursor.as_ref(), limit)?;
    page.tasks
        .retain(|listed| selection::is_old_enough(listed, &filter));
    let report = Report {
        tasks: page.tasks.iter().map(TaskView::brief).collect(),
        next: page.next.as_ref().map(|next| next.0.as_str()),
        page: &page,
        now,
    };
    output::print(&report, json)?;
    Ok(Exit::Ok)
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tasks.is_empty() {
            writeln!(f, "no tasks")?;
        } else {
            self.table().fmt(f)?;
        }
        match self.next {
            Some(next) => writeln!(f, "more: --cursor {}", plain(next)),
            None => Ok(()),
        }
    }
}

impl Report<'_> {
    fn table(&self) -> Table {
        let headings = [
            "id", "queue", "kind", "state", "enqueued", "attempts", "what",
        ];
        let mut table = Table::new(headings);
        for listed in &self.page.tasks {
            let record = &listed.record;
            table.row([
                record.id.to_string(),
                record.queue.to_string(),
                record.kind.to_string(),
                record.state.to_string(),
                relative(record.enqueued_at, self.now),
                record.counts.attempts.to_string(),
                remark(listed, self.now),
            ]);
        }
        table
    }
}

/// Says the one thing about a task that its state makes people ask for.
fn remark(listed: &Listed, now: Timestamp) -> String {
    let record = &listed.record;
    match record.state {
        State::Scheduled => record.not_before.map(|at| relative(at, now)),
        State::Claimed => listed
            .holder
            .as_ref()
            .map(|holder| format!("by {}", holder.name)),
        State::Dead => Some(death(record)),
        _ => None,
    }
    .unwrap_or_default()
}

fn death(record: &Record) -> String {
    let reason = record.dead.map(votive::task::DeadReason::name);
    let failure = record.failure().and_then(|failure| failure.chain.first());
    let words = reason.into_iter().chain(failure.map(String::as_str));
    words.collect::<Vec<_>>().join(": ")
}
