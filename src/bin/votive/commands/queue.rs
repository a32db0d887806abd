//! `votive queue`: what holds for a whole queue, in all processes.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use votive::Queue;
use votive::queue::{Settings, Status};
use votive::time::Timestamp;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::status;
use crate::table::{Table, relative};
use crate::target::Target;
use crate::view::Text;

#[derive(Debug, Serialize)]
struct Listing {
    queues: Vec<QueueView>,
    #[serde(skip)]
    now: Timestamp,
}

/// A queue, and what was said of it.
#[derive(Debug, Serialize)]
struct QueueView {
    queue: String,
    status: Status,
    paused_since: Option<Text<Timestamp>>,
    paused_because: Option<String>,
}

impl QueueView {
    fn new(queue: String, settings: &Settings) -> Self {
        let paused = settings.paused.as_ref();
        Self {
            queue,
            status: settings.status(),
            paused_since: paused.map(|pause| Text(pause.since)),
            paused_because: paused.map(|pause| pause.reason.clone()),
        }
    }
}

/// Does what was typed after `queue`.
pub(super) fn run(target: &Target, typed: &args::Queue, json: bool) -> Result<Exit, Failure> {
    match typed {
        args::Queue::List => list(target, json),
        args::Queue::Pause { queue, reason } => {
            let queue = named(target, queue)?;
            show(target, &queue, &queue.pause(&target.manager, reason)?, json)
        }
        args::Queue::Resume { queue } => {
            let queue = named(target, queue)?;
            show(target, &queue, &queue.resume(&target.manager)?, json)
        }
    }
}

fn named(target: &Target, name: &str) -> Result<Queue, Failure> {
    let queue = Queue::new(Arc::clone(&target.store), name);
    queue.map_err(|error| Failure::of(error).exiting(Exit::Usage))
}

fn list(target: &Target, json: bool) -> Result<Exit, Failure> {
    let all = status::of_all_queues(&*target.store)?;
    let queues = all.iter();
    print(
        target,
        queues.map(|queue| QueueView::new(queue.counts.queue.clone(), &queue.settings)),
        json,
    )
}

fn show(target: &Target, queue: &Queue, settings: &Settings, json: bool) -> Result<Exit, Failure> {
    let view = QueueView::new(queue.name().to_owned(), settings);
    print(target, [view].into_iter(), json)
}

fn print(
    target: &Target,
    queues: impl Iterator<Item = QueueView>,
    json: bool,
) -> Result<Exit, Failure> {
    let listing = Listing {
        queues: queues.collect(),
        now: target.store.now()?,
    };
    output::print(&listing, json)?;
    Ok(Exit::Ok)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.queues.is_empty() {
            return writeln!(f, "no queues");
        }
        let mut table = Table::new(["queue", "status", "paused", "because"]);
        for queue in &self.queues {
            let since = queue.paused_since.map(|at| relative(at.0, self.now));
            table.row([
                queue.queue.clone(),
                queue.status.to_string(),
                since.unwrap_or_default(),
                queue.paused_because.clone().unwrap_or_default(),
            ]);
        }
        table.fmt(f)
    }
}
