//! `votive enqueue`: tasks from the command line, all of them in one transaction.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use votive::id::TaskId;
use votive::queue::{EnqueueError, Queue};
use votive::register::Tier;
use votive::task::{Hold, OnDuplicate, Options, Payload, PayloadLimits, RetryPolicy, Uniqueness};
use votive::txn::{CommitError, RunError};

use crate::args::{self, Global, TaskOptions};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::target::Target;
use crate::view::Text;

/// How often the transaction is tried when another one is in the way.
const ATTEMPTS: u32 = 10;

#[derive(Debug, Serialize)]
struct Report {
    tasks: Vec<Text<TaskId>>,
    merged: Vec<Merged>,
    tier: Text<Tier>,
}

#[derive(Debug, Serialize)]
struct Merged {
    task: Text<TaskId>,
    into: Text<TaskId>,
}

/// Enqueues one task, or one for each line.
pub(super) fn run(global: &Global, typed: &args::Enqueue) -> Result<Exit, Failure> {
    let payloads = payloads(typed)?;
    let target = Target::open_or_create(global)?;
    let queue = Queue::new(target.store.clone(), typed.queue.as_str()).map_err(Failure::of)?;
    let options = options(&typed.options);
    let (tasks, committed) = target
        .manager
        .run(ATTEMPTS, |txn| {
            let enqueue = |payload: &Payload| {
                queue.enqueue_payload(txn, &typed.kind, payload.clone(), options.clone())
            };
            payloads
                .iter()
                .map(enqueue)
                .collect::<Result<Vec<_>, EnqueueError>>()
        })
        .map_err(unenqueued)?;
    let merged = committed.merged.iter();
    let report = Report {
        tasks: tasks.into_iter().map(Text).collect(),
        merged: merged
            .map(|&(task, into)| Merged {
                task: Text(task),
                into: Text(into),
            })
            .collect(),
        tier: Text(committed.tier),
    };
    output::print(&report, global.json)?;
    Ok(Exit::Ok)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            writeln!(f, "{task}")?;
        }
        for Merged { task, into } in &self.merged {
            writeln!(f, "{task} merged into {into}")?;
        }
        Ok(())
    }
}

fn unenqueued(error: RunError) -> Failure {
    let context = match &error {
        RunError::Commit(CommitError::Undecided { .. }) => {
            "it is not known yet whether anything was enqueued: run `votive recover`, then look"
        }
        _ => "nothing was enqueued",
    };
    Failure::because(context, error)
}

/// Reads the payloads, and checks that each is JSON before anything is enqueued.
fn payloads(typed: &args::Enqueue) -> Result<Vec<Payload>, Failure> {
    let text = read(typed)?;
    let parts: Vec<&str> = if typed.lines {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect()
    } else {
        vec![text.trim()]
    };
    let payload = |part: &&str| payload(part, typed.options.payload_version);
    parts.iter().map(payload).collect()
}

fn read(typed: &args::Enqueue) -> Result<String, Failure> {
    match (&typed.file, typed.payload.as_deref()) {
        (Some(file), _) if file != Path::new("-") => {
            std::fs::read_to_string(file).map_err(|error| {
                let message = format!("the file {} could not be read", file.display());
                Failure::because(message, error)
            })
        }
        (None, Some(text)) if text != "-" => Ok(text.to_owned()),
        _ => {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(|error| Failure::because("standard input could not be read", error))?;
            Ok(text)
        }
    }
}

fn payload(json: &str, version: u32) -> Result<Payload, Failure> {
    Payload::from_json(json, version, PayloadLimits::default()).map_err(|error| {
        let context = "this cannot be a payload; nothing was enqueued";
        Failure::because(context, error).exiting(Exit::Usage)
    })
}

fn options(typed: &TaskOptions) -> Options {
    let usual = Options::default();
    let retry = RetryPolicy::default();
    Options {
        priority: typed.priority.unwrap_or(usual.priority),
        not_before: typed.not_before,
        delay: typed.delay,
        expires_at: typed.expires_at,
        timeout: typed.timeout,
        retry: RetryPolicy {
            attempts_max: typed.attempts_max.unwrap_or(retry.attempts_max),
            ..retry
        },
        unique: typed.unique.as_ref().map(|key| uniqueness(typed).by(key)),
        group: typed.group.clone(),
        group_limit: typed.group_limit,
        about: typed.about.clone(),
        user: typed.user.clone(),
        retention: typed.retention,
        ghost: typed.ghost,
        ..usual
    }
}

fn uniqueness(typed: &TaskOptions) -> Uniqueness {
    let on_duplicate = match typed.on_duplicate {
        args::OnDuplicate::Merge => OnDuplicate::Merge,
        args::OnDuplicate::Refuse => OnDuplicate::Refuse,
    };
    let hold = Hold {
        until_ended: typed.unique_until_ended || typed.unique_after_ended.is_some(),
        after_enqueued: typed.unique_after_enqueued,
        after_ended: typed.unique_after_ended,
    };
    Uniqueness::new(on_duplicate, hold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused_before_anything_is_enqueued() {
        assert_eq!(payload("{\"a\":", 0).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_payload_is_kept_as_it_was_typed() {
        let payload = payload("{\"n\":123456789012345678901}", 2).unwrap();
        assert_eq!(*payload.bytes, *b"{\"n\":123456789012345678901}");
        assert_eq!(payload.version, 2);
    }
}
