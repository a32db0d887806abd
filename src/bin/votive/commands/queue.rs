//! `votive queue`: what holds for a whole queue, in all processes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use votive::Queue;
use votive::queue::{Rate, Settings, Status};
use votive::store::QueueStats;
use votive::time::Timestamp;

use crate::args::{self, Limits, Said, SetQueue};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::status::{self, QueueState};
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
    capacity: Option<u64>,
    rate: Option<RateView>,
    top_kinds: Vec<String>,
    kind_limits: BTreeMap<String, u32>,
    ageing_seconds: Option<f64>,
    #[serde(skip)]
    ageing: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct RateView {
    starts: u32,
    period_seconds: f64,
    burst: u32,
    #[serde(skip)]
    text: String,
}

impl From<Rate> for RateView {
    fn from(rate: Rate) -> Self {
        let even = format!(
            "{}/{}",
            rate.starts,
            humantime::format_duration(rate.period)
        );
        let text = match rate.burst {
            1 => even,
            burst => format!("{even}, {burst} at once"),
        };
        Self {
            starts: rate.starts,
            period_seconds: rate.period.as_secs_f64(),
            burst: rate.burst,
            text,
        }
    }
}

impl From<QueueState> for QueueView {
    fn from(state: QueueState) -> Self {
        let (status, settings) = (state.status(), state.settings);
        Self {
            queue: state.counts.queue,
            status,
            paused_since: settings.paused.as_ref().map(|pause| Text(pause.since)),
            paused_because: settings.paused.map(|pause| pause.reason),
            capacity: settings.capacity,
            rate: settings.rate.map(RateView::from),
            top_kinds: settings.top_kinds.into_iter().collect(),
            kind_limits: settings.kind_limits,
            ageing_seconds: settings.ageing.map(|ageing| ageing.as_secs_f64()),
            ageing: settings.ageing,
        }
    }
}

/// Does what was typed after `queue`.
pub(super) fn run(target: &Target, typed: &args::Queue, json: bool) -> Result<Exit, Failure> {
    match typed {
        args::Queue::List => list(target, json),
        args::Queue::Pause { queue, reason } => {
            let queue = named(target, queue)?;
            queue.pause(&target.manager, reason)?;
            show(target, &queue, json)
        }
        args::Queue::Resume { queue } => {
            let queue = named(target, queue)?;
            queue.resume(&target.manager)?;
            show(target, &queue, json)
        }
        args::Queue::Set(typed) => {
            let queue = named(target, &typed.queue)?;
            queue.change_settings(&target.manager, |settings| set(settings, typed))?;
            show(target, &queue, json)
        }
    }
}

fn named(target: &Target, name: &str) -> Result<Queue, Failure> {
    let queue = Queue::new(Arc::clone(&target.store), name);
    queue.map_err(|error| Failure::of(error).exiting(Exit::Usage))
}

fn set(settings: &mut Settings, typed: &SetQueue) {
    if let Some(Said(capacity)) = typed.capacity {
        settings.capacity = capacity;
    }
    if let Some(Said(rate)) = typed.rate {
        settings.rate = rate.map(|rate| rate.burst(typed.burst.unwrap_or(1)));
    }
    if let Some(kinds) = &typed.top {
        settings.top_kinds.clone_from(&kinds.0);
    }
    match &typed.limit {
        Some(Limits(none)) if none.is_empty() => settings.kind_limits.clear(),
        Some(Limits(said)) => settings.kind_limits.extend(said.clone()),
        None => {}
    }
    if let Some(Said(ageing)) = typed.ageing {
        settings.ageing = ageing;
    }
}

fn list(target: &Target, json: bool) -> Result<Exit, Failure> {
    let all = status::of_all_queues(&*target.store)?;
    print(target, all.into_iter().map(QueueView::from), json)
}

fn show(target: &Target, queue: &Queue, json: bool) -> Result<Exit, Failure> {
    let mut all = status::of_all_queues(&*target.store)?.into_iter();
    let found = all.find(|state| state.counts.queue == queue.name());
    let unknown = || QueueState {
        counts: QueueStats {
            queue: queue.name().to_owned(),
            ..QueueStats::default()
        },
        settings: Settings::default(),
    };
    let state = found.unwrap_or_else(unknown);
    print(target, [QueueView::from(state)].into_iter(), json)
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

fn limits(of: &BTreeMap<String, u32>) -> String {
    let limits = of.iter().map(|(kind, limit)| format!("{kind}={limit}"));
    limits.collect::<Vec<_>>().join(",")
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.queues.is_empty() {
            return writeln!(f, "no queues");
        }
        let headings = [
            "queue", "status", "capacity", "rate", "top", "limits", "ageing", "paused", "because",
        ];
        let mut table = Table::new(headings);
        for queue in &self.queues {
            let since = queue.paused_since.map(|at| relative(at.0, self.now));
            table.row([
                queue.queue.clone(),
                queue.status.to_string(),
                queue
                    .capacity
                    .map(|most| most.to_string())
                    .unwrap_or_default(),
                queue
                    .rate
                    .as_ref()
                    .map(|rate| rate.text.clone())
                    .unwrap_or_default(),
                queue.top_kinds.join(","),
                limits(&queue.kind_limits),
                queue
                    .ageing
                    .map(|ageing| humantime::format_duration(ageing).to_string())
                    .unwrap_or_default(),
                since.unwrap_or_default(),
                queue.paused_because.clone().unwrap_or_default(),
            ]);
        }
        table.fmt(f)
    }
}
