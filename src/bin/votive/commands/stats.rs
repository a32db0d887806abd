//! `votive stats`: how many tasks are in which state.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use votive::queue::Status;
use votive::task::State;
use votive::time::Timestamp;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::status::{self, QueueState};
use crate::table::{Table, relative};
use crate::target::Target;
use crate::view::Text;

#[derive(Debug, Serialize)]
struct Report {
    store: Text<votive::id::StoreId>,
    backend: &'static str,
    tier: Text<votive::register::Tier>,
    caveats: Vec<String>,
    now: Text<Timestamp>,
    pending: u64,
    scheduled: u64,
    in_doubt: u64,
    in_doubt_since: Option<Text<Timestamp>>,
    queues: Vec<QueueReport>,
}

#[derive(Debug, Serialize)]
struct QueueReport {
    queue: String,
    status: Status,
    pending: u64,
    scheduled: u64,
    counts: BTreeMap<&'static str, u64>,
    oldest_ready_at: Option<Text<Timestamp>>,
}

/// Counts the tasks of each queue by state.
pub(super) fn run(target: &Target, json: bool) -> Result<Exit, Failure> {
    let store = &target.store;
    let (now, stats) = (store.now()?, store.stats()?);
    let capabilities = store.capabilities();
    let queues = status::with(&**store, stats.queues)?.into_iter();
    let queues: Vec<QueueReport> = queues.map(QueueReport::from).collect();
    let report = Report {
        store: Text(store.id()),
        backend: capabilities.backend,
        tier: Text(capabilities.tier_max),
        caveats: capabilities.caveats.clone(),
        now: Text(now),
        pending: queues.iter().map(|queue| queue.pending).sum(),
        scheduled: queues.iter().map(|queue| queue.scheduled).sum(),
        in_doubt: stats.in_doubt,
        in_doubt_since: stats.in_doubt_since.map(Text),
        queues,
    };
    output::print(&report, json)?;
    Ok(Exit::Ok)
}

impl From<QueueState> for QueueReport {
    fn from(queue: QueueState) -> Self {
        let (status, numbers) = (queue.status(), queue.counts);
        let counted = numbers.counts.iter();
        let counts: BTreeMap<_, _> = counted
            .map(|(state, count)| (state.name(), *count))
            .collect();
        let mut report = Self {
            queue: numbers.queue,
            status,
            pending: 0,
            scheduled: 0,
            counts,
            oldest_ready_at: numbers.oldest_ready_at.map(Text),
        };
        report.pending = report.count(State::Waiting) + report.count(State::Ready);
        report.scheduled = report.count(State::Scheduled);
        report
    }
}

impl QueueReport {
    fn count(&self, state: State) -> u64 {
        self.counts.get(state.name()).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} store {}, tier {}",
            self.backend, self.store, self.tier
        )?;
        for caveat in &self.caveats {
            writeln!(f, "note: {caveat}")?;
        }
        if let Some(since) = self.in_doubt_since {
            let (count, age) = (self.in_doubt, relative(since.0, self.now.0));
            writeln!(
                f,
                "{count} in doubt, the oldest staged {age}: see `votive in-doubt list`"
            )?;
        }
        if self.queues.is_empty() {
            return writeln!(f, "no tasks");
        }
        self.table().fmt(f)
    }
}

/// The columns of the table: every state in which a task can be seen, the one that moves first.
const COLUMNS: [State; 7] = [
    State::Ready,
    State::Scheduled,
    State::Waiting,
    State::Claimed,
    State::Done,
    State::Dead,
    State::Cancelled,
];

impl Report {
    fn table(&self) -> Table {
        let states = COLUMNS.map(State::name).into_iter();
        let before = ["queue", "status"].into_iter();
        let mut table = Table::new(before.chain(states).chain(["oldest ready"]));
        for queue in &self.queues {
            let counts = COLUMNS.map(|state| queue.count(state).to_string());
            let oldest = queue.oldest_ready_at.map(|at| relative(at.0, self.now.0));
            let mut cells = vec![queue.queue.clone(), queue.status.to_string()];
            cells.extend(counts);
            cells.extend(oldest);
            table.row(cells);
        }
        table
    }
}
