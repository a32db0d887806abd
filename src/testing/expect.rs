//! Assertions on what is enqueued: in a transaction before its commit, or in a store.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use serde_json::Value;

use crate::queue::Pending as _;
use crate::store::{Filter, Inspect};
use crate::task::{Format, Payload, Record, Task};
use crate::time::Timestamp;
use crate::txn::Work;

/// How many tasks of a store are read at once.
const PAGE: usize = 256;

/// How often a store is looked at while something is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// A description of tasks: what is not said may be anything.
///
/// ```
/// use serde_json::json;
/// use votive::testing::{Expected, assert_enqueued, refute_enqueued};
/// # use votive::{Queue, Task, TransactionManager};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Mail { to: String, subject: String }
/// # impl Task for Mail { const KIND: &'static str = "mail"; }
/// # let queue = Queue::new(votive::open("memory://")?, "default")?;
/// # let mut txn = TransactionManager::new().begin()?;
/// # queue.enqueue(&mut txn, &Mail { to: "ann".into(), subject: "hi".into() })?;
///
/// assert_enqueued(&txn, &Expected::task::<Mail>().with(json!({ "to": "ann" })).times(1));
/// refute_enqueued(&txn, &Expected::task::<Mail>().with(json!({ "to": "bob" })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Expected {
    kind: String,
    read: fn(&Payload) -> Option<Value>,
    payload: Option<Value>,
    queue: Option<String>,
    priority: Option<u8>,
    about: Option<String>,
    latest: Option<Timestamp>,
    times: Option<usize>,
}

impl Expected {
    /// Describes tasks of the type `T`.
    #[must_use]
    pub fn task<T: Task>() -> Self {
        Self::new(T::KIND, read_typed::<T>)
    }

    /// Describes tasks of a kind whose type is not at hand. Their payload can be compared if it is JSON.
    #[must_use]
    pub fn kind(kind: &str) -> Self {
        Self::new(kind, read_json)
    }

    fn new(kind: &str, read: fn(&Payload) -> Option<Value>) -> Self {
        Self {
            kind: kind.to_owned(),
            read,
            payload: None,
            queue: None,
            priority: None,
            about: None,
            latest: None,
            times: None,
        }
    }

    /// The payload has at least these fields with these values, in objects within objects too; lists are
    /// compared as a whole.
    #[must_use]
    pub fn with(mut self, subset: Value) -> Self {
        self.payload = Some(subset);
        self
    }

    /// The task is in this queue.
    #[must_use]
    pub fn in_queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.to_owned());
        self
    }

    /// The task has this priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The task is about this object.
    #[must_use]
    pub fn about(mut self, object: &str) -> Self {
        self.about = Some(object.to_owned());
        self
    }

    /// The task may run at this instant, if not earlier. A delay counts from the enqueueing here.
    #[must_use]
    pub fn by(mut self, latest: Timestamp) -> Self {
        self.latest = Some(latest);
        self
    }

    /// There are exactly so many such tasks. Defaults to at least one.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    /// Whether a task is as described.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let options = &record.options;
        let is_about = |object: &String| options.about.contains(object);
        self.kind == *record.kind
            && self
                .queue
                .as_deref()
                .is_none_or(|queue| *queue == *record.queue)
            && self
                .priority
                .is_none_or(|priority| priority == options.priority)
            && self.about.as_ref().is_none_or(is_about)
            && self.latest.is_none_or(|latest| earliest(record) <= latest)
            && self.payload.as_ref().is_none_or(|subset| {
                (self.read)(&record.payload).is_some_and(|value| contains(&value, subset))
            })
    }

    /// Says what is wrong with the tasks that are there; `None` if nothing is.
    fn complaint(&self, records: &[Record]) -> Option<String> {
        let count = records.iter().filter(|record| self.matches(record)).count();
        let is_met = self.times.map_or(count > 0, |times| times == count);
        (!is_met).then(|| format!("expected {self}, found {count} among {}", Listing(records)))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            Some(times) => write!(f, "exactly {times} of `{}`", self.kind)?,
            None => write!(f, "a task `{}`", self.kind)?,
        }
        if let Some(payload) = &self.payload {
            write!(f, " with {payload}")?;
        }
        if let Some(queue) = &self.queue {
            write!(f, " in queue `{queue}`")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " of priority {priority}")?;
        }
        if let Some(about) = &self.about {
            write!(f, " about `{about}`")?;
        }
        match self.latest {
            Some(latest) => write!(f, " to run by {latest}"),
            None => Ok(()),
        }
    }
}

/// Asserts that a commit of `work` would enqueue what is described.
///
/// # Panics
/// If it would not; the message lists what it would enqueue.
#[track_caller]
pub fn assert_enqueued(work: &Work, expected: &Expected) {
    let complaint = expected.complaint(&pending(work));
    assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
}

/// Asserts that a commit of `work` would enqueue nothing of what is described.
///
/// # Panics
/// If it would; the message lists what it would enqueue.
#[track_caller]
pub fn refute_enqueued(work: &Work, expected: &Expected) {
    assert_enqueued(work, &expected.clone().times(0));
}

/// Asserts that what is described is visible in a store, ghosts included.
///
/// # Panics
/// If it is not, or if the store cannot be read; the message lists what is visible.
#[track_caller]
pub fn assert_visible(store: &dyn Inspect, expected: &Expected) {
    let complaint = expected.complaint(&visible(store));
    assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
}

/// Asserts that nothing of what is described is visible in a store.
///
/// # Panics
/// If something is, or if the store cannot be read.
#[track_caller]
pub fn refute_visible(store: &dyn Inspect, expected: &Expected) {
    assert_visible(store, &expected.clone().times(0));
}

/// Asserts that what is described is visible in a store soon, as for what another process enqueues.
///
/// # Blocking
/// Until it is, for at most `limit`.
///
/// # Panics
/// If it is not by then, or if the store cannot be read.
#[track_caller]
pub fn assert_visible_within(store: &dyn Inspect, expected: &Expected, limit: Duration) {
    let (again, late) = (tick(PAUSE), after(limit));
    while expected.complaint(&visible(store)).is_some() {
        select! {
            recv(again) -> _ => {}
            recv(late) -> _ => return assert_visible(store, expected),
        }
    }
}

fn pending(work: &Work) -> Vec<Record> {
    work.pending().into_iter().cloned().collect()
}

#[track_caller]
fn visible(store: &dyn Inspect) -> Vec<Record> {
    let filter = Filter {
        ghosts: true,
        ..Filter::default()
    };
    let (mut records, mut cursor) = (Vec::new(), None);
    loop {
        let page = match store.scan(&filter, cursor.as_ref(), PAGE) {
            Ok(page) => page,
            Err(error) => panic!("the store cannot be read: {error}"),
        };
        records.extend(page.tasks.into_iter().map(|listed| listed.record));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return records,
        }
    }
}

/// When a task may run at the earliest, as far as it is known before the commit.
fn earliest(record: &Record) -> Timestamp {
    let options = &record.options;
    let delayed = options
        .delay
        .map(|delay| record.enqueued_at.saturating_add(delay));
    let times = [record.not_before, options.not_before, delayed];
    times
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(record.enqueued_at)
}

fn read_typed<T: Task>(payload: &Payload) -> Option<Value> {
    let task: T = payload.decode().ok()?;
    serde_json::to_value(&task).ok()
}

fn read_json(payload: &Payload) -> Option<Value> {
    (payload.format == Format::Json)
        .then(|| serde_json::from_slice(&payload.bytes).ok())
        .flatten()
}

/// Whether `value` has all that `subset` has.
fn contains(value: &Value, subset: &Value) -> bool {
    match (value, subset) {
        (Value::Object(value), Value::Object(subset)) => subset
            .iter()
            .all(|(key, wanted)| value.get(key).is_some_and(|found| contains(found, wanted))),
        _ => value == subset,
    }
}

/// Tasks, a line each.
struct Listing<'a>(&'a [Record]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no tasks at all");
        }
        write!(f, "these {}:", self.0.len())?;
        for record in self.0 {
            write!(
                f,
                "\n  {} `{}` in queue `{}`, priority {}, {}",
                record.id, record.kind, record.queue, record.options.priority, record.state
            )?;
            if let Some(value) = read_json(&record.payload) {
                write!(f, ": {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subset_may_leave_out_fields_but_not_change_them() {
        let value = json!({ "to": { "name": "ann", "age": 7 }, "tags": [1, 2] });
        assert!(contains(&value, &json!({})));
        assert!(contains(&value, &json!({ "to": { "age": 7 } })));
        assert!(!contains(&value, &json!({ "to": { "age": 8 } })));
        assert!(!contains(&value, &json!({ "tags": [1] })));
        assert!(!contains(&value, &json!({ "cc": null })));
    }
}
