//! Which tasks are meant: what was typed, worked out against the store.

use votive::id::TaskId;
use votive::store::{Filter, Listed};
use votive::task::{State, StateSet};
use votive::time::Timestamp;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::target::Target;

/// A task that is meant, in the state in which it was seen.
pub(crate) struct Selected {
    /// The task.
    pub(crate) task: TaskId,
    /// What it was.
    pub(crate) state: State,
}

impl From<Listed> for Selected {
    fn from(listed: Listed) -> Self {
        Self {
            task: listed.record.id,
            state: listed.record.state,
        }
    }
}

/// Turns what was typed into the store's filter; ages count back from `now`.
pub(crate) fn filter(typed: &args::Filter, now: Timestamp) -> Filter {
    Filter {
        queue: typed.queue.clone(),
        kind: typed.kind.clone(),
        states: states(typed),
        about: typed.about.clone(),
        enqueued_before: typed.older_than.map(|age| now.saturating_sub(age)),
        ghosts: typed.ghosts,
    }
}

fn states(typed: &args::Filter) -> Option<StateSet> {
    (!typed.state.is_empty()).then(|| StateSet::of(&typed.state))
}

/// Finds the tasks that are meant, before any is changed. Without `--state` a filter means those in
/// one of `usual`. An id that is not there fails the whole selection.
pub(crate) fn select(
    target: &Target,
    typed: &args::Selection,
    usual: StateSet,
) -> Result<Vec<Selected>, Failure> {
    if !typed.ids.is_empty() {
        let found = typed.ids.iter().map(|id| target.find(*id));
        return found.map(|listed| listed.map(Selected::from)).collect();
    }
    if !typed.all && is_empty(&typed.filter) {
        let message = "which tasks? Give their ids, or a filter such as --queue, or --all";
        return Err(Failure::new(Exit::Usage, message));
    }
    let now = target.store.now()?;
    let mut filter = filter(&typed.filter, now);
    filter.states.get_or_insert(usual);
    let mut selected = Vec::new();
    target.each(&filter, |listed| {
        if is_old_enough(&listed, &filter) {
            selected.push(listed.into());
        }
    })?;
    Ok(selected)
}

/// Judges what the store's filter cannot: a task that has ended is as old as its end.
pub(crate) fn is_old_enough(listed: &Listed, filter: &Filter) -> bool {
    match (listed.record.ended_at, filter.enqueued_before) {
        (Some(ended_at), Some(before)) => ended_at < before,
        _ => true,
    }
}

fn is_empty(typed: &args::Filter) -> bool {
    let all = Filter {
        ghosts: typed.ghosts,
        ..Filter::default()
    };
    filter(typed, Timestamp::EPOCH) == all
}
