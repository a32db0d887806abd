//! `votive show`: all that is known of one task.

use std::fmt;

use serde::Serialize;
use votive::id::TaskId;
use votive::store::Listed;
use votive::task::{DeadReason, FollowUp, Hold, Payload, Position};
use votive::time::Timestamp;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::table::{Pairs, plain, relative, rough};
use crate::target::Target;
use crate::view::{TaskView, hex, json};

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    task: TaskView<'a>,
    #[serde(skip)]
    listed: &'a Listed,
    #[serde(skip)]
    now: Timestamp,
    /// What it waits for, and what has become of that.
    #[serde(skip)]
    prerequisites: Vec<String>,
}

/// Shows one task. Its id may be that of a task that merged into it.
pub(super) fn run(target: &Target, task: TaskId, json: bool) -> Result<Exit, Failure> {
    let listed = target.find(task)?;
    let report = Report {
        task: TaskView::whole(&listed),
        listed: &listed,
        now: target.store.now()?,
        prerequisites: prerequisites(target, &listed)?,
    };
    output::print(&report, json)?;
    Ok(Exit::Ok)
}

/// The tasks that it waits for, and their states: one that is dead or cancelled holds it back until it
/// is revived.
fn prerequisites(target: &Target, listed: &Listed) -> Result<Vec<String>, Failure> {
    let tasks = listed.record.options.waits_for.iter();
    let said = tasks.map(|task| {
        let found = target.store.get(*task)?;
        let state = found.map_or("not there", |found| found.record.state.name());
        Ok(format!("{task} ({state})"))
    });
    said.collect()
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = Pairs::new();
        self.identity(&mut pairs);
        self.times(&mut pairs);
        self.fate(&mut pairs);
        self.wishes(&mut pairs);
        self.payload(&mut pairs);
        pairs.fmt(f)?;
        writeln!(f, "\n{}", content(&self.listed.record.payload))
    }
}

impl Report<'_> {
    fn identity(&self, pairs: &mut Pairs) {
        let record = &self.listed.record;
        pairs.add("task", record.id);
        pairs.add("queue", &record.queue);
        pairs.add("kind", &record.kind);
        pairs.add("state", record.state);
        pairs.add_some("because", record.dead.map(DeadReason::name));
        pairs.add_some("held by", self.listed.holder.as_ref());
        pairs.add_some("progress", record.progress.as_ref());
    }

    fn times(&self, pairs: &mut Pairs) {
        let record = &self.listed.record;
        let at = |at: Timestamp| format!("{at} ({})", relative(at, self.now));
        pairs.add("enqueued", at(record.enqueued_at));
        pairs.add_some("published", record.published_at.map(at));
        pairs.add_some("not before", record.not_before.map(at));
        pairs.add_some("expires", record.options.expires_at.map(at));
        pairs.add_some("claimed", self.listed.claimed_at.map(at));
        pairs.add_some("ended", record.ended_at.map(at));
    }

    fn fate(&self, pairs: &mut Pairs) {
        let record = &self.listed.record;
        let (counts, attempts_max) = (record.counts, record.options.retry.attempts_max);
        pairs.add("attempts", format!("{} of {attempts_max}", counts.attempts));
        pairs.add("conflicts", counts.conflicts);
        pairs.add("reclaims", counts.reclaims);
        for failure in record.account.iter().flat_map(|account| &account.failures) {
            let chain = failure.chain.join("\n  because: ");
            let (attempt, took) = (failure.attempt, rough(failure.duration));
            let when = relative(failure.at, self.now);
            pairs.add(
                "failed",
                format!("{} ({when}), attempt {attempt}, after {took}", failure.at),
            );
            pairs.add("failure", chain);
        }
        pairs.add_some(
            "items",
            record
                .account
                .as_ref()
                .and_then(|account| account.position)
                .map(items),
        );
        pairs.add_some("result", record.result().map(content));
    }

    fn wishes(&self, pairs: &mut Pairs) {
        let options = &self.listed.record.options;
        pairs.add("priority", options.priority);
        pairs.add_some("ageing", options.ageing.map(rough));
        if let Some(unique) = &options.unique {
            pairs.add("unique", &unique.key);
            pairs.add("held", held(unique.hold));
        }
        pairs.add_some("group", options.group.as_ref());
        pairs.add_some("group limit", options.group_limit);
        options
            .about
            .iter()
            .for_each(|object| pairs.add("about", object));
        let announces = options.announces.iter();
        announces.for_each(|task| pairs.add("announces", task));
        let follows = |follow_up: &FollowUp| follow_up.kind.to_string();
        pairs.add_some("on success", options.on_success.as_deref().map(follows));
        pairs.add_some("on failure", options.on_failure.as_deref().map(follows));
        let prerequisites = self.prerequisites.iter();
        prerequisites.for_each(|task| pairs.add("waits for", task));
        pairs.add_some("user", options.user.as_ref());
        pairs.add_some("timeout", options.timeout.map(rough));
        pairs.add_some("retention", options.retention.map(rough));
    }

    fn payload(&self, pairs: &mut Pairs) {
        let payload = &self.listed.record.payload;
        let (format, size) = (payload.format.name(), payload.bytes.len());
        let version = payload.version;
        pairs.add(
            "payload",
            format!("{format}, version {version}, {size} bytes"),
        );
    }
}

/// How far a task of many items is.
/// For how long a key is kept from others.
fn held(hold: Hold) -> String {
    let mut parts = vec![if hold.until_ended {
        "until it has ended".to_owned()
    } else {
        "while it waits".to_owned()
    }];
    let mut add = |period: Option<_>, since| {
        parts.extend(period.map(|period| format!("{} after {since}", rough(period))));
    };
    add(hold.after_enqueued, "it was enqueued");
    add(hold.after_ended, "it has ended");
    parts.join(", ")
}

fn items(position: Position) -> String {
    let Position {
        done, total, size, ..
    } = position;
    match total {
        u64::MAX => format!("{done} done, next chunk {size}"),
        _ => format!("{done} of {total} done, next chunk {size}"),
    }
}

/// Returns the payload as JSON text if it is that, or else in hexadecimal digits.
fn content(payload: &Payload) -> String {
    json(payload).map_or_else(|| hex(&payload.bytes), plain)
}
