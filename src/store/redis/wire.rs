//! The form in which batches go to the scripts.
//!
//! A script is told a batch as JSON; what it only keeps — the record as its producer made it, accounts,
//! values of marks — goes beside it as numbered blobs, which it does not look into.

use std::time::Duration;

use serde::Serialize;

use super::error::Result;
use super::script::Arguments;
use crate::codec;
use crate::id::Token;
use crate::store::{Amendment, Batch, Change, Settlement, Verdict, lifecycle};
use crate::task::{DeadReason, Hold, OnDuplicate, Record, State, StateSet};
use crate::time::Timestamp;

/// A batch in the form that scripts read.
pub(super) struct WireBatch {
    json: String,
    blobs: Vec<Vec<u8>>,
    pub(super) shape: Shape,
}

/// What a batch is made of: the commonest have scripts of their own, which are shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// New tasks and nothing else.
    Inserts,
    /// What gives more room than it takes, or takes hardly any.
    WithoutInserts,
    /// Anything.
    Mixed,
}

impl Shape {
    fn of(batch: &Batch) -> Self {
        let is_insert = |change: &Change| matches!(change, Change::Insert(_));
        if batch.changes.iter().all(is_insert) {
            Self::Inserts
        } else if !batch.changes.iter().any(is_insert) {
            Self::WithoutInserts
        } else {
            Self::Mixed
        }
    }
}

#[derive(Serialize, Default)]
struct WireChange<'b> {
    change: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    task: String,
    #[serde(flatten)]
    insert: Option<Insert<'b>>,
    #[serde(flatten)]
    settle: Option<Settle>,
    #[serde(flatten)]
    amend: Option<Amend<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    #[serde(flatten)]
    mark: Option<Mark<'b>>,
    #[serde(flatten)]
    room: Option<Room<'b>>,
}

/// Numbers that a script only keeps and compares are text, because its own have 53 bits.
#[derive(Serialize)]
struct Insert<'b> {
    queue: &'b str,
    priority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ageing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<&'b str>,
    refuses: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_runs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest_enqueued: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest_ended: Option<String>,
    /// A list in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    /// Joined by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<String>,
    body: usize,
    #[serde(flatten)]
    history: Option<History<'b>>,
}

/// What became of a task elsewhere.
#[derive(Serialize)]
struct History<'b> {
    /// If it ended there.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    counts: [u32; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'b str>,
}

#[derive(Serialize)]
struct Settle {
    token: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    counts: [u32; 3],
}

#[derive(Serialize)]
struct Amend<'b> {
    expect: String,
    amendment: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'b str>,
}

#[derive(Serialize)]
struct Mark<'b> {
    key: &'b str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<usize>,
}

#[derive(Serialize)]
struct Room<'b> {
    queue: &'b str,
    pending_max: u64,
}

impl WireBatch {
    /// Checks a batch as far as that can be done here, and puts it in the form that scripts read.
    pub(super) fn new(batch: &Batch) -> Result<Self> {
        batch.changes.iter().try_for_each(lifecycle::check)?;
        let mut blobs = Blobs::default();
        let changes = batch.changes.iter().map(|change| blobs.change(change));
        let changes = changes.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            json: serde_json::to_string(&changes)?,
            blobs: blobs.0,
            shape: Shape::of(batch),
        })
    }

    /// The size of what is kept of it, in bytes.
    pub(super) fn size(&self) -> usize {
        self.json.len() + self.blobs.iter().map(Vec::len).sum::<usize>()
    }

    /// Adds the batch to the arguments of a script, after which there are no others.
    pub(super) fn add_to(self, arguments: Arguments) -> Arguments {
        arguments.with(self.json).all(self.blobs)
    }
}

/// Blobs, numbered from 1.
#[derive(Default)]
struct Blobs(Vec<Vec<u8>>);

impl Blobs {
    fn push(&mut self, blob: Vec<u8>) -> usize {
        self.0.push(blob);
        self.0.len()
    }

    fn change<'b>(&mut self, change: &'b Change) -> Result<WireChange<'b>> {
        Ok(match change {
            Change::Insert(record) => WireChange {
                change: "insert",
                task: record.id.to_string(),
                insert: Some(self.insert(record)?),
                ..WireChange::default()
            },
            Change::Settle(settlement) => WireChange {
                change: "settle",
                task: settlement.task.to_string(),
                settle: Some(self.settle(settlement)?),
                ..WireChange::default()
            },
            Change::Amend {
                task,
                expect,
                amendment,
            } => WireChange {
                change: "amend",
                task: task.to_string(),
                amend: Some(amend(*expect, amendment)),
                ..WireChange::default()
            },
            Change::Arrive { task, done } => WireChange {
                change: "arrive",
                task: task.to_string(),
                done: Some(done.to_string()),
                ..WireChange::default()
            },
            Change::Mark { key, expect, value } => WireChange {
                change: "mark",
                mark: Some(Mark {
                    key,
                    expect: expect.clone().map(|blob| self.push(blob)),
                    value: value.clone().map(|blob| self.push(blob)),
                }),
                ..WireChange::default()
            },
            Change::Room { queue, pending_max } => WireChange {
                change: "room",
                room: Some(Room {
                    queue,
                    pending_max: *pending_max,
                }),
                ..WireChange::default()
            },
        })
    }

    fn insert<'b>(&mut self, record: &'b Record) -> Result<Insert<'b>> {
        let options = &record.options;
        let waits_for: Vec<_> = options.waits_for.iter().map(ToString::to_string).collect();
        let about = Some(&options.about).filter(|about| !about.is_empty());
        let unique = options.unique.as_ref();
        let hold = unique.map_or_else(Hold::default, |unique| unique.hold);
        Ok(Insert {
            queue: &record.queue,
            priority: options.priority.to_string(),
            ageing: options.ageing.map(|ageing| ageing.as_micros().to_string()),
            not_before: record.not_before.map(micros),
            delay: options.delay.map(|delay| delay.as_micros().to_string()),
            group: options.group.as_deref(),
            group_limit: options.group_limit.map(|limit| limit.to_string()),
            unique: unique.map(|unique| &unique.key[..]),
            refuses: unique.is_some_and(|unique| unique.on_duplicate == OnDuplicate::Refuse),
            unique_runs: hold.until_ended.then_some(true),
            rest_enqueued: hold.after_enqueued.map(span),
            rest_ended: hold.after_ended.map(span),
            about: about.map(serde_json::to_string).transpose()?,
            waits_for: (!waits_for.is_empty()).then(|| waits_for.join(",")),
            retention: options
                .retention
                .map(|retention| retention.as_micros().to_string()),
            body: self.push(codec::encode(record)?),
            history: self.history(record)?,
        })
    }

    /// What became of a task that comes from elsewhere.
    fn history<'b>(&mut self, record: &'b Record) -> Result<Option<History<'b>>> {
        if record.published_at.is_none() {
            return Ok(None);
        }
        let counts = record.counts;
        let account = record.account.as_ref().map(codec::encode).transpose()?;
        Ok(Some(History {
            state: record.state.is_ended().then(|| record.state.name()),
            published_at: record.published_at.map(micros),
            counts: [counts.attempts, counts.conflicts, counts.reclaims],
            account: account.map(|account| self.push(account)),
            dead: record.dead.map(DeadReason::name),
            ended_at: record.ended_at.map(micros),
            progress: record.progress.as_deref(),
        }))
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<Settle> {
        let counts = settlement.counts;
        let mut settle = Settle {
            token: token_text(settlement.token),
            verdict: "done",
            at: None,
            account: None,
            reason: None,
            counts: [counts.attempts, counts.conflicts, counts.reclaims],
        };
        match &settlement.verdict {
            Verdict::Done => {}
            Verdict::Retry { at } => {
                settle.verdict = "retry";
                settle.at = Some(micros(*at));
            }
            Verdict::Bury { reason } => {
                settle.verdict = "bury";
                settle.reason = Some(reason.name());
            }
            Verdict::Release { at } => {
                settle.verdict = "release";
                settle.at = at.map(micros);
            }
        }
        if let Some(account) = &settlement.account {
            settle.account = Some(self.push(codec::encode(account)?));
        }
        Ok(settle)
    }
}

fn amend(expect: StateSet, amendment: &Amendment) -> Amend<'_> {
    let states: Vec<_> = expect.iter().map(State::name).collect();
    let mut amend = Amend {
        expect: states.join(","),
        amendment: "cancel",
        at: None,
        queue: None,
        text: None,
    };
    match amendment {
        Amendment::Cancel => {}
        Amendment::Revive => amend.amendment = "revive",
        Amendment::Remove => amend.amendment = "remove",
        Amendment::Reschedule(at) => {
            amend.amendment = "reschedule";
            amend.at = at.map(micros);
        }
        Amendment::Move(queue) => {
            amend.amendment = "move";
            amend.queue = Some(queue);
        }
        Amendment::Progress(text) => {
            amend.amendment = "progress";
            amend.text = Some(text);
        }
    }
    amend
}

/// A period that is too long for a number of 53 bits is for ever.
fn span(period: Duration) -> String {
    period.as_micros().min(1 << 53).to_string()
}

fn micros(at: Timestamp) -> String {
    at.as_micros().to_string()
}

/// The text form of a token: the texts of tokens sort as the tokens do.
pub(super) fn token_text(token: Token) -> String {
    format!("{}{:016x}", token.incarnation, token.count)
}
