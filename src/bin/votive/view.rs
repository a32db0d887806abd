//! The shapes of JSON that programs may rely on; `docs/cli.md` describes them. Fields are added, never
//! renamed or removed. Instants are RFC 3339 in UTC, durations are seconds.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use votive::store::Listed;
use votive::task::{Failure, Format, Hold, Payload, Record};

/// A value that is written as the text that it displays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

type Instant = Text<votive::time::Timestamp>;

/// A task, without its payload's bytes.
#[derive(Debug, Serialize)]
pub(crate) struct TaskView<'a> {
    id: Text<votive::id::TaskId>,
    queue: &'a str,
    kind: &'a str,
    state: &'static str,
    priority: u8,
    ageing_seconds: Option<f64>,
    enqueued_at: Instant,
    published_at: Option<Instant>,
    not_before: Option<Instant>,
    expires_at: Option<Instant>,
    ended_at: Option<Instant>,
    claimed_at: Option<Instant>,
    holder: Option<HolderView<'a>>,
    attempts: u32,
    attempts_max: u32,
    conflicts: u32,
    reclaims: u32,
    failure: Option<FailureView<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailureView<'a>>,
    result: Option<PayloadView>,
    items: Option<ItemsView>,
    dead: Option<&'static str>,
    progress: Option<&'a str>,
    unique: Option<&'a str>,
    hold: Option<HoldView>,
    group: Option<&'a str>,
    group_limit: Option<u32>,
    about: &'a [String],
    waits_for: Vec<Text<votive::id::TaskId>>,
    announces: Vec<Text<votive::id::TaskId>>,
    user: Option<&'a str>,
    timeout_seconds: Option<f64>,
    retention_seconds: Option<f64>,
    payload: PayloadView,
}

#[derive(Debug, Serialize)]
struct HolderView<'a> {
    name: &'a str,
    incarnation: Text<votive::id::Incarnation>,
}

#[derive(Debug, Serialize)]
struct FailureView<'a> {
    attempt: u32,
    at: Instant,
    seconds: f64,
    chain: &'a [String],
}

/// For how long a task keeps others from its unique key.
#[derive(Debug, Serialize)]
struct HoldView {
    until_ended: bool,
    after_enqueued_seconds: Option<f64>,
    after_ended_seconds: Option<f64>,
}

/// How far a task of many items is.
#[derive(Debug, Serialize)]
struct ItemsView {
    done: u64,
    total: Option<u64>,
    chunk: u64,
}

/// A payload: its value where it is JSON, its bytes in hexadecimal otherwise; neither in a listing.
#[derive(Debug, Serialize)]
struct PayloadView {
    format: &'static str,
    version: u32,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl<'a> TaskView<'a> {
    /// Shows a task in a listing.
    pub(crate) fn brief(listed: &'a Listed) -> Self {
        let Record {
            options, counts, ..
        } = &listed.record;
        let record = &listed.record;
        Self {
            id: Text(record.id),
            queue: &record.queue,
            kind: &record.kind,
            state: record.state.name(),
            priority: options.priority,
            ageing_seconds: options.ageing.map(|ageing| ageing.as_secs_f64()),
            enqueued_at: Text(record.enqueued_at),
            published_at: record.published_at.map(Text),
            not_before: record.not_before.map(Text),
            expires_at: options.expires_at.map(Text),
            ended_at: record.ended_at.map(Text),
            claimed_at: listed.claimed_at.map(Text),
            holder: holder(listed),
            attempts: counts.attempts,
            attempts_max: options.retry.attempts_max,
            conflicts: counts.conflicts,
            reclaims: counts.reclaims,
            failure: record.failure().map(failure),
            failures: Vec::new(),
            result: record.result().map(PayloadView::brief),
            items: items(record),
            dead: record.dead.map(votive::task::DeadReason::name),
            progress: record.progress.as_deref(),
            unique: options.unique.as_ref().map(|unique| unique.key.as_str()),
            hold: options.unique.as_ref().map(|unique| hold(unique.hold)),
            group: options.group.as_deref(),
            group_limit: options.group_limit,
            about: &options.about,
            waits_for: options.waits_for.iter().copied().map(Text).collect(),
            announces: options.announces.iter().copied().map(Text).collect(),
            user: options.user.as_deref(),
            timeout_seconds: options.timeout.map(|timeout| timeout.as_secs_f64()),
            retention_seconds: options.retention.map(|kept| kept.as_secs_f64()),
            payload: PayloadView::brief(&record.payload),
        }
    }

    /// Shows all of a task.
    pub(crate) fn whole(listed: &'a Listed) -> Self {
        let record = &listed.record;
        let failures = record.account.iter().flat_map(|account| &account.failures);
        Self {
            payload: PayloadView::whole(&record.payload),
            result: record.result().map(PayloadView::whole),
            failures: failures.map(failure).collect(),
            ..Self::brief(listed)
        }
    }
}

fn holder(listed: &Listed) -> Option<HolderView<'_>> {
    listed.holder.as_ref().map(|holder| HolderView {
        name: &holder.name,
        incarnation: Text(holder.incarnation),
    })
}

fn failure(failure: &Failure) -> FailureView<'_> {
    FailureView {
        attempt: failure.attempt,
        at: Text(failure.at),
        seconds: failure.duration.as_secs_f64(),
        chain: &failure.chain,
    }
}

fn hold(hold: Hold) -> HoldView {
    let seconds = |period: Duration| period.as_secs_f64();
    HoldView {
        until_ended: hold.until_ended,
        after_enqueued_seconds: hold.after_enqueued.map(seconds),
        after_ended_seconds: hold.after_ended.map(seconds),
    }
}

fn items(record: &Record) -> Option<ItemsView> {
    let position = record.account.as_ref()?.position?;
    Some(ItemsView {
        done: position.done,
        total: Some(position.total).filter(|total| *total != u64::MAX),
        chunk: position.size,
    })
}

impl PayloadView {
    fn brief(payload: &Payload) -> Self {
        Self {
            format: payload.format.name(),
            version: payload.version,
            size: payload.bytes.len(),
            json: None,
            hex: None,
        }
    }

    fn whole(payload: &Payload) -> Self {
        let json = json(payload).and_then(|text| RawValue::from_string(text.to_owned()).ok());
        let hex = json.is_none().then(|| hex(&payload.bytes));
        Self {
            json,
            hex,
            ..Self::brief(payload)
        }
    }
}

/// Returns the payload's text if it says that it is JSON.
pub(crate) fn json(payload: &Payload) -> Option<&str> {
    (payload.format == Format::Json)
        .then(|| std::str::from_utf8(&payload.bytes).ok())
        .flatten()
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}
