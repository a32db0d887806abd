//! Which tasks concern an object, and whether it may be changed while they have yet to run.

use std::sync::Arc;

use crate::id::TaskId;
use crate::store::{self, Filter, Listed, Store};
use crate::task::{State, StateSet};

/// How many tasks are read at once.
const PAGE: usize = 256;

/// What a task that has yet to run, or runs now, is.
const UNFINISHED: StateSet = StateSet::of(&[
    State::Waiting,
    State::Scheduled,
    State::Ready,
    State::Claimed,
]);

/// Why an object may not be changed now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Guarded {
    /// Tasks about the object have yet to run, or run now. Try again when the first of them has ended:
    /// [`Interest::Settled`](crate::store::Interest::Settled) waits for that.
    #[error("`{object}` may not be changed: {} of its tasks have yet to end, the first is {}", tasks.len(), first(tasks))]
    #[non_exhaustive]
    Busy {
        /// The object.
        object: String,
        /// The tasks, oldest first; at least one.
        tasks: Vec<TaskId>,
    },
    /// The store could not be asked, so that nobody knows.
    #[error("the store could not be asked which tasks are about `{object}`")]
    #[non_exhaustive]
    Store {
        /// The object.
        object: String,
        /// What the store said.
        #[source]
        source: store::Error,
    },
}

fn first(tasks: &[TaskId]) -> String {
    tasks.first().map(TaskId::to_string).unwrap_or_default()
}

/// Returns the visible tasks about an object that have yet to run or run now, oldest first. Ghosts are left
/// out. The store has an index for this: what it costs grows with the tasks about this object alone.
///
/// # Errors
/// The store could not be asked.
pub fn unfinished_about(store: &dyn Store, object: &str) -> store::Result<Vec<Listed>> {
    let filter = Filter {
        about: Some(object.to_owned()),
        states: Some(UNFINISHED),
        ..Filter::default()
    };
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(&filter, cursor.as_ref(), PAGE)?;
        found.extend(page.tasks);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
}

/// Answers whether an object may be changed now: not while a task about it has yet to run or runs.
///
/// Call it before a transition that tasks in flight do not expect, as senaite.queue does for workflow
/// actions. It sees what has committed: a task that another transaction enqueues at this moment shows
/// once that one has committed. A handler that changes the object names its own task in `except`, which
/// [`Context::guard`](crate::handler::Context::guard) does.
///
/// # Errors
/// [`Guarded::Busy`] names the tasks; after [`Guarded::Store`] nobody knows.
pub fn guard(store: &Arc<dyn Store>, object: &str, except: Option<TaskId>) -> Result<(), Guarded> {
    let found = unfinished_about(&**store, object).map_err(|source| Guarded::Store {
        object: object.to_owned(),
        source,
    })?;
    let ids = found.into_iter().map(|listed| listed.record.id);
    let tasks: Vec<_> = ids.filter(|task| Some(*task) != except).collect();
    if tasks.is_empty() {
        return Ok(());
    }
    Err(Guarded::Busy {
        object: object.to_owned(),
        tasks,
    })
}
