//! The reference's events in our words: its two first phases are our one, and its two aborts are one.
#![cfg(test)]

use serde_json::Value;

use crate::player::text;

/// One event of the reference.
struct Event<'a> {
    parts: Vec<String>,
    raw: &'a [Value],
}

impl Event<'_> {
    /// What a participant was called with, if this is such a call.
    fn call(&self) -> Option<&str> {
        (self.parts[0] == "dm").then(|| self.parts[2].as_str())
    }

    fn raised(&self) -> bool {
        self.raw.last().is_some_and(|last| last == "!")
    }

    fn is_abort(&self) -> bool {
        matches!(self.call(), Some("abort" | "tpc_abort"))
    }

    /// The event, as a call of `method`.
    fn renamed(&self, method: &str) -> String {
        let end = if self.raised() { " !" } else { "" };
        format!("dm {} {method}{end}", self.parts[1])
    }

    fn line(&self) -> String {
        match self.call() {
            Some("commit" | "tpc_begin") => self.renamed("prepare"),
            Some("tpc_vote") => self.renamed("vote"),
            Some("tpc_finish") => self.renamed("finish"),
            Some("tpc_abort") => self.renamed("abort"),
            _ => self.parts.join(" "),
        }
    }
}

pub(crate) fn events(trace: &[Value]) -> Vec<String> {
    let event = |raw: &'_ Value| -> Vec<String> {
        let parts = raw.as_array().unwrap();
        parts.iter().map(text).collect()
    };
    let events: Vec<Event<'_>> = trace
        .iter()
        .map(|raw| Event {
            parts: event(raw),
            raw: raw.as_array().unwrap(),
        })
        .collect();
    let same_kind = |one: &Event<'_>, other: &Event<'_>| one.is_abort() == other.is_abort();
    let runs = events.chunk_by(same_kind);
    runs.flat_map(|run| {
        if run[0].is_abort() {
            aborts(run)
        } else {
            calls(run)
        }
    })
    .collect()
}

/// Everybody who is told to abort is told so once, in the order of the last phase of the clean-up.
fn aborts(run: &[Event<'_>]) -> Vec<String> {
    let in_two_phases = run.iter().any(|event| event.call() == Some("tpc_abort"));
    let counts = |event: &&Event<'_>| !in_two_phases || event.call() == Some("tpc_abort");
    run.iter().filter(counts).map(Event::line).collect()
}

/// A first phase that goes well is silent; one that fails is a prepare that fails.
fn calls(run: &[Event<'_>]) -> Vec<String> {
    let mut begun = Vec::new();
    let mut lines = Vec::new();
    for event in run {
        if event.call() != Some("tpc_begin") {
            begun.clear();
            lines.push(event.line());
            continue;
        }
        begun.push(event.line());
        if event.raised() {
            lines.append(&mut begun);
        }
    }
    lines
}
