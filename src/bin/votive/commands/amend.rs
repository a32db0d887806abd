//! `votive retry`, `cancel`, `move`, `reschedule` and `purge`: changes to tasks that nobody has claimed.

use std::fmt;

use serde::Serialize;
use votive::id::TaskId;
use votive::store::{self, Amendment, Change, Kind};
use votive::task::{State, StateSet};
use votive::time::Timestamp;

use crate::args::Selection;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::selection::{self, Selected};
use crate::table::count;
use crate::target::Target;
use crate::view::Text;

/// How many tasks are changed in one transaction, and so by one durable write.
const CHUNK: usize = 200;

/// What is done to the tasks.
pub(super) enum Deed {
    /// They run again, or at once.
    Retry,
    /// They are taken back.
    Cancel,
    /// They go to this queue.
    Move(String),
    /// They run no earlier than this, or at once.
    Reschedule(Option<Timestamp>),
    /// They are deleted.
    Purge,
}

impl Deed {
    fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Move(_) => "move",
            Self::Reschedule(_) => "reschedule",
            Self::Purge => "purge",
        }
    }

    /// Returns the states in which it can be done.
    fn able(&self) -> StateSet {
        match self {
            Self::Retry => {
                StateSet::of(&[State::Scheduled, State::Done, State::Dead, State::Cancelled])
            }
            Self::Cancel | Self::Move(_) | Self::Reschedule(_) => StateSet::PENDING,
            Self::Purge => StateSet::ENDED,
        }
    }

    /// Returns the states that a filter means when none is given.
    fn usual(&self) -> StateSet {
        match self {
            Self::Retry => StateSet::of(&[State::Dead]),
            _ => self.able(),
        }
    }

    /// Returns what is done to a task in this state.
    fn amendment(&self, state: State) -> Amendment {
        match self {
            Self::Retry if state == State::Scheduled => Amendment::Reschedule(None),
            Self::Retry => Amendment::Revive,
            Self::Cancel => Amendment::Cancel,
            Self::Move(queue) => Amendment::Move(queue.clone()),
            Self::Reschedule(at) => Amendment::Reschedule(*at),
            Self::Purge => Amendment::Remove,
        }
    }

    /// Whether a person is to be asked first: what is deleted is gone, and a filter may mean more
    /// than was thought.
    fn asks(&self, typed: &Selection) -> bool {
        match self {
            Self::Purge => true,
            Self::Cancel => typed.ids.is_empty(),
            Self::Retry | Self::Move(_) | Self::Reschedule(_) => false,
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Report {
    command: &'static str,
    changed: usize,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    task: Text<TaskId>,
    state: &'static str,
}

/// Does the deed to the tasks that are meant.
pub(super) fn run(
    target: &Target,
    deed: &Deed,
    typed: &Selection,
    json: bool,
) -> Result<Exit, Failure> {
    let expect = expected(deed, &typed.filter.state)?;
    let selected = selection::select(target, typed, deed.usual())?;
    if deed.asks(typed) && !selected.is_empty() {
        let question = format!("{} {}?", deed.name(), count(selected.len(), "task"));
        output::confirm(&question, typed.yes)?;
    }
    let mut report = Report {
        command: deed.name(),
        ..Report::default()
    };
    let changes = report.plan(deed, expect, &selected);
    for chunk in changes.chunks(CHUNK) {
        report.make(target, chunk)?;
    }
    output::print(&report, json)?;
    Ok(report.exit())
}

/// Returns the states in which the tasks must still be when they are changed: those that were typed,
/// or all in which it can be done.
fn expected(deed: &Deed, typed: &[State]) -> Result<StateSet, Failure> {
    let able = deed.able();
    if let Some(state) = typed.iter().find(|state| !able.contains(**state)) {
        let message = format!("{} cannot be used on tasks that are {state}", deed.name());
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(if typed.is_empty() {
        able
    } else {
        StateSet::of(typed)
    })
}

impl Report {
    /// Returns the change that each task needs, and skips those that it does not fit.
    fn plan(&mut self, deed: &Deed, expect: StateSet, selected: &[Selected]) -> Vec<Change> {
        let mut changes = Vec::with_capacity(selected.len());
        for &Selected { task, state } in selected {
            if expect.contains(state) {
                changes.push(Change::Amend {
                    task,
                    expect,
                    amendment: deed.amendment(state),
                });
            } else {
                self.skip(task, state.name());
            }
        }
        changes
    }

    /// Makes the changes in one transaction; if one of the tasks has moved on, each in its own.
    fn make(&mut self, target: &Target, changes: &[Change]) -> Result<(), Failure> {
        let error = match target.apply(changes) {
            Ok(()) => {
                self.changed += changes.len();
                return Ok(());
            }
            Err(error) => error,
        };
        match (moved_on(&error), changes) {
            (Some((task, state)), [_]) => self.skip(task, state),
            (Some(_), _) => {
                for change in changes {
                    self.make(target, std::slice::from_ref(change))?;
                }
            }
            (None, _) => return Err(self.stopped(error)),
        }
        Ok(())
    }

    fn skip(&mut self, task: TaskId, state: &'static str) {
        let task = Text(task);
        self.skipped.push(Skipped { task, state });
    }

    fn stopped(&self, error: store::Error) -> Failure {
        let others = if error.is_definite() {
            "the others are as they were"
        } else {
            "whether the next ones were changed is not known"
        };
        Failure::because(
            format!("stopped after {}; {others}", count(self.changed, "task")),
            error,
        )
    }

    fn exit(&self) -> Exit {
        if self.skipped.is_empty() {
            Exit::Ok
        } else {
            Exit::Refused
        }
    }
}

/// Returns the task that is not what it was when it was selected, and what it is now.
fn moved_on(error: &store::Error) -> Option<(TaskId, &'static str)> {
    match &error.kind {
        Kind::StateChanged { task, found } => Some((*task, found)),
        Kind::Pinned(task) => Some((*task, State::Claimed.name())),
        _ => None,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Skipped { task, state } in &self.skipped {
            writeln!(f, "skipped {task}: it is {state}")?;
        }
        let (changed, skipped) = (count(self.changed, "task"), self.skipped.len());
        writeln!(f, "{}: {changed}, {skipped} skipped", self.command)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use votive::store::memory::MemoryStore;
    use votive::task::{Format, Payload, Record};
    use votive::txn::TransactionManager;

    use super::*;

    fn target() -> Target {
        Target {
            store: Arc::new(MemoryStore::new()),
            manager: TransactionManager::new(),
        }
    }

    fn publish(target: &Target) -> Selected {
        let now = target.store.now().unwrap();
        let payload = Payload {
            format: Format::Json,
            version: 0,
            bytes: b"{}"[..].into(),
        };
        let record = Record::new(TaskId::new(now), "default", "index", payload, now);
        let task = record.id;
        target.apply(&[Change::Insert(Box::new(record))]).unwrap();
        let state = State::Ready;
        Selected { task, state }
    }

    #[test]
    fn a_task_that_moved_on_is_skipped_and_the_others_are_changed() {
        let target = target();
        let selected = [publish(&target), publish(&target), publish(&target)];
        let mut report = Report::default();
        let changes = report.plan(&Deed::Cancel, Deed::Cancel.able(), &selected);
        target.apply(&changes[1..2]).unwrap();
        report.make(&target, &changes).unwrap();
        assert_eq!(report.changed, 2);
        assert_eq!(report.skipped[0].task.0, selected[1].task);
        assert_eq!(report.skipped[0].state, "cancelled");
    }
}
